"""A training-free descriptor: colour, its spread and the edges of each patch, at three scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt

from cleave.backbones.inputs import Descriptor
from cleave.ops.texture import standardised, texture
from cleave.types import Array


@dataclass(frozen=True, kw_only=True)
class Texture(Descriptor):
    """Thirty statistics of each patch and its neighbours, without any weights.

    Lab mean, Lab deviation and edges in four directions, in windows of one, three and five patches;
    each is divided by its standard deviation over unlabeled photos. For comparison with `colour`,
    which did better in the features study, and as a part of what `lda` sees.
    """

    stride: Annotated[int, Gt(0)] = 8  # pixels of a patch; as ViT-S/8, 60 x 60 patches

    licence: ClassVar[str] = "Apache-2.0"

    def encode(self, pixels: Array) -> Array:
        return standardised(texture(pixels, self.stride))
