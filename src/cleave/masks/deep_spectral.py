"""Deep Spectral Methods: objects from the eigenvectors of features and colours together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from scipy import ndimage

from cleave.io.images import resize
from cleave.masks.common import finish
from cleave.ops.cluster import kmeans
from cleave.ops.components import border_label, select
from cleave.ops.facets import patch_features
from cleave.ops.knn_colour import colour_neighbours
from cleave.ops.laplacian import (
    LaplacianPairs,
    clipped_cosine,
    cohesion,
    eigengap,
    laplacian_pairs,
)
from cleave.ops.refine import Refinement
from cleave.spec import ConfigError
from cleave.types import Array, MaskSet, Scene, Size


@dataclass(frozen=True, kw_only=True)
class DeepSpectral:
    """Regions from the Laplacian's eigenvectors (Deep Spectral Methods, arXiv 2205.07839).

    W = the cosines of the features, clipped at 0, plus `colour_weight` times the nearest
    neighbours in colour and place; x solves (D - W) x = lambda D x (extract.py:182-229).

    `regions: single` is the paper's object localisation and single-region segmentation: the side
    of 0 of the first non-constant eigenvector that holds at most half of the patches
    (extract.py:235-240), and of it the largest component (object_discovery.py:85-126).
    `regions: multi` is its multi-region segmentation: k-means over the eigenvectors, of as many
    clusters as lie before the largest gap of the eigenvalues; the cluster with most of the border
    is the background (extract.py:286-351), and of each other one `parts` are masks.

    The score is how much more of its affinity a mask keeps to itself than chance would (ours).
    Patches whose features are all alike hold no object, whatever their colours. Not built: the
    random-walk affinity of the code, and features upsampled beyond the patch grid.

    Notes of the result count: eigenvectors (found), clusters and components.
    """

    facet: str = "key"  # extract.py, which_features
    centre: bool = False  # ours: subtract the image's mean feature; for other features than DINO's
    # Of a colour neighbour: 10 in _extract_eig (:131), 0 in the README's commands (:259).
    colour_weight: Annotated[float, Ge(0)] = 0.0
    neighbours: tuple[Annotated[int, Gt(0)], ...] = (20, 10)  # extract_utils.py, knn_affinity
    position: tuple[Annotated[float, Ge(0)], ...] = (2.0, 0.1)  # weight of the place in each
    regions: Literal["single", "multi"] = "single"
    eigenvectors: Annotated[int, Ge(1), Le(32)] = 4  # README: K 5, the constant one included
    clusters: Annotated[int, Ge(2)] | None = None  # None: eigengap; 4 if not adaptive (:359)
    parts: Literal["largest", "all", "whole"] = "largest"  # components of a region that are masks
    connectivity: Literal[4, 8] = 8  # of components (skimage's default; object_discovery.py)
    small: Annotated[float, Ge(0), Lt(1)] = 0.0  # ours: least share of the grid
    refine: Refinement = "none"  # boxes of patch masks; the CRF is for semantic segments
    working_size: Annotated[int, Gt(0)] = 480  # px, of the refinement if there is one

    needs: ClassVar[frozenset[str]] = frozenset({"features"})

    def __post_init__(self):
        if self.regions == "single" and self.clusters is not None:
            raise ConfigError(f"clusters {self.clusters} has no effect with regions 'single'")
        if len(self.neighbours) != len(self.position) or not self.neighbours:
            raise ConfigError(
                f"neighbours and position: one entry each for every graph of colours, "
                f"got {self.neighbours} and {self.position}"
            )

    def __call__(self, scene: Scene) -> MaskSet:
        grid, weights = scene.features.grid, self._weights(scene)
        notes = dict.fromkeys(("eigenvectors", "clusters", "components"), 0)
        if weights is None:
            return finish(scene, [], [], notes=notes)
        pairs = laplacian_pairs(weights, 1 if self.regions == "single" else self.eigenvectors)
        regions = self._regions(pairs, grid)
        masks = np.concatenate([np.zeros((0, *grid), bool), *map(self._parts, regions)])
        notes.update(
            eigenvectors=int(pairs.vectors.any(1).sum()),
            clusters=len(regions),
            components=len(masks),
        )
        scores = cohesion(weights, masks.reshape(len(masks), -1))
        order = np.argsort(-scores, kind="stable")
        return finish(
            scene,
            masks[order],
            scores[order],
            refine=self.refine,
            working_size=self.working_size,
            notes=notes,
        )

    def _weights(self, scene: Scene) -> Array | None:
        """(N, N) float32; None where the features tell no two patches apart."""
        rows = patch_features(scene.features, self.facet, self.centre)
        weights = clipped_cosine(rows)
        if weights.max() - weights.min() < 1e-6:
            return None
        if self.colour_weight:
            small = resize(scene.image.pixels, scene.features.grid, "bilinear")
            row, column, count = colour_neighbours(small, self.neighbours, self.position)
            weights[row, column] += self.colour_weight * count
        return weights

    def _regions(self, pairs: LaplacianPairs, grid: Size) -> list[Array]:
        """The regions that may hold objects, each (h, w) bool."""
        if not pairs.vectors.any():
            return []
        if self.regions == "single":
            vector = pairs.vectors[0].reshape(grid)
            return [(-vector if (vector > 0).mean() > 0.5 else vector) > 0]
        clusters = self.clusters or eigengap(pairs.values)
        labels = kmeans(pairs.vectors.T, clusters).reshape(grid)
        ground = border_label(labels)
        return [labels == label for label in range(labels.max() + 1) if label != ground]

    def _parts(self, region: Array) -> Array:
        """(M, h, w) bool, the masks of one region."""
        if self.parts == "whole":
            return region[None] if region.mean() >= self.small else region[:0]
        structure = np.ones((3, 3)) if self.connectivity == 8 else None
        labels, count = ndimage.label(region, structure)
        found = select(labels, count, self.small * region.size)
        return found[:1] if self.parts == "largest" else found
