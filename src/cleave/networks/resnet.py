"""ResNets that give out a dense map: built, filled from a file, and made quick to run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu_
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck

from cleave.io.weights import Weights, hub_file, url_file
from cleave.networks.published import RESNETS, architecture
from cleave.networks.pyramid import ResNetTrunk
from cleave.networks.weights import fill, fill_trunk, open_weights
from cleave.types import DataError

# DenseCL's dense head in a whole checkpoint: its authors' code, and MMPreTrain's
_DENSE_PREFIXES = ("encoder_q.1.mlp2.", "neck.mlp2.")
_HIDDEN, _DENSE = 2048, 128  # channels of it, DenseCL's densecl_imagenet_200ep.py; random weights
_DAMPING = 0.25  # of residual branches with random weights


class DenseResNet(nn.Module):
    """The first stages of a ResNet, and DenseCL's projection of the last one.

    For inference alone: each batch normalisation is folded into its convolution, and maps lie in
    memory with their channels together. On one core of an AVX-512 CPU both make a ResNet-50 at 800
    px 1.3 times as fast.
    """

    def __init__(self, trunk: ResNetTrunk, stage: str, head: nn.Module | None):
        super().__init__()
        count = int(stage.removeprefix("res")) - 1
        layers = (trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4)
        self.stem = fuse_conv_bn_eval(trunk.conv1, trunk.bn1)
        self.stages = nn.Sequential(*layers[:count])
        for block in self.stages.modules():
            if isinstance(block, BasicBlock | Bottleneck):
                _fold_block(block)
        self.head = head
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`key`, and with a head `dense`: (B, 3, H, W) float32, normalised, to (B, C, h, w)."""
        images = images.contiguous(memory_format=torch.channels_last)
        key = self.stages(max_pool2d(relu_(self.stem(images)), 3, 2, 1))
        return {"key": key} if self.head is None else {"key": key, "dense": self.head(key)}


def load(
    model: str,
    weights: str | None,
    *,
    stage: str = "res5",
    dense: bool = False,
    seed: int = 0,
    sha256: str | None = None,
) -> DenseResNet:
    """Builds a ResNet up to a stage and fills it.

    Args:
        model: of `published.RESNETS`, or with weights of `published.ARCHITECTURES`.
        weights: None: the published ones; "random": from `seed`; else a file.
        stage: res2 to res5.
        dense: with DenseCL's dense projection head.
        sha256: of the file, checked before it is read.

    Returns:
        the network, float32, on the CPU.

    Raises:
        DataError: weights missing, unreadable, or not those of this model.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = ResNetTrunk(architecture(model), "batch").eval()
        channels = trunk.channels[-1]
        head = _dense_head(channels, min(_HIDDEN, channels), _DENSE) if dense else None
    if weights == "random":
        _dampen(trunk)
        return DenseResNet(trunk, stage, head)
    path = _published(RESNETS[model]) if weights is None else Path(weights)
    state = open_weights(path, sha256)
    fill_trunk(trunk, state, architecture(model), path)
    if dense:
        head = _read_dense_head(state, channels, path)
    return DenseResNet(trunk, stage, head)


def _published(known: Weights) -> Path:
    file = known.url.rpartition("/")[2]
    instead = (
        f"Or give a downloaded file (the authors' is {known.url}) as weights:, or use `weights: "
        "random` to try out"
    )
    if known.hub:
        return hub_file(known.hub, (file,), instead=instead)
    return url_file(known.url, instead=instead)


def _dense_head(channels: int, hidden: int, outputs: int) -> nn.Sequential:
    """conv, ReLU, conv, all 1 x 1: DenseCLNeck's mlp2 (openselfsup/models/necks.py:376-378)."""
    return nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, outputs, 1))


def _read_dense_head(state: Mapping[str, Any], channels: int, path: Path) -> nn.Sequential:
    """The query encoder's head, of the widths that the file has.

    Raises:
        DataError: the file lacks it, or it is no projection of so many channels.
    """
    for prefix in _DENSE_PREFIXES:
        weights = [state.get(f"{prefix}{layer}.weight") for layer in (0, 2)]
        if any(isinstance(weight, Tensor) for weight in weights):
            hidden, outputs = (1 if weight is None else len(weight) for weight in weights)
            head = _dense_head(channels, hidden, outputs)
            names = {name: f"{prefix}{name}" for name in head.state_dict()}
            fill(head, state, names, re.compile(rf"(?!{re.escape(prefix)})"), path)
            return head
    raise DataError(
        f"weights {path}: no dense projection head ({' or '.join(_DENSE_PREFIXES)}); DenseCL's "
        "published files are the backbone alone: give a whole training checkpoint, or leave "
        "`dense` out of facets"
    )


def _dampen(trunk: nn.Module) -> None:
    """Keeps the features of random weights in float16's range.

    Untrained, each of a ResNet-101's 33 blocks doubles the variance: its features reach 250,000.
    """
    for block in trunk.modules():
        if isinstance(block, BasicBlock | Bottleneck):
            last = block.bn3 if isinstance(block, Bottleneck) else block.bn2
            nn.init.constant_(last.weight, _DAMPING)


def _fold_block(block: BasicBlock | Bottleneck) -> None:
    for number in range(1, 4 if isinstance(block, Bottleneck) else 3):
        convolution, norm = getattr(block, f"conv{number}"), getattr(block, f"bn{number}")
        setattr(block, f"conv{number}", fuse_conv_bn_eval(convolution, norm))
        setattr(block, f"bn{number}", nn.Identity())
    if block.downsample is not None:
        block.downsample = fuse_conv_bn_eval(*block.downsample)
