"""Every number of the augmentation: frozen, validated, torch-free.

The defaults are CutLER's initial round (arXiv 2301.11320; its cascade_mask_rcnn_R_50_FPN.yaml and
engine/train_loop.py, called "CutLER" below), and detectron2's where those are silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from cleave.spec import ConfigError

Share = Annotated[float, Ge(0), Le(1)]
Side = Annotated[int, Gt(0)]


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Resize, flip and colours of each image, then copy-paste between the images of a batch.

    `trust` names the confidence maps that `select: trust`, `blend: trust` and the trust loss go
    by: "spatial" are those in the mask files (Spatial Confidence in CutS3D, arXiv 2411.16319,
    Eq. 4; stability in cleave3d), raised to `trust_floor` inside the mask; a mask without a map is
    trusted everywhere. "scalar" is the mean of such a map over its mask (Table 5b). "area" is the
    control that they must beat: one number a mask, floor + (1 - floor) * area / (area of the
    largest mask in the image), so in the same range and in the order of the areas.
    """

    # px; () leaves the size as it is; CutLER
    short_sides: tuple[Side, ...] = (240, 320, 480, 640, 672, 704, 736, 768, 800, 1024)
    sampling: Literal["choice", "range"] = "choice"  # range: any side between the two short_sides
    max_side: Side = 1333  # px, which the long side must not exceed; CutLER
    flip: Share = 0.5  # probability of a mirror image; detectron2
    jitter: Share = 0.0  # brightness, contrast, saturation in [1 - jitter, 1 + jitter]; CutLER: off
    jitter_probability: Share = 0.8  # DINO, arXiv 2104.14294; of no effect without jitter
    copy_paste: Share = 1.0  # probability that an image is pasted onto; CutLER COPY_PASTE_RATE
    ratio: tuple[float, float] = (0.3, 1.0)  # pasted / target side; CutLER; self-training .5 to 1
    copies: Literal["random", "all"] = "random"  # 1 to n - 1, CutLER; all: CuVLER's in-domain round
    select: Literal["random", "trust", "area", "score"] = "random"  # which; trust: CutS3D
    blend: Literal["none", "trust", "area"] = "none"  # opacity; trust: CutS3D Eq. 5
    overlap: Share = 0.5  # share of a target's mask that a paste must not reach; train_loop.py:209
    trust: Literal["none", "spatial", "scalar", "area"] = "none"
    trust_floor: Share = 0.5  # SC_min; CutS3D Table 5c

    def __post_init__(self):
        if self.sampling == "range" and not (
            len(self.short_sides) == 2 and self.short_sides[0] <= self.short_sides[1]
        ):
            raise ConfigError(
                "short_sides: sampling range needs two sides, the smaller first, "
                f"got {list(self.short_sides)}"
            )
        if not 0 < self.ratio[0] <= self.ratio[1] <= 1:
            raise ConfigError(f"ratio: expected 0 < first <= second <= 1, got {list(self.ratio)}")
        for name in ("select", "blend"):
            if getattr(self, name) == "trust" and self.trust == "none":
                raise ConfigError(f"{name}: trust needs a source; set trust: spatial or area")
