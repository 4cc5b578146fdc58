"""Which object a box should become, and which boxes the losses look at."""

from __future__ import annotations

import torch
from torch import Tensor


def match(
    iou: Tensor, low: float, high: float, *, keep_best: bool = False
) -> tuple[Tensor, Tensor]:
    """Gives each box the object that it overlaps most (arXiv 1506.01497, Sec. 3.1.2).

    Args:
        iou: (n, r) float32 of n objects and r boxes.
        low: below it a box is background.
        high: from it on a box is an object; in between it is neither.
        keep_best: an object's best boxes, ties included, are objects whatever their IoU. As in
            detectron2 such a box keeps the object that it overlaps most itself. Unlike there, an
            object that meets no box at all claims none; there it would claim every one.

    Returns:
        (r,) int64 index of the object, 0 where there is none to match; (r,) int64 that is 1 for an
        object, 0 for background, -1 for neither.
    """
    if not len(iou):
        index = torch.zeros(iou.shape[1], dtype=torch.int64, device=iou.device)
        return index, index.clone()
    quality, index = iou.max(0)
    label = (quality >= high).long() - ((quality >= low) & (quality < high)).long()
    if keep_best:
        best = iou.max(1, keepdim=True).values
        label[((iou == best) & (best > 0)).any(0)] = 1
    return index, label


def subsample(
    labels: Tensor, number: int, positive: float, background: int
) -> tuple[Tensor, Tensor]:
    """Draws boxes for a loss: objects first, then background to fill up.

    Uses torch's global generator of the labels' device.

    Args:
        labels: (r,) int64; -1 is never drawn.
        number: how many are wanted.
        positive: share of them that may be objects.
        background: the label that means background.

    Returns:
        Indices of the objects and of the background; together at most `number`.
    """
    objects = torch.nonzero((labels != -1) & (labels != background))[:, 0]
    others = torch.nonzero(labels == background)[:, 0]
    few = min(len(objects), int(number * positive))
    rest = min(len(others), number - few)
    device = labels.device
    objects = objects[torch.randperm(len(objects), device=device)[:few]]
    return objects, others[torch.randperm(len(others), device=device)[:rest]]
