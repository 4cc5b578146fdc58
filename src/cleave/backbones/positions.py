"""Position embeddings for another grid than the one they were learned on, as DINO's code has it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cleave.types import Size

if TYPE_CHECKING:
    from torch import Tensor, nn


def dino_positions(stored: Tensor, grid: Size) -> Tensor:
    """Bicubic (a = -0.75, no antialiasing), for a grid larger by 0.1 patches on each axis.

    The 0.1 kept old torch versions from losing a row (vision_transformer.py:184-186 of DINO;
    DINOv2 keeps it for its models without registers). It moves the last row by up to 0.1 patches,
    and published features have it. timm antialiases, which also changes a to -0.5.

    Args:
        stored: (1, 1 + side * side, C), the CLS token's position first.

    Returns:
        (1, 1 + h * w, C)
    """
    from torch import cat
    from torch.nn.functional import interpolate

    side = math.isqrt(stored.shape[1] - 1)
    if grid == (side, side):
        return stored
    patches = stored[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    scale = ((grid.height + 0.1) / side, (grid.width + 0.1) / side)
    patches = interpolate(patches, scale_factor=scale, mode="bicubic")
    return cat([stored[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)


def set_positions(network: nn.Module, positions: Tensor, grid: Size) -> None:
    """Makes `positions` those of the network, so that timm finds nothing left to interpolate."""
    from torch import nn

    network.pos_embed = nn.Parameter(positions, requires_grad=False)
    network.patch_embed.grid_size = tuple(grid)
