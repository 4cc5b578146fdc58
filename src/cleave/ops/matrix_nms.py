"""Matrix NMS: masks that repeat a better one lose score, all of them in one step."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cleave.types import Array

Kernel = Literal["gaussian", "linear"]

_ROWS = 256  # masks whose overlaps are looked at together: few megabytes, which stay in the cache


def matrix_nms(
    masks: Array,
    scores: Array,
    labels: Array | None = None,
    *,
    kernel: Kernel = "gaussian",
    sigma: float = 2.0,
    least: float = 0.0,
) -> Array:
    """Scores, each lowered by how much a better mask of the same label covers its mask.

    SOLOv2 (arXiv 2003.10152, "Matrix NMS"): s_j is multiplied by the least
    f(iou_ij) / f(max_k iou_ki) over the better masks i, and k over those better than i: a mask i
    that is itself a repetition decays others less. f(x) is exp(-sigma x^2), or 1 - x for `linear`.
    Equal scores count in the order given; the best mask of each label keeps its score.

    Linear, a mask i that repeats a better one exactly (0 / 0 in the authors' code, which then gives
    NaN) has no say, ours: what it repeats speaks for it.

    A mask that can no more reach `least` is not compared with the further ones, unless what is
    known of it by then could still lower one of those that can: of 2,500 to 4,600 masks on photos
    of 60 x 60 patches, with a least score of .7, an eighth to a quarter of all pairs is compared.

    Args:
        masks: (M, N) bool, or float in [0, 1] for soft overlaps; in any order.
        scores: (M,), not negative.
        labels: (M,), or None where all masks are of one class.
        kernel: gaussian is the default of SOLOv2's and FreeSOLO's code.
        sigma: of the Gaussian; 2 in both codes.
        least: scores that come out below it are of no interest and come out as 0.

    Returns:
        (M,) float64 in the order given. For bool masks the overlaps are exact counts, so the same
        masks give the same bits however BLAS orders its sums.

    Raises:
        ValueError: the masks are not flat.
    """
    if masks.ndim != 2:
        raise ValueError(f"masks: expected (M, N), got {masks.shape}")
    scores = np.asarray(scores, np.float64)
    order = np.argsort(-scores, kind="stable")
    better = _Better(masks[order], None if labels is None else np.asarray(labels)[order])
    ranked, lowered = scores[order], np.zeros(len(scores))
    worst = np.full(len(scores), 0 if kernel == "gaussian" else -1, np.float32)
    # IoU with a better mask; at least that, if given up
    closest = np.zeros(len(scores), np.float32)
    alive = np.arange(len(scores))
    for first in range(0, len(scores), _ROWS):
        if not len(alive):
            break
        rows = np.arange(first, min(first + _ROWS, len(scores)))
        overlap = better.iou(rows, alive)
        closest[alive] = np.maximum(closest[alive], overlap.max(0, initial=0))
        says = _says(overlap, closest[rows], kernel)
        given_up = ~np.isin(rows, alive, assume_unique=True)
        unsure = rows[given_up & (says > worst[alive]).any(1)]
        if len(unsure):
            closest[unsure] = better.iou(np.arange(rows[-1]), unsure).max(0, initial=0)
            says = _says(overlap, closest[rows], kernel)
        worst[alive] = np.maximum(worst[alive], says.max(0, initial=-np.inf))
        decay = worst[alive].astype(np.float64)
        reached = ranked[alive] * (np.exp(-sigma * decay) if kernel == "gaussian" else -decay)
        done = alive <= rows[-1]
        lowered[alive[done]] = reached[done]
        alive = alive[~done & (reached >= least)]
    result = np.empty_like(scores)
    result[order] = np.where(lowered >= least, lowered, 0)
    return result


def _says(overlap: Array, closest: Array, kernel: Kernel) -> Array:
    """(R, C): what each row says against each column, the more the worse.

    Gaussian: the logarithm of the quotient over -sigma; linear: the quotient itself, times -1. Both
    fall as `closest` rises, so with too small a `closest` a row seems to say more than it does.
    """
    closest = closest[:, None]
    if kernel == "gaussian":
        return np.square(overlap) - np.square(closest)
    rest = 1 - closest
    return np.divide(overlap - 1, rest, out=np.full_like(overlap, -np.inf), where=rest > 0)


class _Better:
    """Overlaps of masks, sorted from the best, with the better ones of the same label."""

    def __init__(self, masks: Array, labels: Array | None):
        self._masks = masks.astype(np.float32)
        self._areas = self._masks.sum(1, dtype=np.float64).astype(np.float32)
        self._labels = labels

    def iou(self, rows: Array, columns: Array) -> Array:
        """(R, C) float32, 0 where the row is not better than the column or of another label."""
        inside = self._masks[rows] @ self._masks[columns].T  # exact counts below 2^24 pixels
        union = self._areas[rows, None] + self._areas[columns] - inside
        np.divide(inside, union, out=inside, where=union > 0)  # 0 where both are empty
        inside[rows[:, None] >= columns] = 0
        if self._labels is not None:
            inside[self._labels[rows, None] != self._labels[columns]] = 0
        return inside
