"""Mask R-CNN, and two sizes of it that a laptop trains in minutes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Len

from cleave.detectors.regions import RegionDetector
from cleave.networks.settings import Count, Positive, Share


@dataclass(frozen=True, kw_only=True)
class MaskRCNN(RegionDetector):
    """Mask R-CNN (arXiv 1703.06870) on a feature pyramid, with one box head."""

    iou: Share = 0.5  # from which a proposal is an object; detectron2's default

    @property
    def stages(self) -> tuple[float, ...]:
        return (self.iou,)


@dataclass(frozen=True, kw_only=True)
class MaskRCNNResNet18(MaskRCNN):
    """Mask R-CNN with ResNet-18, narrow heads and images of 256 px: 13 M parameters.

    Every number that differs from `mask_rcnn` is ours and makes it smaller: half the image side
    with half the anchors, fewer proposals, fewer channels. Its norms are group norms, because it
    begins with random weights and sees few images a step (arXiv 1811.08883, Sec. 3).
    """

    trunk: Literal["resnet18"] = "resnet18"
    norm: Literal["batch", "sync", "frozen", "group"] = "group"
    fpn_norm: Literal["none", "batch", "sync", "group"] = "group"
    fpn_channels: Count = 96
    anchor_sizes: Annotated[tuple[Positive, ...], Len(5, 5)] = (16.0, 32.0, 64.0, 128.0, 256.0)
    rpn_before_nms_train: Count = 300
    rpn_before_nms_test: Count = 300
    rpn_after_nms_train: Count = 200
    rpn_after_nms_test: Count = 100
    roi_batch: Count = 64
    box_width: Count = 256
    mask_convolutions: Count = 2
    mask_channels: Count = 64
    min_side: Count = 256
    max_side: Count = 384


@dataclass(frozen=True, kw_only=True)
class MaskRCNNMobileNet(MaskRCNNResNet18):
    """Mask R-CNN with MobileNetV3-small and images of 192 px: 3 M parameters, half the time."""

    trunk: Literal["mobilenet_v3_small", "mobilenet_v3_large"] = "mobilenet_v3_small"
    anchor_sizes: Annotated[tuple[Positive, ...], Len(5, 5)] = (12.0, 24.0, 48.0, 96.0, 192.0)
    min_side: Count = 192
    max_side: Count = 256
