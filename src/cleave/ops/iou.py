"""Intersection over union of masks and of boxes, all pairs at once."""

from __future__ import annotations

import numpy as np

from cleave.types import Array

_CHUNK = 1 << 18  # pixels a product: bounds the memory, and float32 counts exactly up to 2^24


def mask_iou(a: Array, b: Array) -> Array:
    """IoU of every mask of `a` with every one of `b`; 0 where both are empty.

    The intersections are matrix products over the flattened pixels, summed over chunks.

    Args:
        a: (A, H, W) bool.
        b: (B, H, W) bool.

    Returns:
        (A, B) float64.
    """
    inside = mask_intersection(a, b)
    areas_a, areas_b = (m.sum((1, 2), dtype=np.int64) for m in (a, b))
    return _ratio(inside, areas_a[:, None] + areas_b[None] - inside)


def mask_intersection(a: Array, b: Array) -> Array:
    """Pixels that each pair of masks shares: (A, H, W), (B, H, W) bool to (A, B) int64."""
    flat_a, flat_b = (m.reshape(len(m), m.shape[1] * m.shape[2]) for m in (a, b))
    total = np.zeros((len(a), len(b)), np.int64)
    for start in range(0, flat_a.shape[1] if total.size else 0, _CHUNK):
        part = slice(start, start + _CHUNK)
        product = flat_a[:, part].astype(np.float32) @ flat_b[:, part].astype(np.float32).T
        total += product.astype(np.int64)
    return total


def box_iou(a: Array, b: Array) -> Array:
    """IoU of every box of `a` with every one of `b`; 0 where both are empty.

    Args:
        a: (A, 4), x0 y0 x1 y1 in pixels with exclusive ends.
        b: (B, 4), likewise.

    Returns:
        (A, B) float64.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = np.maximum(high - low, 0).prod(-1)
    areas_a, areas_b = ((boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b))
    return _ratio(inside, areas_a[:, None] + areas_b[None] - inside)


def _ratio(inside: Array, union: Array) -> Array:
    return np.divide(inside, union, out=np.zeros(union.shape), where=union > 0)
