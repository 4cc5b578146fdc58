"""Losses of the box and mask heads: Mask R-CNN's, and the changes of CutLER, CuVLER and CutS3D.

R regions of all images together; label C, the last, is background.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cleave.rcnn.boxes import pairwise_iou

FIRST_REGIONS = 100  # whose objects DropLoss looks at; CutLER, custom_cascade_rcnn.py:193


def class_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    scores: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy, averaged over all regions; dropped ones stay in the denominator.

    Args:
        logits: (R, C + 1).
        labels: (R,) int64 in 0..C.
        scores: (R,) in [0, 1]: an object's class gets this probability and background the rest
            (CuVLER, fast_rcnn.py:365); None: 1.
        weights: (R,) that multiply before the mean; None: 1.
    """
    if not len(labels):
        return logits.sum() * 0
    background = logits.shape[1] - 1
    truth = labels
    if scores is not None:
        certain = torch.where(labels == background, torch.ones_like(scores), scores)
        truth = F.one_hot(labels, background + 1).to(scores.dtype) * certain[:, None]
        truth[:, background] += 1 - certain
    loss = F.cross_entropy(logits, truth, reduction="none")
    return (loss if weights is None else loss * weights).mean()


def box_loss(
    deltas: Tensor, wanted: Tensor, *, regions: int, scores: Tensor | None = None
) -> Tensor:
    """L1 over the objects, divided by the number of all regions, so that each object counts alike.

    Args:
        deltas: (F, 4) predicted for the F regions that are objects.
        wanted: (F, 4).
        regions: R, background included.
        scores: (F,) factors (CuVLER, box_regression.py:75); None: 1.
    """
    loss = (deltas - wanted).abs()
    if scores is not None:
        loss = loss * scores[:, None]
    return loss.sum() / max(regions, 1)


def mask_loss(
    logits: Tensor, truth: Tensor, *, scores: Tensor | None = None, trust: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy, averaged over all pixels of all objects; weights do not change that.

    Args:
        logits: (F, 28, 28) of the F regions that are objects.
        truth: (F, 28, 28) in {0, 1}.
        scores: (F,) factors (CuVLER, mask_head.py:103); None: 1.
        trust: (F, 28, 28) factors (CutS3D, Eq. 6); None: 1.
    """
    if not len(logits):
        return logits.sum() * 0
    weight = None if scores is None else scores[:, None, None].expand_as(logits)
    if trust is not None:
        weight = trust if weight is None else weight * trust
    return F.binary_cross_entropy_with_logits(logits, truth, weight=weight)


@torch.no_grad()
def drop_weights(
    predicted: Sequence[Tensor], matched: Sequence[Tensor | None], threshold: float
) -> Tensor:
    """DropLoss (CutLER Sec. 3.3): 0 for a region whose predicted box meets no object, else 1.

    The objects of an image are those that its first hundred regions were matched to. CutLER counts
    how many different ones these are, but then takes that many of the first regions' boxes, among
    which one object may stand twice and another be missing; here they are the different ones.
    An image without objects keeps weight 1, so that it still teaches what background is.

    Args:
        predicted: (r_i, 4) decoded boxes of each image.
        matched: (r_i, 4) boxes of the objects they were matched to; None: the image has none.
        threshold: the IoU that must be exceeded.

    Returns:
        (R,) float32 in {0, 1}.
    """
    weights = []
    for boxes, objects in zip(predicted, matched, strict=True):
        if objects is None or not len(boxes):
            weights.append(boxes.new_ones(len(boxes)))
            continue
        iou = pairwise_iou(boxes, torch.unique(objects[:FIRST_REGIONS], dim=0))
        weights.append((iou.max(1).values > threshold).float())
    return torch.cat(weights)
