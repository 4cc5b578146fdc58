"""Mask R-CNN."""

from __future__ import annotations

from dataclasses import dataclass

from cleave.detectors.common import Detector
from cleave.rcnn.settings import Share


@dataclass(frozen=True, kw_only=True)
class MaskRCNN(Detector):
    """Mask R-CNN (arXiv 1703.06870) on a feature pyramid, with one box head."""

    iou: Share = 0.5  # from which a proposal is an object; detectron2's default

    @property
    def stages(self) -> tuple[float, ...]:
        return (self.iou,)
