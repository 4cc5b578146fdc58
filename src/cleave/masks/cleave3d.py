"""cleave3d: our own way from bipartitions to instances, all depth components at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt
from scipy.ndimage import distance_transform_edt

from cleave.masks.common import Bisector, finish
from cleave.ops.components import depth_components, select
from cleave.ops.points import Pooling, normalise_depth, pool_depth
from cleave.ops.refine import Refinement
from cleave.types import Array, MaskSet, Scene


@dataclass(frozen=True, kw_only=True)
class Cleave3D:
    """Every bipartition split at once into all of its depth components. OURS, no paper's method.

    CutS3D spends one eigenproblem per object and throws the rest of the bipartition back. Here
    the unpainted foreground of each normalised cut falls apart wherever neighbouring patches
    differ in depth by more than `tau_depth`; fragments join the neighbour nearest in depth; all
    parts that are not `small` are masks; the whole foreground is painted. No terminals, no
    min-cut, and the number of cuts needs no tuning, for a cut serves a class and not an object
    (our study, on synthetic scenes).

    The trust of a mask is its stability: the part that its core belongs to is found again at
    `stability_cuts` thresholds around tau_depth, and the mean IoU with the mask is its score. The
    core is the patch farthest from the outside of the mask. The trust map holds for each patch
    the share of the thresholds at which it stays with the core. Thresholds below tau_depth alone,
    as in CutS3D's Spatial Confidence, would not show over-splitting.

    With flat depth and `connectivity: 4` this is MaskCut with `all_components`: show the two side
    by side, at the same affinity threshold.

    Notes of the result count: bipartitions (eigenproblems; the first comes with the graph), parts
    (depth components, `small` ones included) and kept.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"graph", "depth"})

    max_cuts: Annotated[int, Gt(0)] = 3  # 2, 3 and 6 gave the same masks (study)
    # Share of the image's range of depth. .02 splits more and shatters objects that occlude
    # themselves, .05 splits less; the best range was the same on a 30 x 30 grid (study).
    tau_depth: Annotated[float, Gt(0)] = 0.035
    clip_percent: Annotated[float, Ge(0), Lt(50)] = 0.0  # of depth; tau_depth was tuned without
    pooling: Pooling = "min"  # the nearest surface; area averages bridge objects (study)
    connectivity: Literal[4, 8] = 8  # neighbours of a patch (study)
    fragment: Annotated[int, Ge(1)] = 5  # patches, below which a part joins a neighbour (study)
    small: Annotated[float, Ge(0), Lt(1)] = 0.01  # share of the grid; CutLER maskcut.py:139
    stability_cuts: Annotated[int, Gt(0)] = 6  # thresholds (study)
    stability_range: Annotated[float, Ge(1)] = 2.0  # from tau / this to tau * this (study)
    score: Literal["stability", "one", "area"] = "stability"
    refine: Refinement = "crf"  # as MaskCut, for comparison
    working_size: Annotated[int, Gt(0)] = 480  # px, of the refinement (CutLER maskcut.py:321)

    def __call__(self, scene: Scene) -> MaskSet:
        grid = scene.graph.grid
        depth = normalise_depth(
            pool_depth(scene.depth.values, grid, self.pooling), self.clip_percent
        )
        notes = Counter(dict.fromkeys(("bipartitions", "parts", "kept"), 0))
        bisect = Bisector(scene.graph)
        painted = np.zeros(grid, bool)
        masks, scores, trust = [], [], []
        for _ in range(self.max_cuts):
            if (cut := bisect(painted)) is None:
                break
            notes["bipartitions"] += 1
            foreground = cut.foreground.reshape(grid)
            if painted[foreground].all():  # and would be so for ever: the same cut comes again
                break
            for mask, score, kept in self._split(foreground & ~painted, depth, notes):
                masks.append(mask)
                scores.append(score)
                trust.append(kept)
            painted = painted | foreground
        return finish(
            scene,
            masks,
            scores,
            trust=trust,
            refine=self.refine,
            working_size=self.working_size,
            notes=notes,
        )

    def _split(self, active: Array, depth: Array, notes: Counter) -> list[tuple]:
        """(mask, score, trust map) of every part of `active` that is not small."""
        labels, count = self._parts(active, depth, self.tau_depth)
        parts = select(labels, count, np.floor(self.small * active.size) + 1)
        notes["parts"] += count
        notes["kept"] += len(parts)
        shares = np.geomspace(1 / self.stability_range, self.stability_range, self.stability_cuts)
        others = [self._parts(active, depth, self.tau_depth * share)[0] for share in shares]
        return [(mask, *self._stability(mask, others)) for mask in parts]

    def _parts(self, active: Array, depth: Array, tau: float) -> tuple[Array, int]:
        return depth_components(active, depth, tau, self.fragment, self.connectivity)

    def _stability(self, mask: Array, others: list[Array]) -> tuple[float, Array]:
        core = _core(mask)
        again = np.stack([labels == labels[core] for labels in others])  # (T, h, w)
        trust = np.where(mask, again.mean(0), 0.0)
        if self.score != "stability":
            return (1.0 if self.score == "one" else float(mask.mean())), trust
        ious = (again & mask).sum((1, 2)) / (again | mask).sum((1, 2))
        return float(ious.mean()), trust


def _core(mask: Array) -> tuple[int, int]:
    """The patch farthest from the outside of the mask; the border of the grid counts as outside.

    The first in row-major order where several are.
    """
    distance = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return tuple(int(i) for i in np.unravel_index(np.argmax(distance), mask.shape))
