"""How much several methods agree on the masks of one image, without a truth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from cleave.ops.iou import mask_iou
from cleave.types import Array


def agreement(found: Sequence[Array]) -> Array:
    """Of each pair of methods, the mean IoU of a mask of one with the best mask of the other.

    The mean goes over the masks of both. Methods that find nothing agree with each other, and with
    no method that does find something. The IoU of all masks is computed once, not pair by pair.

    Args:
        found: for each of K methods (M_k, H, W) bool.

    Returns:
        (K, K) float64 in [0, 1], symmetric, 1 on the diagonal.
    """
    counts = [len(masks) for masks in found]
    ends = np.concatenate([[0], np.cumsum(counts)])
    parts = [slice(*pair) for pair in pairwise(ends)]
    every = np.concatenate([np.zeros((0, *found[0].shape[1:]), bool), *found])
    iou = mask_iou(every, every)
    result = np.eye(len(found))
    for a, one in enumerate(parts):
        for b, other in enumerate(parts[:a]):
            result[a, b] = result[b, a] = _mean_best(iou[one, other])
    return result


def _mean_best(iou: Array) -> float:
    """Of an (A, B) table of IoU: the mean over rows and columns of their maxima."""
    if not iou.size:
        return float(sum(iou.shape) == 0)
    return float(np.concatenate([iou.max(1), iou.max(0)]).mean())


def disagreement(agreements: Array) -> float:
    """1 - the mean agreement of the pairs of methods, in [0, 1]; 0 for a method alone."""
    pairs = agreements[np.triu_indices(len(agreements), 1)]
    return float(1 - pairs.mean()) if len(pairs) else 0.0
