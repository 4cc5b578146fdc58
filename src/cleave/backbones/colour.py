"""A training-free descriptor: mean Lab colour of each patch, with its position and its texture.

For where there are no weights. In our study of features that a CPU can give to MaskCut, five
numbers a patch (mean Lab and position, weight 1) did as well as any learned without labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt

from cleave.backbones.inputs import Descriptor
from cleave.ops.colour import deviation, lab, neighbourhood_mean, patch_moments
from cleave.spec import ConfigError
from cleave.types import Array

# Mean and standard deviation over the 8 px patches of 1,026 unlabeled photos (every 8th of 8,208
# from ImageNet, Caltech-101, BSDS and shop photos), each at 480 x 480; no label took part.
COLOUR_MEAN = np.array([50.2, 4.7, 11.1])
COLOUR_SCALE = np.array([25.9, 14.4, 18.5])
# Lab deviation in the patch, Lab mean in 3 x 3 patches, Lab deviation in 3 x 3 patches
TEXTURE_MEAN = np.array([4.4, 1.0, 1.3, *COLOUR_MEAN, 8.3, 2.3, 2.9])
TEXTURE_SCALE = np.array([5.5, 1.4, 1.7, 24.4, 14.0, 18.0, 7.6, 3.0, 3.7])


def position(height: int, width: int) -> Array:
    """(h, w, 2) float64: y and x of each patch centre, each of zero mean and unit variance."""
    axes = [(np.arange(n) + 0.5) / n * 2 - 1 for n in (height, width)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) * np.sqrt(3)


def texture(mean: Array, square: Array) -> Array:
    """(h, w, 9) standardised: Lab deviation in the patch, Lab mean and deviation in 3 x 3 patches.

    Args:
        mean, square: (h, w, 3), the moments of Lab in each patch.
    """
    wide_mean, wide_square = neighbourhood_mean(mean), neighbourhood_mean(square)
    statistics = [deviation(mean, square), wide_mean, deviation(wide_mean, wide_square)]
    return (np.concatenate(statistics, axis=-1) - TEXTURE_MEAN) / TEXTURE_SCALE


@dataclass(frozen=True, kw_only=True)
class Colour(Descriptor):
    """Mean Lab colour and position of each patch, without any weights.

    Every channel is divided by its standard deviation over unlabeled photos, so a weight of 1
    gives a channel as much to say as each of the others. `colour_weight: 0` leaves the position
    alone: the trivial baseline that every table needs. Centring per image is left to the graph.
    """

    stride: Annotated[int, Gt(0)] = 8  # pixels of a patch; as ViT-S/8, 60 x 60 patches
    colour_weight: Annotated[float, Ge(0)] = 1.0
    position_weight: Annotated[float, Ge(0)] = 1.0  # our study: 1 (and 0.5) beat 0, paired
    texture_weight: Annotated[float, Ge(0)] = 0.0  # our study: texture added nothing to position

    licence: ClassVar[str] = "Apache-2.0"

    def __post_init__(self):
        if not (self.colour_weight or self.position_weight or self.texture_weight):
            raise ConfigError("colour_weight, position_weight and texture_weight are all 0")

    def encode(self, pixels: Array) -> Array:
        mean, square = patch_moments(lab(pixels), self.stride)
        parts = []
        if self.colour_weight:
            parts.append((mean - COLOUR_MEAN) / COLOUR_SCALE * self.colour_weight)
        if self.position_weight:
            parts.append(position(*mean.shape[:2]) * self.position_weight)
        if self.texture_weight:
            parts.append(texture(mean, square) * self.texture_weight)
        return np.concatenate(parts, axis=-1)
