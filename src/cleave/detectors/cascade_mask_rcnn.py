"""Cascade Mask R-CNN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Len

from cleave.detectors.regions import RegionDetector
from cleave.networks.settings import Share


@dataclass(frozen=True, kw_only=True)
class CascadeMaskRCNN(RegionDetector):
    """Cascade Mask R-CNN (arXiv 1906.09756): the detector of CutLER, CuVLER and CutS3D."""

    # The IoU from which a box is an object, stage by stage; detectron2's defaults
    ious: Annotated[tuple[Share, ...], Len(2, 3)] = (0.5, 0.6, 0.7)

    @property
    def stages(self) -> tuple[float, ...]:
        return self.ious
