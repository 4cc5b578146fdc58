"""No depth at all: the control that shows what a method owes to depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cleave.types import DepthMap, Image


@dataclass(frozen=True, kw_only=True)
class Flat:
    """The same depth everywhere."""

    def __call__(self, image: Image) -> DepthMap:
        """(H, W) ones, relative."""
        return DepthMap(np.ones(image.size, np.float32), "relative")
