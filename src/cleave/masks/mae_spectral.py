"""Spectral clusters of MAE features that lie on what another method finds salient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Interval, Le, MinLen

from cleave.masks.common import finish
from cleave.ops import segments
from cleave.ops.facets import patch_features
from cleave.ops.nms import greedy_nms
from cleave.ops.refine import Refinement
from cleave.ops.resample import average
from cleave.types import Array, MaskSet, Scene

Share = Annotated[float, Interval(ge=0, le=1)]
Clusters = Annotated[tuple[Annotated[int, Ge(2), Le(64)], ...], MinLen(1)]


@dataclass(frozen=True, kw_only=True)
class MaeSpectral:
    """Spectral clusters for several k, their components, filtered by saliency (arXiv 2311.14665).

    A re-implementation, not a reproduction: no code is public and what is known of the paper is
    second-hand (a summary and a reading note). They say: keys of MAE's last block; spectral
    clustering for several k; clusters are split into components; what does not overlap a saliency
    map, DINO's features clustered with k = 2, is dropped; then NMS. All else here is ours, or taken
    from Deep Spectral Methods (arXiv 2205.07839), by some of the same authors.

    The saliency map is the union of the masks of the section that `masks` names: `deep_spectral`
    of DINO's keys is nearest to the paper, `dino_seg` and `tokencut` are others. Where it is empty
    nothing is found.

    Notes of the result count: candidates, salient (those that overlap it) and the share of the
    image that is `saliency`.
    """

    facet: str = "key"  # second-hand (note)
    centre: bool = False  # ours: subtract the image's mean feature; for features other than a ViT's
    clusters: Clusters = (2, 3, 4, 5, 6)  # several k is second-hand (summary); which ones is ours
    normalise: bool = False  # rows of the eigenvectors; off in Deep Spectral
    starts: Annotated[int, Ge(1)] = 10  # of k-means; ours
    iterations: Annotated[int, Ge(1)] = 300  # of k-means; ours
    smallest: Share = 0.001  # of the patches, that a candidate has at least; ours
    smallest_patches: Annotated[int, Ge(0)] = 4  # likewise, a number
    largest: Annotated[float, Gt(0), Le(1)] = 0.9  # of the patches; ours
    # The note says IoU, which drops every part of a salient whole: so the share of the candidate
    # that is salient (ours).
    overlap: Literal["share", "iou"] = "share"
    minimum_overlap: Share = 0.5  # ours
    nms: Share = 0.8  # IoU above which the lower of two goes; that there is NMS is second-hand
    max_masks: Annotated[int, Ge(1)] = 20  # FreeSOLO's (inference_freemask.py:171)
    upsample: Literal["bilinear", "nearest"] = "bilinear"  # to the image, cut at a half; ours
    refine: Refinement = "none"  # ours; others start from the nearest patch
    working_size: Annotated[int, Gt(0)] = 480  # px, of the refinement if there is one; CutLER's

    needs: ClassVar[frozenset[str]] = frozenset({"features", "masks"})

    def __call__(self, scene: Scene) -> MaskSet:
        candidates = self._candidates(scene)
        salient = average(scene.masks.masks.any(0), scene.features.grid)  # (h, w) share of a patch
        scores = self._overlaps(candidates, salient)
        areas = candidates.sum((1, 2))
        order = np.lexsort((-areas, -scores))  # by score, then by area; the earlier k on ties
        order = order[(scores[order] >= self.minimum_overlap) & (scores[order] > 0)]
        masks, scores = candidates[order], scores[order]
        kept = greedy_nms(masks, self.nms)[: self.max_masks]
        masks = masks[kept]
        if self.refine == "none":
            masks = segments.enlarge(masks, scene.image.size, self.upsample)
        notes = {
            "candidates": len(candidates),
            "salient": len(order),
            "saliency": float(salient.mean()),
        }
        return finish(
            scene,
            masks,
            scores[kept],
            refine=self.refine,
            subtract_earlier=False,
            working_size=self.working_size,
            notes=notes,
        )

    def _candidates(self, scene: Scene) -> Array:
        """(M, h, w) bool by k, cluster and first patch."""
        rows = patch_features(scene.features, self.facet, self.centre)
        return segments.spectral_segments(
            rows,
            scene.features.grid,
            self.clusters,
            least=max(self.smallest_patches, self.smallest * len(rows)),
            most=self.largest,
            normalise=self.normalise,
            starts=self.starts,
            iterations=self.iterations,
        ).masks

    def _overlaps(self, candidates: Array, salient: Array) -> Array:
        """(M,) of each candidate with the saliency map, as areas of the image give them."""
        inside = np.tensordot(candidates.astype(np.float64), salient, 2)
        whole = candidates.sum((1, 2)).astype(np.float64)
        if self.overlap == "iou":
            whole += salient.sum() - inside
        return np.divide(inside, whole, out=np.zeros_like(inside), where=whole > 0)
