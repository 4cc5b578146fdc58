"""All segments of spectral clustering, for each number of clusters: what features tell apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Interval, Le, MinLen

from cleave.ops import segments
from cleave.ops.facets import patch_features
from cleave.types import MaskSet, Scene

Clusters = Annotated[tuple[Annotated[int, Ge(2), Le(64)], ...], MinLen(1)]


@dataclass(frozen=True, kw_only=True)
class SpectralClusters:
    """Every segment for every k, with k as its label: the input of the benchmark `instanceness`.

    The instance-ness study of arXiv 2311.14665: how well do features tell the objects of one class
    apart as the number of clusters grows? The clustering is that of `mae_spectral`, without its
    saliency and its NMS: nothing is chosen. Which k the paper takes is not known; its comparison of
    few with many is second-hand (summary).

    The score is the share of the image's border that the segment's cluster does not hold. At k = 2
    those above a half are the salient object: two clusters of DINO's features in the paper
    (second-hand, note), and the background rule of Deep Spectral Methods (arXiv 2205.07839).

    Segments are connected components, as the paper's masks are (second-hand, summary). With
    `segments: clusters` they are whole clusters: then two objects that lie apart but share a
    cluster are one segment, and only features can part them, never the ground between them.
    """

    facet: str = "key"  # second-hand (note)
    centre: bool = False  # ours: subtract the image's mean feature; for features other than a ViT's
    clusters: Clusters = (*range(2, 11), 15, 20, 30)  # ours
    segments: Literal["components", "clusters"] = "components"
    normalise: bool = False  # rows of the eigenvectors; off in Deep Spectral (arXiv 2205.07839)
    starts: Annotated[int, Ge(1)] = 10  # of k-means; ours
    iterations: Annotated[int, Ge(1)] = 300  # of k-means; ours
    smallest: Annotated[float, Interval(ge=0, le=1)] = 0.001  # of the patches; ours
    smallest_patches: Annotated[int, Ge(0)] = 4  # likewise, a number
    largest: Annotated[float, Gt(0), Le(1)] = 0.9  # of the patches; ours
    upsample: Literal["bilinear", "nearest"] = "bilinear"  # to the image, cut at a half; ours

    needs: ClassVar[frozenset[str]] = frozenset({"features"})
    refine: ClassVar[str] = "none"  # of the image only the size counts

    def __call__(self, scene: Scene) -> MaskSet:
        rows = patch_features(scene.features, self.facet, self.centre)
        found = segments.spectral_segments(
            rows,
            scene.features.grid,
            self.clusters,
            least=max(self.smallest_patches, self.smallest * len(rows)),
            most=self.largest,
            split=self.segments == "components",
            normalise=self.normalise,
            starts=self.starts,
            iterations=self.iterations,
        )
        full = segments.enlarge(found.masks, scene.image.size, self.upsample)
        kept = full.any((1, 2))  # on an image smaller than its grid some vanish
        return MaskSet(
            scene.image.size,
            full if kept.all() else full[kept],  # hundreds of masks are not copied for nothing
            1 - found.border[kept],
            labels=found.clusters[kept],
            notes={"segments": int(kept.sum())},
        )
