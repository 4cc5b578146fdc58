"""MaskCut: several objects an image by repeated normalised cuts (CutLER)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Interval

from cleave.masks.common import Bipartition, Bisector, finish
from cleave.ops import components
from cleave.ops.iou import mask_iou
from cleave.ops.refine import Refinement
from cleave.types import Array, MaskSet, Scene


@dataclass(frozen=True, kw_only=True)
class MaskCut:
    """Up to `max_masks` objects by repeated normalised cuts (CutLER, arXiv 2301.11320, Sec. 3.1).

    Each cut gives the 4-connected component of the foreground that holds the seed; its patches
    are painted, and the rest is cut again. Masks come in the order of discovery with score 1.

    With `all_components` (ours) each cut gives all components of the unpainted part of its
    foreground, and the whole foreground is painted: the 2D counterpart of cleave3d, to be shown
    beside it.

    `compare: previous` is what CutLER's code does, a slip included: a dropped mask leaves nothing
    to compare with, so the next cut, which finds the same mask again, keeps it. `compare: all`
    has no such gap.
    """

    max_masks: Annotated[int, Ge(1)] = 3  # cuts an image (maskcut.py:323)
    small: Annotated[float, Interval(ge=0, lt=1)] = 0.01  # share of the grid (:139)
    overlap: Annotated[float, Interval(gt=0, le=1)] = 0.5  # IoU above which one is dropped (:139)
    compare: Literal["previous", "all"] = "previous"  # earlier cuts that `overlap` looks at (:139)
    all_components: bool = False  # ours; False is the paper
    refine: Refinement = "crf"  # Sec. 3.2
    working_size: Annotated[int, Gt(0)] = 480  # px, of the refinement (:321)

    needs: ClassVar[frozenset[str]] = frozenset({"graph"})

    def __call__(self, scene: Scene) -> MaskSet:
        bisect = Bisector(scene.graph)
        painted = np.zeros(scene.graph.grid, bool)
        kept: list[Array] = []  # one (K, h, w) bool for each cut
        for _ in range(self.max_masks):
            cut = bisect(painted)
            # What is painted already leads to no new mask and changes no later cut: CutLER goes
            # on and finds nothing (our study).
            if cut is None or painted.reshape(-1)[cut.foreground].all():
                break
            found = self._candidates(cut, painted)
            if kept or self.all_components:  # CutLER keeps the first mask, however small
                found = found[found.mean((1, 2)) > self.small]
            for earlier in kept[-1:] if self.compare == "previous" else kept:
                found = found[(mask_iou(found, earlier) <= self.overlap).all(1)]
            kept.append(found)
            painted |= self._painted(cut, found)
        masks = np.concatenate([np.zeros((0, *painted.shape), bool), *kept])
        return finish(
            scene,
            masks,
            np.ones(len(masks)),
            refine=self.refine,
            working_size=self.working_size,
            notes={"cuts": len(kept)},
        )

    def _candidates(self, cut: Bipartition, painted: Array) -> Array:
        foreground = cut.foreground.reshape(painted.shape)
        if self.all_components:
            return components.components(foreground & ~painted)
        return components.component_of(foreground, cut.seed)[None]

    def _painted(self, cut: Bipartition, found: Array) -> Array:
        if self.all_components:
            return cut.foreground.reshape(found.shape[1:])
        return found.any(0)
