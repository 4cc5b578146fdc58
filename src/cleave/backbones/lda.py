"""Features along the directions that neighbour-LDA found."""

from __future__ import annotations

from dataclasses import dataclass

from cleave.backbones.closed_form import ClosedFormFeatures
from cleave.types import Array


@dataclass(frozen=True, kw_only=True)
class Lda(ClosedFormFeatures):
    """Texture and dictionary features, projected to where near patches are alike and others not.

    Neighbours differ equally along each direction. In the features study this brought poor
    features up to mean colour with position, no further.
    """

    def encode(self, pixels: Array) -> Array:
        return self.learned.discriminant(pixels)
