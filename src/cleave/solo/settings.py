"""Every number of SOLOv2 and of its losses: frozen, validated, torch-free.

The defaults are those of the authors' code (aim-uofa/AdelaiDet, adet/config/defaults.py, called
"AdelaiDet" below), which agree with the paper (arXiv 2003.10152) where it says them. FreeSOLO's
values (arXiv 2202.12181) are those of its code, NVlabs/FreeSOLO.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Len, Lt

from cleave.networks.settings import Common, Count, Positive, Share
from cleave.spec import ConfigError

Weight = Annotated[float, Ge(0)]
Sizes = tuple[Positive, Positive]


@dataclass(frozen=True, kw_only=True)
class Architecture(Common):
    """The heads on a pyramid's five levels, from fine to coarse, and how cells become masks."""

    # Cells a side on each level; paper Sec. 4.1, AdelaiDet
    grids: Annotated[tuple[Count, ...], Len(5, 5)] = (40, 36, 24, 16, 12)
    # Geometric mean of a box's sides, in pixels, from and up to which a level learns it; AdelaiDet
    scale_ranges: Annotated[tuple[Sizes, ...], Len(5, 5)] = (
        *((1.0, 96.0), (48.0, 192.0), (96.0, 384.0), (192.0, 768.0)),
        (384.0, 2048.0),
    )
    # Of a box's sides: the region around the centre whose cells learn the object. SOLO Sec. 3.3.1
    sigma: Positive = 0.2
    head_convolutions: Count = 4  # before each of the two predictions of a cell; AdelaiDet
    head_channels: Count = 512  # AdelaiDet
    feature_channels: Count = 128  # inside the mask feature branch; AdelaiDet
    mask_features: Count = 256  # that a cell weighs, so also the length of its kernel; AdelaiDet
    prior: Annotated[float, Gt(0), Lt(1)] = 0.01  # of an object in an untrained cell; AdelaiDet
    score_floor: Share = 0.1  # cells must score above it to be decoded; AdelaiDet
    mask_threshold: Share = 0.5  # above which a pixel belongs to the mask; AdelaiDet
    before_nms: Count = 500  # masks an image; AdelaiDet
    nms_kernel: Literal["gaussian", "linear"] = "gaussian"  # of Matrix NMS; AdelaiDet
    nms_sigma: Positive = 2.0  # of the Gaussian; AdelaiDet
    nms_floor: Share = 0.05  # that scores must reach after Matrix NMS; AdelaiDet

    def __post_init__(self):
        super().__post_init__()
        for low, high in self.scale_ranges:
            if low > high:
                raise ConfigError(f"scale_ranges: {low} is above {high}")


@dataclass(frozen=True, kw_only=True)
class Losses:
    """SOLOv2's losses with their weights, and FreeSOLO's for masks that are coarse.

    FreeSOLO (arXiv 2202.12181, Sec. 3.3) asks of a coarse mask only where it lies along each axis,
    and of pixels of like colour that they agree: dice_weight 0, axis_max_weight 1,
    axis_mean_weight .1, colour_weight 1. Its loss of semantic embeddings is left out: the released
    code multiplies it by 0.
    """

    focal_weight: Weight = 1.0  # of the categories; AdelaiDet
    focal_alpha: Share = 0.25  # AdelaiDet
    focal_gamma: Weight = 2.0  # AdelaiDet
    dice_weight: Weight = 3.0  # of the masks; paper Sec. 3.3.1, AdelaiDet
    axis_max_weight: Weight = 0.0  # Dice of the largest value of each row and column; FreeSOLO: 1
    axis_mean_weight: Weight = 0.0  # Dice of the mean of each row and column; FreeSOLO: .1
    colour_weight: Weight = 0.0  # neighbours of like colour in one mask; FreeSOLO: 1
    colour_similarity: Share = 0.3  # from which colours are alike, exp(-|Lab - Lab'| / 2); FreeSOLO
    colour_warmup: Count = 1000  # batches over which its weight grows; FreeSOLO
    # Mask and category losses of a cell are multiplied by the score of its object, after CuVLER
    # (CVPR 2024), which does so in Mask R-CNN. Ours: SOLOv2 has no such thing.
    soft_targets: bool = False

    trust_loss: ClassVar[bool] = False  # CutS3D weighs pixels of a cross-entropy; there is none

    def __post_init__(self):
        masks = (self.dice_weight, self.axis_max_weight, self.axis_mean_weight)
        if not any(masks):
            raise ConfigError(
                "dice_weight, axis_max_weight and axis_mean_weight are all 0: nothing teaches masks"
            )
