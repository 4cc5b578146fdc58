"""ProMerge: masks of a grid of seeds, cleared of background and merged into instances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Interval, Lt

from cleave.masks.common import finish
from cleave.ops.affinity import normalise
from cleave.ops.facets import patch_features
from cleave.ops.merge import (
    covered_sides,
    keep_foreground,
    merge_overlapping,
    seed_grid,
    split_at_seeds,
)
from cleave.ops.refine import Refinement
from cleave.types import Array, MaskSet, Scene

_Share = Annotated[float, Interval(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class ProMerge:
    """Masks of many seeds, merged where they overlap and look alike (ProMerge, arXiv 2409.18961).

    The patches that resemble a seed are its mask. One that runs along more than one side of the
    image votes for the background; others fall apart into components. Those that lie in the
    background or look like it go (`ops.merge.keep_foreground`), the rest is merged
    (`ops.merge.merge_overlapping`). Without a background of some size there are no masks. No
    eigenproblem is solved. All constants are those of the authors' code, promerge.py unless said
    otherwise; which of them the paper's text repeats we do not know.

    It needs features and no graph: a graph holds who resembles whom, but not the mean features of
    masks, by which they are told from the background and from each other. The authors' features
    are `vit` with `model: dino_vitb8`, 480 px. Every threshold is one of cosines of DINO's keys:
    for other features, `centre` first and see whether theirs are alike.

    The masks may overlap, have score 1 as in annotations.py:58 and come larger first; the code
    keeps them in a set, without order.

    Notes of the result count: background_seeds, parts (components of the other seeds' masks),
    foreground (parts that stay) and merged (what they become).
    """

    facet: str = "key"  # run_script.sh, vit_feat k
    centre: bool = False  # ours: subtract the image's mean feature; for other features than DINO's
    stride: Annotated[int, Gt(0)] = 4  # patches from seed to seed (run_script.sh)
    affinity: Annotated[float, Ge(-1), Lt(1)] = 0.2  # cosine above which a patch is the seed's
    most_sides: Annotated[int, Interval(ge=0, le=4)] = 1  # more than these covered: background
    component: Annotated[float, Ge(0)] = 0.5  # least size, in sizes of the seed's component
    small: _Share = 0.0  # ours: share of the grid that a part has at least; noise makes specks
    vote: _Share = 0.5  # share of the candidates above which a patch is background (:148-153)
    least_background: _Share = 0.1  # share of the grid below which there are no masks (:158)
    inside_background: Annotated[float, Gt(0)] = 0.8  # of what a mask adds; from here on it goes
    like_background: float = 0.1  # product of mean features from which on a mask goes
    overlap: _Share = 0.5  # share of a mask inside another above which they merge
    similar_overlap: _Share = 0.1  # the same, for masks that look alike
    similarity: float = 0.1  # product of mean features from which on two masks look alike
    refine: Refinement = "crf"  # crf.py, the constants of CutLER's; IoU .5 (:224-230)
    working_size: Annotated[int, Gt(0)] = 480  # px, of the refinement (fixed_size)

    needs: ClassVar[frozenset[str]] = frozenset({"features"})

    def __call__(self, scene: Scene) -> MaskSet:
        grid = scene.features.grid
        features = normalise(patch_features(scene.features, self.facet, self.centre))
        seeds = seed_grid(grid, self.stride)
        alike = (features[seeds] @ features.T > self.affinity).reshape(-1, *grid)
        ground = covered_sides(alike) > self.most_sides
        parts = split_at_seeds(alike[~ground], seeds[~ground], self.component)
        parts = parts[parts.sum((1, 2)) >= self.small * len(features)]
        background = self._background(alike[ground])
        kept = merged = parts[:0]
        if background.any() and background.mean() >= self.least_background:
            kept = parts[self._foreground(parts, features, background)]
            merged = self._merge(kept, features)
        return finish(
            scene,
            merged,
            np.ones(len(merged)),
            refine=self.refine,
            subtract_earlier=False,
            working_size=self.working_size,
            notes={
                "background_seeds": int(ground.sum()),
                "parts": len(parts),
                "foreground": len(kept),
                "merged": len(merged),
            },
        )

    def _background(self, candidates: Array) -> Array:
        """(h, w) bool, from (M, h, w) bool; all False where there is no candidate."""
        return candidates.sum(0) > self.vote * len(candidates)

    def _foreground(self, parts: Array, features: Array, background: Array) -> Array:
        return keep_foreground(
            parts,
            features,
            background,
            most_inside=self.inside_background,
            similarity=self.like_background,
        )

    def _merge(self, masks: Array, features: Array) -> Array:
        return merge_overlapping(
            masks,
            features,
            overlap=self.overlap,
            similar_overlap=self.similar_overlap,
            similarity=self.similarity,
        )
