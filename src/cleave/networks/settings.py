"""The numbers that every detector has: trunk, pyramid, image size; frozen, validated, torch-free.

The defaults are CutLER's (arXiv 2301.11320; its Base-RCNN-FPN.yaml and
cascade_mask_rcnn_R_50_FPN.yaml, called "CutLER" below) and, where those are silent, detectron2's
(config/defaults.py, called "defaults"). AdelaiDet's SOLOv2 on a self-supervised trunk
(DenseCL/SOLOv2_R50_1x.yaml) has the same ones. Image sides are in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from cleave.spec import ConfigError

Count = Annotated[int, Gt(0)]
Share = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]
Triple = tuple[float, float, float]
Trunk = Literal[
    "resnet50", "resnet101", "resnet18", "mobilenet_v3_small", "mobilenet_v3_large"
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Common:
    """What is below a detector's heads, and what it is shown and may find.

    `norm` is that of the trunk, `fpn_norm` that of the pyramid. "sync" shares the statistics of
    several GPUs and is "batch" in a single process; "frozen" keeps those of the loaded weights;
    "group" does not depend on the batch.
    """

    trunk: Trunk = "resnet50"  # CutLER; FreeSOLO: resnet101
    classes: Count = 1  # CutLER: one class, "object"
    norm: Literal["batch", "sync", "frozen", "group"] = "sync"  # CutLER
    fpn_norm: Literal["none", "batch", "sync", "group"] = "sync"  # CutLER; defaults: none
    fpn_channels: Count = 256  # defaults
    detections: Count = 100  # an image; CutLER
    min_side: Count = 800  # to which an image's short side is resized for detection; defaults
    max_side: Count = 1333  # which its long side must not exceed; defaults
    mean: Triple = (123.675, 116.28, 103.53)  # RGB in 0..255; CutLER
    std: Triple = (58.395, 57.12, 57.375)  # CutLER

    def __post_init__(self):
        if min(self.std) <= 0:
            raise ConfigError(f"std: expected three positive numbers, got {self.std}")
        if self.max_side < self.min_side:
            raise ConfigError(f"max_side {self.max_side} is below min_side {self.min_side}")
