"""Attention maps cut down to the patches that hold most of their mass."""

from __future__ import annotations

import numpy as np

_TIE = 1e-6  # of the largest value: attention closer than this is equal but for round-off


def keep_mass(attention: np.ndarray, mass: float) -> np.ndarray:
    """The patches that hold the given share of each map's attention, the largest first.

    DINO's way to show a head (arXiv 2104.14294; visualize_attention.py:186-196): patches are
    dropped, the smallest first, while at least `mass` is left. Patches tied with the least that is
    kept are kept too, where the code lets the sort decide: of a flat map nothing is dropped.

    Args:
        attention: (..., h, w) float, not negative.
        mass: in (0, 1].

    Returns:
        (..., h, w) bool; all True for a map of zeros.
    """
    flat = np.asarray(attention, np.float64).reshape(*attention.shape[:-2], -1)
    ascending = np.sort(flat, axis=-1)
    total = ascending.sum(-1, keepdims=True)
    dropped = np.cumsum(ascending, axis=-1) <= (1 - mass) * total * (1 + 1e-9)
    first = np.minimum(dropped.sum(-1, keepdims=True), flat.shape[-1] - 1)
    least = np.take_along_axis(ascending, first, -1) - _TIE * ascending[..., -1:]
    return (flat >= least).reshape(attention.shape)
