"""SOLOv2, and a size of it that a laptop trains in minutes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Len

from cleave.detectors.common import Detector, settings_of
from cleave.networks.settings import Count
from cleave.solo.settings import Architecture, Losses, Sizes
from cleave.types import Image, MaskSet

if TYPE_CHECKING:
    from torch import nn

    from cleave.solo.network import SOLOv2 as Network


@dataclass(frozen=True, kw_only=True)
class SOLOv2(Detector, Architecture):
    """SOLOv2 (arXiv 2003.10152): no boxes; FreeSOLO and arXiv 2311.14665 train it on masks."""

    only_predict: ClassVar[tuple[str, ...]] = (
        *Detector.only_predict,
        *("score_floor", "mask_threshold", "before_nms", "nms_kernel", "nms_sigma", "nms_floor"),
    )
    plain_losses: ClassVar[Losses] = Losses()

    @property
    def architecture(self) -> Architecture:
        """What the network is built from."""
        return Architecture(**settings_of(self, Architecture))

    def network(self, losses: Losses) -> Network:
        from cleave.solo.network import build

        return build(self.architecture, losses)

    def read(self, path: Path, network: nn.Module, sha256: str | None = None) -> None:
        from cleave.solo.checkpoints import read_detector

        read_detector(path, network, sha256=sha256)

    def found(
        self, network: nn.Module, images: Iterable[Image], batch: int, device: str
    ) -> Iterator[MaskSet]:
        from cleave.networks.predict import predict

        return predict(network, images, network.detect, batch=batch, device=device)


@dataclass(frozen=True, kw_only=True)
class SOLOv2ResNet18(SOLOv2):
    """SOLOv2 with ResNet-18, narrow heads and images of 256 px.

    Every number that differs from `solov2` is ours and makes it smaller: a third of the image side
    with a third of the scales, half as many cells a side, fewer channels and convolutions. Its
    norms are group norms, because it begins with random weights and sees few images a step (arXiv
    1803.08494).
    """

    trunk: Literal["resnet18"] = "resnet18"
    norm: Literal["batch", "sync", "frozen", "group"] = "group"
    fpn_norm: Literal["none", "batch", "sync", "group"] = "group"
    fpn_channels: Count = 96
    grids: Annotated[tuple[Count, ...], Len(5, 5)] = (20, 18, 12, 8, 6)
    scale_ranges: Annotated[tuple[Sizes, ...], Len(5, 5)] = (
        *((1.0, 32.0), (16.0, 64.0), (32.0, 128.0), (64.0, 256.0)),
        (128.0, 2048.0),
    )
    head_convolutions: Count = 2
    head_channels: Count = 128
    feature_channels: Count = 64
    mask_features: Count = 64
    min_side: Count = 256
    max_side: Count = 384
