"""Boxes as (…, 4) float32 tensors, x0 y0 x1 y1 in pixels with exclusive ends.

The coding is that of R-CNN (arXiv 1311.2524, appendix C) with detectron2's clamp.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cleave.types import Size

Weights = tuple[float, float, float, float]

# Largest log of a predicted growth of a side: that from 16 to 1,000 pixels, as in detectron2.
LARGEST_GROWTH = math.log(1000.0 / 16)


def areas(boxes: Tensor) -> Tensor:
    """(n,) square pixels."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def nonempty(boxes: Tensor) -> Tensor:
    """(n,) bool: which boxes have both sides longer than zero."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def clip(boxes: Tensor, size: Size) -> Tensor:
    """The parts of (n, 4) boxes that lie in the image."""
    x = boxes[:, 0::2].clamp(0, size.width)
    y = boxes[:, 1::2].clamp(0, size.height)
    return torch.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), 1)


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every pair; 0, not NaN, where two boxes have no area.

    Returns:
        (n, m) float32 in [0, 1] for (n, 4) and (m, 4) boxes.
    """
    low = torch.maximum(first[:, None, :2], second[:, :2])
    high = torch.minimum(first[:, None, 2:], second[:, 2:])
    common = (high - low).clamp_(min=0).prod(2)
    union = areas(first)[:, None] + areas(second) - common
    return torch.where(common > 0, common / union, torch.zeros_like(common))


def encode(boxes: Tensor, wanted: Tensor, weights: Weights) -> Tensor:
    """What a head should predict so that `decode` moves `boxes` to `wanted`.

    Args:
        boxes: (n, 4), with an area.
        wanted: (n, 4), with an area.
        weights: of the shifts in x and y and of the log growths in width and height.

    Returns:
        (n, 4) float32: weighted shifts, in sides of `boxes`, and log growths.
    """
    centre, side = _centre_and_side(boxes)
    wanted_centre, wanted_side = _centre_and_side(wanted)
    change = torch.cat(((wanted_centre - centre) / side, torch.log(wanted_side / side)), 1)
    return change * change.new_tensor(weights)


def decode(boxes: Tensor, deltas: Tensor, weights: Weights) -> Tensor:
    """Moves (n, 4) boxes by predicted (n, 4) deltas; growth is clamped to `LARGEST_GROWTH`."""
    centre, side = _centre_and_side(boxes)
    change = deltas.float() / deltas.new_tensor(weights, dtype=torch.float32)
    centre = change[:, :2] * side + centre
    half = 0.5 * (change[:, 2:].clamp(max=LARGEST_GROWTH).exp() * side)
    return torch.cat((centre - half, centre + half), 1)


def _centre_and_side(boxes: Tensor) -> tuple[Tensor, Tensor]:
    side = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + 0.5 * side, side
