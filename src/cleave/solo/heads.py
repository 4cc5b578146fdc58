"""SOLOv2's two branches (arXiv 2003.10152, Sec. 3.2): what a cell says, and what it weighs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cleave.networks.pyramid import group_norm
from cleave.solo.settings import Architecture

SPREAD = 0.01  # standard deviation of untrained weights; the authors' code
COORDINATES = 2  # channels
DEEPEST = 3  # level of the mask features that gets coordinates, of stride 32


class InstanceHead(nn.Module):
    """For each cell of each level the logits of its categories, and its kernel.

    The same convolutions serve all levels. Only the kernels see coordinates (CoordConv, arXiv
    1807.03247): without them, two equal objects would get equal masks.
    """

    def __init__(self, parts: Architecture):
        super().__init__()
        self.grids = parts.grids
        inputs, width, depth = parts.fpn_channels, parts.head_channels, parts.head_convolutions
        self.category_tower = _tower(inputs, width, depth)
        self.kernel_tower = _tower(inputs + COORDINATES, width, depth)
        self.category = nn.Conv2d(width, parts.classes, 3, padding=1)
        self.kernel = nn.Conv2d(width, parts.mask_features, 3, padding=1)
        _reset(self)
        nn.init.constant_(self.category.bias, -math.log((1 - parts.prior) / parts.prior))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """p2 … p6 to (B, G, C) category logits and (B, G, E) kernels, level after level."""
        categories, kernels = [], []
        for grid, features in zip(self.grids, _levels(maps), strict=True):
            x = torch.cat((features, coordinates(features)), 1)
            x = F.interpolate(x, size=(grid, grid), mode="bilinear")
            category = self.category(self.category_tower(x[:, :-COORDINATES]))
            kernel = self.kernel(self.kernel_tower(x))
            categories.append(category.flatten(2))
            kernels.append(kernel.flatten(2))
        return tuple(torch.cat(each, 2).transpose(1, 2) for each in (categories, kernels))


class MaskFeatures(nn.Module):
    """p2 … p5 brought to stride 4 and added: the maps that a cell's kernel weighs (Fig. 3)."""

    def __init__(self, parts: Architecture):
        super().__init__()
        width = parts.feature_channels
        self.levels = nn.ModuleList(
            _tower(parts.fpn_channels + (COORDINATES if level == DEEPEST else 0), width, depth)
            for level, depth in enumerate((1, 1, 2, 3))  # a convolution before each doubling
        )
        self.output = _block(width, parts.mask_features, 1)
        _reset(self)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """p2 … p5 to (B, E, H / 4, W / 4)."""
        total = self.levels[0](maps[0])
        for level in range(1, 4):
            x = maps[level]
            if level == DEEPEST:
                x = torch.cat((x, coordinates(x)), 1)
            for convolution in self.levels[level]:
                x = F.interpolate(convolution(x), scale_factor=2.0, mode="bilinear")
            total = total + x
        return self.output(total)


def coordinates(maps: Tensor) -> Tensor:
    """(B, 2, h, w): x and y of each cell, from -1 at the first to 1 at the last."""
    y, x = (torch.linspace(-1, 1, side, device=maps.device) for side in maps.shape[2:])
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((x, y)).to(maps.dtype).expand(len(maps), -1, -1, -1)


def _levels(maps: Sequence[Tensor]) -> list[Tensor]:
    """p2 … p6 at strides 8, 8, 16, 32, 32, as in the authors' code."""
    finest = F.interpolate(maps[0], scale_factor=0.5, mode="bilinear")
    coarsest = F.interpolate(maps[4], size=maps[3].shape[2:], mode="bilinear")
    return [finest, *maps[1:4], coarsest]


def _block(inputs: int, outputs: int, side: int) -> nn.Sequential:
    block = nn.Sequential()
    block.add_module("conv", nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False))
    block.add_module("norm", group_norm(outputs))
    block.add_module("activation", nn.ReLU(inplace=True))
    return block


def _tower(inputs: int, width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(_block(width if n else inputs, width, 3) for n in range(depth)))


def _reset(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=SPREAD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
