"""What the backbones that the `neighbour_lda` stage learned have in common."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import Gt

from cleave.backbones.inputs import input_size
from cleave.io.images import resize
from cleave.ops.dictionary import PATCH
from cleave.spec import ConfigError
from cleave.types import Array, FeatureMap, Image

if TYPE_CHECKING:
    from cleave.pretrain.closed_form import ClosedForm


@dataclass(frozen=True, kw_only=True)
class ClosedFormFeatures(ABC):
    """Features by weights of a `neighbour_lda` section, by reference, or from a file."""

    weights: str | None = None  # a file that the stage wrote; None: of the `pretrain` reference
    sha256: str | None = None  # of the weights: another file is refused
    size: Annotated[int, Gt(0)] = 480  # CutLER, maskcut.py:164; that of the section is best
    keep_aspect: bool = False  # CutLER: the image is squeezed into a square
    max_side: Annotated[int, Gt(0)] = 800  # with keep_aspect

    batch: ClassVar[int] = 1
    learned_by: ClassVar[str] = "neighbour_lda"  # the kind of section that makes such weights
    licence: ClassVar[str] = "Apache-2.0; the weights are of whoever trained them"

    @property
    def needs(self) -> frozenset[str]:
        """What the config must refer to: a pre-training, where no file is named."""
        return frozenset({"weights"} if self.weights is None else ())

    def __call__(self, images: Sequence[Image]) -> list[FeatureMap]:
        return [self._describe(image) for image in images]

    @abstractmethod
    def encode(self, pixels: Array) -> Array:
        """(8 h, 8 w, 3) uint8 to (h, w, C) float32."""

    @functools.cached_property
    def learned(self) -> ClosedForm:
        """The weights; read when the first image comes."""
        from cleave.pretrain.closed_form import load

        if self.weights is None:
            raise ConfigError(f"{type(self).__name__}: name a weights file, or a pretrain section")
        return load(Path(self.weights), self.sha256)

    def _describe(self, image: Image) -> FeatureMap:
        seen = input_size(
            image.size,
            size=self.size,
            multiple=PATCH,
            keep_aspect=self.keep_aspect,
            max_side=self.max_side,
        )
        key = np.ascontiguousarray(self.encode(resize(image.pixels, seen)), np.float32)
        return FeatureMap({"key": key}, image.size, seen, PATCH)
