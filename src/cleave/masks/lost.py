"""LOST: the one object of an image, grown from the patch that resembles the fewest others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt

from cleave.masks.common import finish
from cleave.ops.affinity import normalise
from cleave.ops.components import component_of
from cleave.ops.facets import patch_features
from cleave.ops.refine import Refinement
from cleave.ops.seed_expansion import expand_seed
from cleave.types import Array, MaskSet, Scene


@dataclass(frozen=True, kw_only=True)
class Lost:
    """One mask: what resembles the least connected patch and its like (LOST, arXiv 2109.14279).

    Objects take less of an image than their background, so the patch with the fewest positive
    products lies on one (Sec. 3). The paper's box is that of the seed's component. Of patches
    that are all alike none has a low degree: there is no mask, where the code would give the
    whole image.

    DINO's keys have products of both signs. Features of other origin may all be alike: `centre`
    or a `threshold` then tells them apart.
    """

    facet: str = "key"  # the best of the three (Sec. 4.1; main_lost.py, --which_features)
    candidates: Annotated[int, Gt(0)] = 100  # k, patches of low degree that may expand the seed
    threshold: float = 0.0  # products above it are alike (object_discovery.py:49, 65)
    normalise: bool = False  # features to unit length; the code's products are raw
    centre: bool = False  # ours: subtract the image's mean feature; for other features than DINO's
    refine: Refinement = "none"  # the paper takes the box of the patches
    working_size: Annotated[int, Gt(0)] = 480  # px, of the refinement if there is one

    needs: ClassVar[frozenset[str]] = frozenset({"features"})

    def __call__(self, scene: Scene) -> MaskSet:
        masks = self._object(scene)
        return finish(
            scene,
            masks,
            np.ones(len(masks)),
            refine=self.refine,
            working_size=self.working_size,
        )

    def _object(self, scene: Scene) -> Array:
        """(1, h, w) bool, or (0, h, w) where no patch stands out."""
        grid = scene.features.grid
        rows = patch_features(scene.features, self.facet, self.centre)
        if self.normalise:
            rows = normalise(rows)
        found = expand_seed(rows, self.candidates, self.threshold)
        if not found.mask[found.seed] or found.degrees.min() == len(rows) - 1:
            return np.zeros((0, *grid), bool)
        return component_of(found.mask.reshape(grid), found.seed)[None]
