"""From the mask inside a box to the mask in the image."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cleave.types import Size


def paste(masks: Tensor, boxes: Tensor, size: Size, threshold: float = 0.5) -> Tensor:
    """Samples each mask bilinearly at the centres of the image's pixels, as detectron2 does.

    Outside its box a mask falls to zero over one of its own cells.

    Args:
        masks: (k, s, s) float32 in [0, 1].
        boxes: (k, 4) in pixels of the image, each with an area.
        size: of the image.
        threshold: from which on a pixel belongs to the mask.

    Returns:
        (k, H, W) bool.
    """
    image = torch.zeros((len(masks), *size), dtype=torch.bool, device=masks.device)
    corners = boxes.tolist()  # all at once: each asks the device to finish
    for number, (mask, box) in enumerate(zip(masks, boxes, strict=True)):
        x0, y0, x1, y1 = corners[number]
        # One pixel around the box is all that can reach the threshold.
        left, right = max(math.floor(x0) - 1, 0), min(math.ceil(x1) + 1, size.width)
        top, bottom = max(math.floor(y0) - 1, 0), min(math.ceil(y1) + 1, size.height)
        x = _positions(left, right, box[0], box[2])
        y = _positions(top, bottom, box[1], box[3])
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)
        value = F.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]
        image[number, top:bottom, left:right] = value >= threshold
    return image


def _positions(first: int, end: int, low: Tensor, high: Tensor) -> Tensor:
    """Pixel centres first … end - 1, with -1 and 1 at the sides of the box."""
    centre = torch.arange(first, end, device=low.device, dtype=torch.float32) + 0.5
    return (centre - low) / (high - low) * 2 - 1
