"""VoteCut: the objects on which the cuts of several backbones agree (CuVLER)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Interval, Le, MinLen

from cleave.masks.common import finish
from cleave.ops import bits, ncut, vote
from cleave.ops.cluster import kmeans_1d
from cleave.ops.iou import box_iou, mask_iou
from cleave.ops.refine import Refinement, refine
from cleave.ops.resample import upsample_nearest
from cleave.types import Array, MaskSet, PatchGraph, Scene, Size

_ROUND_OFF = 8  # digits of a vector that count: patches that are alike share a cluster


@dataclass(frozen=True, kw_only=True)
class VoteCut:
    """Masks for which many cuts vote (CuVLER, arXiv 2403.07700, VoteCut).

    The eigenvectors of every graph, one graph a backbone, are parted by 1-D k-means for several k;
    connected components of the parts are proposals; proposals that are alike form a cluster; a
    patch that enough of a cluster's proposals hold is in its mask. The score of a mask is the size
    of its cluster, of which the largest of the image has 1.

    The authors take six graphs: keys of DINO S/16, B/16, S/8, B/8 at 480 px and last tokens of
    DINOv2 S/14, B/14 at 476 px, all with a threshold of .15 (extract_eig_vecs.py:73-90, ncut.py:5).
    Comments name the lines of their votecut.py at commit b7a9cc41, where no other file is named.

    k-means is exact here; theirs runs scikit-learn's ten times and takes the best. Proposals of
    a grid that does not divide `side` are put on it by the patch under each centre, where theirs
    takes the patch under each upper left corner, which shifts them by up to half a patch.
    """

    eigenvectors: Annotated[int, Ge(1), Le(16)] = 1  # of a graph (create_pseudo_masks.py:134)
    # D^1/2 x of the symmetric problem (ncut.py:27-36), or the x of CutLER's generalised one.
    problem: Literal["symmetric", "generalised"] = "symmetric"
    clusters: Annotated[tuple[Annotated[int, Ge(2)], ...], MinLen(1)] = (2, 3)  # each k (:29)
    corners: Annotated[int, Ge(1)] = 2  # of the grid that only background holds (:84)
    most_components: Annotated[int, Ge(1)] = 30  # of a cluster; more are noise (:92)
    smallest_side: Annotated[int, Ge(1)] = 5  # patches of its grid; the longer side counts (:97)
    side: Annotated[int, Gt(0)] | None = 60  # patches, of the vote (:243); null: the finest grid
    overlap: Annotated[float, Interval(ge=0, lt=1)] = 0.6  # IoU above which two are alike (:268)
    pivot_updates: Annotated[int, Ge(1)] = 5  # (:122)
    share: Annotated[float, Interval(ge=0, lt=1)] = 0.2  # tau_m, above which a patch is in (:242)
    max_masks: Annotated[int, Ge(1)] = 10  # the first clusters found, not the largest (:244)
    refine: Refinement = "crf"  # (:220)
    # Added to a mask's box on each side before it is refined, at the size of the image; null:
    # refined on the whole image at `working_size`, as in CutLER, for all masks at once.
    margin: Annotated[float, Ge(0)] | None = 1 / 3  # (:211)
    minimum_iou: Annotated[float, Interval(ge=0, le=1)] = 0.5  # of boxes before and after (:228)
    keep_unrefined: bool = True  # masks whose refinement fails stay as they were (:229)
    working_size: Annotated[int, Gt(0)] = 480  # px, only where `margin` is null; CutLER's

    needs: ClassVar[frozenset[str]] = frozenset({"graphs"})

    def __call__(self, scene: Scene) -> MaskSet:
        masks = self._proposals(scene)
        groups = vote.group(mask_iou(masks, masks), self.overlap, self.pivot_updates)
        groups = groups[: self.max_masks]
        sizes = np.array([len(members) for _, members in groups])
        order = np.argsort(-sizes, kind="stable")
        voted = vote.shares(masks, [groups[i] for i in order]) > self.share
        scores = sizes[order] / max(sizes, default=1)
        notes = {"proposals": len(masks), "clusters": len(groups)}
        if self.refine == "none" or self.margin is None:
            return finish(
                scene,
                voted,
                scores,
                refine=self.refine,
                subtract_earlier=False,
                working_size=self.working_size,
                notes=notes,
            )
        return self._refined(scene, voted, scores, notes)

    def _proposals(self, scene: Scene) -> Array:
        """(M, side, side) bool, ordered by graph, vector, k, cluster and first patch."""
        found = []
        size = self._size(scene.graphs)
        for graph in scene.graphs:
            for vector in self._vectors(graph):
                for k in self.clusters:
                    masks = vote.proposals(
                        kmeans_1d(vector, k).reshape(graph.grid),
                        corners=self.corners,
                        most=self.most_components,
                        side=self.smallest_side,
                    )
                    found += [upsample_nearest(mask, size) for mask in masks]
        return np.array(found, bool).reshape(-1, *size)

    def _size(self, graphs: tuple[PatchGraph, ...]) -> Size:
        if self.side is not None:
            return Size(self.side, self.side)
        return max((graph.grid for graph in graphs), key=lambda grid: grid.height * grid.width)

    def _vectors(self, graph: PatchGraph) -> Iterator[Array]:
        vectors = graph.eigenvectors
        if vectors is None or len(vectors) < self.eigenvectors:
            n = len(graph.edges)
            vectors = ncut.spectrum(graph.edges, n, graph.floor, self.eigenvectors).vectors
        degree = (1 - graph.floor) * bits.degrees(graph.edges) + graph.floor * len(graph.edges)
        for vector in vectors[: self.eigenvectors]:
            if vector.any():  # zeros: there is no such cut
                scaled = vector * np.sqrt(degree) if self.problem == "symmetric" else vector
                yield ncut.with_sign(np.round(scaled / np.abs(scaled).max(), _ROUND_OFF))

    def _refined(
        self, scene: Scene, voted: Array, scores: Array, notes: dict[str, float]
    ) -> MaskSet:
        """Each mask refined on its own stretch of the image (:191-237)."""
        size = scene.image.size
        before = MaskSet(size, upsample_nearest(voted, size), scores)
        before = before[before.areas > 0]
        masks = [
            self._refined_crop(scene.image.pixels, mask, box)
            for mask, box in zip(before.masks, before.boxes.astype(int), strict=True)
        ]
        after = MaskSet(size, np.reshape(masks, (-1, *size)).astype(bool), before.scores)
        overlaps = [box_iou(*pair)[0, 0] for pair in zip(_rows(before), _rows(after), strict=True)]
        failed = ~after.masks.any((1, 2)) | (np.array(overlaps) < self.minimum_iou)
        kept = MaskSet(
            size,
            np.where(failed[:, None, None], before.masks, after.masks),
            before.scores,
            notes={**notes, "refinement_failed": int(failed.sum())},
        )
        return kept if self.keep_unrefined else kept[~failed]

    def _refined_crop(self, pixels: Array, mask: Array, box: Array) -> Array:
        (x0, y0, x1, y1), refined = box, np.zeros_like(mask)
        right, down = int(self.margin * (x1 - x0)), int(self.margin * (y1 - y0))
        crop = (slice(max(y0 - down, 0), y1 + down), slice(max(x0 - right, 0), x1 + right))
        # The crop's own rule of what has changed too much is this method's, in boxes.
        refined[crop] = refine(pixels[crop], mask[crop][None], self.refine, minimum_iou=0.0)[0][0]
        return refined


def _rows(masks: MaskSet) -> Array:
    """(M, 1, 4): each box as an array of one."""
    return masks.boxes[:, None]
