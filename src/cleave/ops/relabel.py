"""Labels of a self-training round: sure predictions, and old masks that they leave."""

from __future__ import annotations

import numpy as np

from cleave.ops.iou import mask_iou
from cleave.types import Array, MaskSet


def relabel(
    predicted: MaskSet, old: MaskSet, *, threshold: float, detections: int, overlap: float
) -> tuple[MaskSet, int]:
    """CutLER's rule (arXiv 2301.11320, Sec. 3.3; its tools/get_self_training_ann.py).

    Of the best `detections` predictions those with a score of at least `threshold` are labels, and
    so is every old mask whose IoU with each of them is below `overlap`. Predictions are not
    compared with one another. Old masks keep their scores and their trust; predictions are trusted
    everywhere (CutS3D's confidence is of cuts).

    Args:
        predicted, old: of one image.

    Returns:
        The labels, predictions first by falling score, and how many of them are predictions.
    """
    order = np.argsort(-predicted.scores, kind="stable")[:detections]
    sure = predicted[order[predicted.scores[order] >= threshold]]
    present = sure.areas > 0
    sure = sure[present]
    if len(sure) and len(old):
        old = old[mask_iou(old.masks, sure.masks).max(1) < overlap]
    return _join(sure, old), len(sure)


def _join(first: MaskSet, second: MaskSet) -> MaskSet:
    """Two sets of masks of one image; trust is 1 where only the other set has one."""
    trust = None
    if first.trust is not None or second.trust is not None:
        grid = (first.trust if first.trust is not None else second.trust).shape[1:]
        trust = np.concatenate([_trust(first, grid), _trust(second, grid)])
    return MaskSet(
        first.size,
        np.concatenate([first.masks, second.masks]),
        np.concatenate([first.scores, second.scores]),
        trust=trust,
    )


def _trust(masks: MaskSet, grid: tuple[int, ...]) -> Array:
    return np.ones((len(masks), *grid), np.float16) if masks.trust is None else masks.trust
