"""Features of regions from the level of the pyramid that fits their size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from cleave.rcnn.boxes import areas

FINEST, COARSEST = 2, 5  # levels that regions are pooled from: strides 4 to 32
CANONICAL_SIDE, CANONICAL_LEVEL = 224, 4  # FPN, arXiv 1612.03144, Eq. 1


def levels(boxes: Tensor) -> Tensor:
    """(n,) int64 in 0..3: the map, finest first, for each box (arXiv 1612.03144, Eq. 1).

    1e-8 keeps the logarithm of an empty box finite and is part of detectron2's rounding.
    """
    ratio = areas(boxes).sqrt() / CANONICAL_SIDE
    level = torch.floor(CANONICAL_LEVEL + torch.log2(ratio + 1e-8))
    return level.clamp(FINEST, COARSEST).long() - FINEST


def with_image(boxes: Sequence[Tensor]) -> Tensor:
    """(n, 5) float32: the boxes of all images, led by the index of their image."""
    counts = torch.tensor([len(b) for b in boxes], device=boxes[0].device)
    index = torch.repeat_interleave(torch.arange(len(boxes), device=boxes[0].device), counts)
    return torch.cat((index[:, None].to(boxes[0].dtype), torch.cat(list(boxes))), 1)


def pool(maps: Sequence[Tensor], boxes: Sequence[Tensor], side: int) -> Tensor:
    """ROIAlign (arXiv 1703.06870), aligned to half pixels and densely sampled, as in detectron2.

    Args:
        maps: four maps (B, C, h, w), strides 4 to 32.
        boxes: (r_i, 4) for each of the B images, in pixels of the image.
        side: cells along each side of the result.

    Returns:
        (sum r_i, C, side, side), in the order of the boxes.
    """
    rows = with_image(boxes)
    level = levels(rows[:, 1:])
    pooled, order = [], []
    for number, features in enumerate(maps):
        index = torch.nonzero(level == number)[:, 0]
        scale = 1 / 2 ** (FINEST + number)
        pooled.append(roi_align(features, rows[index].to(features.dtype), side, scale, 0, True))
        order.append(index)
    back = torch.argsort(torch.cat(order))
    return torch.cat(pooled)[back]


def crop(maps: Tensor, boxes: Tensor, index: Tensor, side: int) -> Tensor:
    """Parts of full-size maps inside boxes, as ROIAlign sees them.

    Args:
        maps: (n, H, W) float32 or bool, one for each object.
        boxes: (r, 4) in pixels.
        index: (r,) int64, the object that each box belongs to.
        side: cells along each side of the result.

    Returns:
        (r, side, side) float32.
    """
    rows = torch.cat((index[:, None].to(boxes.dtype), boxes), 1)
    return roi_align(maps[:, None].float(), rows, side, 1.0, 0, True)[:, 0]
