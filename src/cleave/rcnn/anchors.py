"""The boxes that the proposal network starts from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def cell_anchors(size: float, ratios: Sequence[float]) -> Tensor:
    """Anchors of one cell, centred on the origin and not rounded, as in detectron2.

    Args:
        size: square root of their area, pixels.
        ratios: height / width.

    Returns:
        (len(ratios), 4) float32 x0 y0 x1 y1.
    """
    # In double precision, rounded once at the end: the anchors of published weights are so.
    ratio = torch.tensor(ratios, dtype=torch.float64)
    width = (size**2.0 / ratio).sqrt()
    half = torch.stack((width, ratio * width), 1) / 2
    return torch.cat((-half, half), 1).float()


def grid_anchors(cell: Tensor, height: int, width: int, stride: int) -> Tensor:
    """A cell's anchors at every position of a feature map.

    Position (0, 0) lies on pixel (0, 0), not in the middle of its cell: detectron2's offset 0.

    Args:
        cell: (a, 4) of `cell_anchors`.
        height: of the map.
        width: of the map.
        stride: pixels of the image between two of its positions.

    Returns:
        (height * width * a, 4) float32; rows, then columns, then the cell's own order.
    """
    x = torch.arange(width, device=cell.device, dtype=torch.float32) * stride
    y = torch.arange(height, device=cell.device, dtype=torch.float32) * stride
    y, x = torch.meshgrid(y, x, indexing="ij")
    shift = torch.stack((x, y, x, y), -1)
    return (shift[:, :, None] + cell).reshape(-1, 4)
