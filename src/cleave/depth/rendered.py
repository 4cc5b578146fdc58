"""The depth of the rendered scenes: exact, or as a sensor or a monocular network would give it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from cleave.ops.render import Noise, noisy_depth, parse_id, scene
from cleave.types import DataError, DepthMap, Image


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Depth of the images of a `scenes` data set, rendered from their ids."""

    saw_labels: ClassVar[str] = "the true depth of the rendered scenes"

    noise: Noise = "exact"
    seed: Annotated[int, Ge(0)] = 0  # of the noise, beside the image's id

    def __call__(self, image: Image) -> DepthMap:
        """(H, W) depth at the image's size; in metres, but relative for monocular noise.

        Raises:
            DataError: the image is not of a `scenes` data set.
        """
        try:
            flavour, number = parse_id(image.id)
        except DataError as error:
            raise DataError(f"depth kind 'rendered': {error}; use another depth kind") from None
        rng = np.random.default_rng([self.seed, zlib.crc32(image.id.encode())])
        return noisy_depth(scene(flavour, number, image.size), self.noise, rng)
