"""TokenCut: the one salient object of an image by one normalised cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt

from cleave.masks.common import eigenvector, finish
from cleave.ops import components, ncut
from cleave.ops.refine import Refinement
from cleave.types import Array, MaskSet, PatchGraph, Scene


@dataclass(frozen=True, kw_only=True)
class TokenCut:
    """One mask: the component that holds the seed of one cut (TokenCut, arXiv 2202.11539, Sec. 3).

    The seed is the patch with the largest |x|; the side of the mean that holds it is the
    foreground, so the result does not depend on the sign of x. The paper builds its graph with a
    threshold of .2 (main_tokencut.py:110).

    The paper's rows of object discovery (CorLoc) are boxes of the patch mask, its rows "+ BS" of
    saliency are masks from the bilateral solver: `refine: bilateral` (get_saliency.py:147-155).
    The patch mask is the default because the boxes are the published comparison here. Where the
    refined mask has an IoU below .5 with the patch mask, this class drops it, as for all
    methods; the code negates it for its pictures and scores the soft map all the same.
    """

    refine: Refinement = "none"  # patch mask: object_discovery.py:56-90; "+ BS": bilateral
    working_size: Annotated[int, Gt(0)] = 480  # px, of the refinement if there is one

    needs: ClassVar[frozenset[str]] = frozenset({"graph"})

    def __call__(self, scene: Scene) -> MaskSet:
        masks = _object(scene.graph)
        return finish(
            scene,
            masks,
            np.ones(len(masks)),
            refine=self.refine,
            working_size=self.working_size,
        )


def _object(graph: PatchGraph) -> Array:
    """(1, h, w) bool, or (0, h, w) where nothing can be cut."""
    vector = eigenvector(graph)
    if vector is None:
        return np.zeros((0, *graph.grid), bool)
    # The peak of |x| is positive in the sign convention of `ops.ncut`: its side needs no inversion.
    foreground, seed = ncut.bipartition(vector), ncut.peak(np.abs(vector))
    return components.component_of(foreground.reshape(graph.grid), seed)[None]
