"""Matrix NMS: masks that repeat a better one lose score, all of them in one step."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cleave.types import Array

Kernel = Literal["gaussian", "linear"]


def matrix_nms(
    masks: Array,
    scores: Array,
    labels: Array | None = None,
    *,
    kernel: Kernel = "gaussian",
    sigma: float = 2.0,
) -> Array:
    """Scores, each lowered by how much a better mask of the same label covers its mask.

    SOLOv2 (arXiv 2003.10152, "Matrix NMS"): s_j is multiplied by the least
    f(iou_ij) / f(max_k iou_ki) over the better masks i, and k over those better than i: a mask i
    that is itself a repetition decays others less. f(x) is exp(-sigma x^2), or 1 - x for `linear`.
    Equal scores count in the order given; the best mask of each label keeps its score.

    Gaussian, the least quotient is exp(-sigma max_i (iou_ij^2 - max_k iou_ki^2)): one exponential
    a mask and not one a pair. Linear, a mask i that repeats a better one exactly (0 / 0 in the
    authors' code, which then gives NaN) has no say, ours: what it repeats speaks for it.

    Args:
        masks: (M, N) bool, or float in [0, 1] for soft overlaps; in any order.
        scores: (M,).
        labels: (M,), or None where all masks are of one class.
        kernel: gaussian is the default of SOLOv2's and FreeSOLO's code.
        sigma: of the Gaussian; 2 in both codes.

    Returns:
        (M,) float64 in the order given. For bool masks the overlaps are exact counts, so the same
        masks give the same bits however BLAS orders its sums.
    """
    scores = np.asarray(scores, np.float64)
    if len(scores) == 0:
        return scores.copy()
    order = np.argsort(-scores, kind="stable")
    overlap = _better_iou(masks, order, labels)
    repetition = overlap.max(0)[:, None]  # (M, 1), of each mask i with the best of those before it
    if kernel == "gaussian":
        np.square(overlap, out=overlap)
        overlap -= np.square(repetition)
        decay = np.exp(-sigma * np.maximum(overlap.max(0), 0).astype(np.float64))
    else:
        heard = repetition[:, 0] < 1
        quotient = (1 - overlap[heard]) / (1 - repetition[heard])
        decay = np.minimum(quotient.min(0), 1).astype(np.float64)
    lowered = np.empty_like(scores)
    lowered[order] = scores[order] * decay
    return lowered


def _better_iou(masks: Array, order: Array, labels: Array | None) -> Array:
    """(M, M) float32, sorted: row i, column j holds the IoU where i is better than j, else 0.

    Raises:
        ValueError: the masks are not flat.
    """
    if masks.ndim != 2:
        raise ValueError(f"masks: expected (M, N), got {masks.shape}")
    values = masks.astype(np.float32)[order]
    inside = values @ values.T  # BLAS syrk: half the work; counts are exact below 2^24 pixels
    areas = values.sum(1, dtype=np.float64).astype(np.float32)
    union = areas[:, None] + areas - inside
    np.divide(inside, union, out=inside, where=union > 0)  # 0 where both are empty
    if labels is not None:
        labels = np.asarray(labels)[order]
        inside[labels[:, None] != labels] = 0
    return np.triu(inside, 1)
