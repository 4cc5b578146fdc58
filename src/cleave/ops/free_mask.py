"""Free Mask: what each place of a dense feature map resembles (FreeSOLO, arXiv 2202.12181)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cleave.ops.affinity import MARGIN, cosine
from cleave.ops.resample import bilinear
from cleave.types import Array, Size


def similarity_maps(features: Array, scales: Sequence[float]) -> Array:
    """How much each cell resembles each query, as soft masks that reach from 0 to 1 (Sec. 3.2).

    The queries are the features, resized bilinearly by each scale (floor(h * scale) rows, as torch
    has it); a map is the cosine of one of them with every cell, its least value shifted to 0 and
    its largest scaled to 1.

    No map but those of scale 1 needs a feature: a resized query q is a weighted sum of cells k_i,
    so q.k_j / |k_j| is the same sum of |k_i| cos_ij, and |q| falls out when the map is scaled. One
    symmetric product of the features is all that is left of the channels.

    Args:
        features: (h, w, C) float.
        scales: of the queries' grids, in (0, 1]; one at which no cell is left gives no query.

    Returns:
        (Q, h, w) float32 in [0, 1], in the order of the scales, row-major in each; queries that
        all cells resemble alike, as in a constant image, are left out.
    """
    grid = Size(*features.shape[:2])
    rows = features.reshape(grid.height * grid.width, -1)
    alike = cosine(rows)
    lengths = np.linalg.norm(rows, axis=1)
    maps = [_resized(alike, lengths, grid, scale) for scale in scales]
    found = np.concatenate([np.zeros((0, len(rows)), np.float32), *maps])
    return _unit_range(found).reshape(-1, *grid)


def _resized(alike: Array, lengths: Array, grid: Size, scale: float) -> Array:
    """(Q, N) float32: each query's cosines, times a positive number of its own."""
    if scale == 1:
        return alike
    coarse = Size(*(int(side * scale) for side in grid))
    weighted = (alike * lengths).reshape(-1, *grid)  # axes: cell j, then cell i on its grid
    return bilinear(weighted, coarse, (1 / scale, 1 / scale)).reshape(len(alike), -1).T


def _unit_range(maps: Array) -> Array:
    """Rows from 0 to 1, without those whose values are all one but for round-off."""
    low, high = maps.min(1, keepdims=True), maps.max(1, keepdims=True)
    told = (high - low > MARGIN * np.maximum(np.abs(low), np.abs(high)))[:, 0]
    return (maps[told] - low[told]) / (high - low)[told]


def maskness(soft: Array, masks: Array) -> Array:
    """How sure a soft mask is of what it covers: its mean inside the mask (Sec. 3.2).

    Args:
        soft: (M, h, w) float in [0, 1].
        masks: (M, h, w) bool, none of them empty.

    Returns:
        (M,) float64.
    """
    inside = np.einsum("mhw,mhw->m", soft, masks, dtype=np.float64)
    return inside / masks.sum((1, 2))


def placement(masks: Array) -> tuple[Array, Array]:
    """Where masks lie and how wide they are, by the rows and columns that they touch.

    Args:
        masks: (M, H, W) bool.

    Returns:
        the mean of the rows touched, (M,) float64 in pixels from the first row's centre, 0 for an
        empty mask; the number of columns touched, (M,) int64.
    """
    rows = masks.any(2)
    return rows @ np.arange(rows.shape[1]) / np.maximum(rows.sum(1), 1), masks.any(1).sum(1)
