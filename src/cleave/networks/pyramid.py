"""Trunks and the feature pyramid on them (FPN, arXiv 1612.03144)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.ops import FrozenBatchNorm2d

from cleave.networks.settings import Common

GROUPS = 32  # of group normalisation, arXiv 1803.08494
MOBILE_EPSILON = 1e-3  # of MobileNetV3's batch normalisation, arXiv 1905.02244

# Blocks of torchvision's `features` after which the stride is 4, 8, 16 and 32.
_MOBILE_ENDS = {"mobilenet_v3_small": (2, 4, 9, 12), "mobilenet_v3_large": (4, 7, 13, 16)}


def group_norm(channels: int, **_) -> nn.GroupNorm:
    """Group normalisation for any number of channels; 32 groups where they divide it."""
    return nn.GroupNorm(math.gcd(GROUPS, channels), channels)


_NORMS: dict[str, Callable[..., nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "sync": nn.SyncBatchNorm,
    "frozen": FrozenBatchNorm2d,
    "group": group_norm,
}


class ResNetTrunk(nn.Module):
    """torchvision's ResNet without its classifier; its weights keep their names.

    The stride sits in the 3 x 3 convolution, as CutLER has it (STRIDE_IN_1X1 False).
    """

    def __init__(self, name: str, norm: str):
        super().__init__()
        whole = getattr(models, name)(weights=None, norm_layer=_NORMS[norm])
        self.conv1, self.bn1 = whole.conv1, whole.bn1
        self.layer1, self.layer2 = whole.layer1, whole.layer2
        self.layer3, self.layer4 = whole.layer3, whole.layer4
        self.channels = [whole.fc.in_features // 2**i for i in (3, 2, 1, 0)]

    def forward(self, images: Tensor) -> list[Tensor]:
        x = F.relu_(self.bn1(self.conv1(images)))
        x = F.max_pool2d(x, 3, 2, 1)
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps


class MobileTrunk(nn.Module):
    """torchvision's MobileNetV3 (arXiv 1905.02244) up to its last block of stride 32."""

    def __init__(self, name: str, norm: str):
        super().__init__()
        layer = functools.partial(_NORMS[norm], eps=MOBILE_EPSILON)
        whole = getattr(models, name)(weights=None, norm_layer=layer)
        self.ends = _MOBILE_ENDS[name]
        self.features = whole.features[: self.ends[-1]]
        self.channels = [self.features[end - 1].out_channels for end in self.ends]

    def forward(self, images: Tensor) -> list[Tensor]:
        maps, x = [], images
        for number, block in enumerate(self.features, 1):
            x = block(x)
            if number in self.ends:
                maps.append(x)
        return maps


class Pyramid(nn.Module):
    """Adds each coarser map to the next finer one; the sixth level is every other cell of p5."""

    def __init__(self, inputs: Sequence[int], channels: int, norm: str):
        super().__init__()
        self.laterals = nn.ModuleList(_convolution(n, channels, 1, norm) for n in inputs)
        self.outputs = nn.ModuleList(_convolution(channels, channels, 3, norm) for _ in inputs)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of strides 4 to 32 to p2 … p6, strides 4 to 64."""
        x = self.laterals[-1](maps[-1])
        levels = [self.outputs[-1](x)]
        for number in (2, 1, 0):
            above = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.laterals[number](maps[number]) + above
            levels.insert(0, self.outputs[number](x))
        return [*levels, F.max_pool2d(levels[-1], 1, 2)]


class _Normed(nn.Sequential):
    """A convolution and its normalisation, `conv` and, unless it has a bias, `norm`."""


def _convolution(inputs: int, outputs: int, side: int, norm: str) -> nn.Module:
    layer = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=norm == "none")
    nn.init.kaiming_uniform_(layer.weight, a=1)  # Caffe2's "Xavier", as in detectron2
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    block = _Normed()
    block.add_module("conv", layer)
    if norm != "none":
        block.add_module("norm", _NORMS[norm](outputs))
    return block


def make_trunk(parts: Common) -> ResNetTrunk | MobileTrunk:
    """The trunk that a config names, with random weights."""
    kind = ResNetTrunk if parts.trunk.startswith("resnet") else MobileTrunk
    return kind(parts.trunk, parts.norm)
