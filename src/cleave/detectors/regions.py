"""What the detectors with box heads share: Mask R-CNN, Cascade Mask R-CNN, detectron2's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cleave.detectors.common import Detector, settings_of
from cleave.rcnn.settings import Architecture, Losses, Parts
from cleave.types import Image, MaskSet

if TYPE_CHECKING:
    from torch import nn

    from cleave.rcnn.network import RCNN


@dataclass(frozen=True, kw_only=True)
class RegionDetector(Detector, Parts):
    """A network of `cleave.rcnn`; subclasses say how many box heads it has."""

    only_predict: ClassVar[tuple[str, ...]] = (
        *Detector.only_predict,
        *("rpn_before_nms_test", "rpn_after_nms_test", "score_floor", "nms"),
    )
    plain_losses: ClassVar[Losses] = Losses(drop_loss=False)

    @property
    def stages(self) -> tuple[float, ...]:
        """The IoU from which a box is an object, for each box head."""
        raise NotImplementedError

    @property
    def architecture(self) -> Architecture:
        """What the network is built from."""
        return Architecture(**settings_of(self, Parts), ious=self.stages)

    def network(self, losses: Losses) -> RCNN:
        from cleave.rcnn.network import build

        return build(self.architecture, losses)

    def read(self, path: Path, network: nn.Module, sha256: str | None = None) -> None:
        from cleave.rcnn.checkpoints import read_detector

        read_detector(path, network, sha256=sha256)

    def found(
        self, network: nn.Module, images: Iterable[Image], batch: int, device: str
    ) -> Iterator[MaskSet]:
        from cleave.rcnn.predict import predict

        return predict(network, images, batch=batch, device=device)
