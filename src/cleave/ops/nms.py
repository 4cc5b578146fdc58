"""Non-maximum suppression: of masks that resemble each other the best one stays."""

from __future__ import annotations

import numpy as np

from cleave.ops import bits
from cleave.types import Array


def greedy_nms(masks: Array, overlap: float, window: int | None = None) -> Array:
    """Which masks resemble none that was kept before them.

    Counts on packed bits, and only for the masks that stay. `ops.matrix_nms` lowers scores
    instead.

    Args:
        masks: (M, h, w) bool, the best first.
        overlap: IoU above which the later mask of a pair goes, if the earlier one stays.
        window: each mask is compared with the `window` - 1 masks that follow it; None: with all.

    Returns:
        (K,) int64, ascending indices.
    """
    packed = bits.pack(masks.reshape(len(masks), masks.shape[1] * masks.shape[2]))
    areas, kept = bits.degrees(packed), np.ones(len(masks), bool)
    for i in range(len(masks)):
        if kept[i]:
            near = slice(i + 1, None if window is None else i + window)
            inside = bits.degrees(packed[near] & packed[i])
            union = areas[near] + areas[i] - inside
            kept[near] &= inside / np.maximum(union, 1) <= overlap
    return np.flatnonzero(kept)
