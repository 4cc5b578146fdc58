"""A training-free descriptor: colour, its spread and the edges of each patch, at three scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt

from cleave.backbones.inputs import input_size
from cleave.io.images import resize
from cleave.ops.texture import standardised, texture
from cleave.types import FeatureMap, Image


@dataclass(frozen=True, kw_only=True)
class Texture:
    """Thirty statistics of each patch and its neighbours, without any weights.

    Lab mean, Lab deviation and edges in four directions, in windows of one, three and five patches;
    each is divided by its standard deviation over unlabeled photos. For comparison with `colour`,
    which did better in the features study, and as a part of what `lda` sees.
    """

    size: Annotated[int, Gt(0)] = 480  # CutLER, maskcut.py:164
    keep_aspect: bool = False  # CutLER: the image is squeezed into a square
    max_side: Annotated[int, Gt(0)] = 800  # with keep_aspect
    stride: Annotated[int, Gt(0)] = 8  # pixels of a patch; as ViT-S/8, 60 x 60 patches

    batch: ClassVar[int] = 1
    licence: ClassVar[str] = "Apache-2.0"

    def __call__(self, images: Sequence[Image]) -> list[FeatureMap]:
        return [self._describe(image) for image in images]

    def _describe(self, image: Image) -> FeatureMap:
        seen = input_size(
            image.size,
            size=self.size,
            multiple=self.stride,
            keep_aspect=self.keep_aspect,
            max_side=self.max_side,
        )
        key = standardised(texture(resize(image.pixels, seen), self.stride))
        return FeatureMap({"key": key.astype(np.float32)}, image.size, seen, self.stride)
