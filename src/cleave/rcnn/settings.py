"""Every number of a detector and of its losses: frozen, validated, torch-free.

The defaults are CutLER's (arXiv 2301.11320; its Base-RCNN-FPN.yaml and
cascade_mask_rcnn_R_50_FPN.yaml, called "CutLER" below) and, where those are silent, detectron2's
(config/defaults.py, called "defaults"). Boxes and anchors are in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Len

from cleave.networks.settings import Common, Count, Positive, Share
from cleave.spec import ConfigError


@dataclass(frozen=True, kw_only=True)
class Parts(Common):
    """What Mask R-CNN and Cascade Mask R-CNN have in common."""

    anchor_sizes: Annotated[tuple[Positive, ...], Len(5, 5)] = (32.0, 64.0, 128.0, 256.0, 512.0)
    anchor_ratios: Annotated[tuple[Positive, ...], Len(1)] = (0.5, 1.0, 2.0)  # height / width
    rpn_batch: Count = 256  # anchors an image in the loss; defaults
    rpn_positive: Share = 0.5  # of them, at most; defaults
    rpn_low: Share = 0.3  # IoU below which an anchor is background; defaults
    rpn_high: Share = 0.7  # IoU from which it is an object; defaults
    rpn_nms: Share = 0.65  # IoU; CutLER, initial round; self-training and defaults: 0.7
    rpn_before_nms_train: Count = 2000  # proposals of a level; CutLER
    rpn_before_nms_test: Count = 1000  # CutLER
    rpn_after_nms_train: Count = 4000  # of an image; CutLER, initial round; self-training: 1000
    rpn_after_nms_test: Count = 1000  # CutLER
    roi_batch: Count = 512  # proposals an image in the loss; defaults
    roi_positive: Share = 0.25  # of them, at most; CutLER
    box_pool: Count = 7  # cells a side; CutLER
    box_width: Count = 1024  # of the two fully connected layers; defaults
    mask_pool: Count = 14  # cells a side; masks have twice as many; CutLER
    mask_convolutions: Count = 4  # CutLER
    mask_channels: Count = 256  # defaults
    score_floor: Share = 0.0  # detections must score above it; CutLER
    nms: Share = 0.5  # IoU; defaults

    def __post_init__(self):
        super().__post_init__()
        if self.rpn_low > self.rpn_high:
            raise ConfigError(f"rpn_low {self.rpn_low} is above rpn_high {self.rpn_high}")


@dataclass(frozen=True, kw_only=True)
class Architecture(Parts):
    """One box head after another, each trained on what the one before it found.

    A single IoU makes Mask R-CNN (arXiv 1703.06870), several make Cascade Mask R-CNN
    (arXiv 1712.00726, 1906.09756).
    """

    ious: tuple[Share, ...] = (0.5, 0.6, 0.7)  # from which a proposal is an object; defaults

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= len(self.ious) <= 3:
            raise ConfigError(f"ious: expected one to three stages, got {self.ious}")

    @property
    def cascade(self) -> bool:
        return len(self.ious) > 1


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Changes to the plain Mask R-CNN losses; the defaults are CutLER's initial round."""

    # drop_loss: CutLER Sec. 3.3: no classification loss where a box meets no object. On in the
    # initial round, off in self-training; it was made for pseudo-masks that miss objects.
    drop_loss: bool = True
    drop_iou: Share = 0.01  # "meets": an IoU above this; CutLER Sec. 4
    soft_targets: bool = False  # CuVLER (CVPR 2024): class, box and mask losses follow the score
    trust_loss: bool = False  # CutS3D (arXiv 2411.16319) Eq. 6: mask loss times Spatial Confidence
