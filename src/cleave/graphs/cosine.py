"""The graph of CutLER, TokenCut and CutS3D: binarised cosine similarity of patch features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from cleave.ops import bits
from cleave.ops.affinity import cosine, density_threshold, near_far_threshold
from cleave.ops.facets import patch_features
from cleave.ops.importance import Indexing, sharpen, spatial_importance
from cleave.ops.ncut import Spectrum, spectrum
from cleave.ops.points import Pooling, pool_depth
from cleave.spec import ConfigError
from cleave.types import Array, DepthMap, FeatureMap, PatchGraph

if TYPE_CHECKING:
    from cleave.ops.batched.ncut import Solver


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Joins patches whose features have a cosine above a threshold (CutLER, arXiv 2301.11320).

    With `importance` the cosines are first raised by Spatial Importance (CutS3D, arXiv
    2411.16319), so the threshold is met by raw cosines of threshold^(1/e) only, e = 1 - d at most
    1 - beta: .15 acts like .032 in flat areas at beta .45, and the study found that this hurts
    (our study). Hence off by default; sharpening edges already binarised would
    change nothing.

    Patches without a feature (zero, as after centring a constant image) are joined to none.
    """

    facet: str = "key"  # CutLER README and TokenCut
    rule: Literal["fixed", "density", "near_far"] = "fixed"
    threshold: Annotated[float, Ge(-1), Lt(1)] = 0.15  # CutLER README; for DINO keys; rule fixed
    density: Annotated[float, Gt(0), Le(1)] | None = None  # share of pairs joined; rule density
    centre: bool = False  # subtract the image's mean feature; for other features than DINO's
    floor: Annotated[float, Gt(0), Lt(1)] = 1e-5  # weight of a missing edge, maskcut.py:40-49
    importance: bool = False  # Spatial Importance
    sigma: Annotated[float, Gt(0)] = 3.0  # patches; not published: our choice
    beta: Annotated[float, Ge(0), Le(1)] = 0.45  # second-hand: no source of the authors states it
    indexing: Indexing = "symmetric"  # ambiguous in the paper, see ops.importance.sharpen
    pooling: Pooling = "area"  # of depth to patches; not published: our choice
    eigenvectors: Annotated[int, Gt(0), Le(16)] = 1  # of the whole graph, kept for the first cut

    def __post_init__(self):
        if (self.rule == "density") != (self.density is not None):
            raise ConfigError(
                f"density is given with rule 'density' and only then; got rule {self.rule!r} "
                f"and density {self.density}"
            )
        if self.rule != "fixed":
            self._refuse(("threshold",), f"rule {self.rule!r} finds its own")
        if not self.importance:
            self._refuse(("sigma", "beta", "indexing", "pooling"), "write 'importance: true' too")

    def _refuse(self, names: tuple[str, ...], why: str) -> None:
        defaults = {field.name: field.default for field in fields(self)}
        for name in names:
            if getattr(self, name) != defaults[name]:
                raise ConfigError(f"{name} {getattr(self, name)!r} has no effect: {why}")

    @property
    def needs(self) -> frozenset[str]:
        """What a call needs: depth only with `importance`."""
        return frozenset({"features", "depth"} if self.importance else {"features"})

    def __call__(
        self, features: FeatureMap, depth: DepthMap | None, rng: np.random.Generator
    ) -> PatchGraph:
        """One image's graph with its first spectrum.

        Args:
            features: with the facet that the section names.
            depth: of the same image; may be None without `importance`.
            rng: draws pairs for the rule near_far.

        Raises:
            ConfigError: the features lack the facet, or depth is missing.
        """
        rows = patch_features(features, self.facet, self.centre)
        affinity, importance = cosine(rows), None
        if self.importance:
            importance = self._importance(depth, features)
            affinity = sharpen(affinity, importance, self.indexing)
        threshold = self._threshold(affinity, features, rng)
        edges = bits.clear(bits.pack(affinity > threshold), ~rows.any(axis=1))
        cuts = spectrum(edges, len(rows), self.floor, self.eigenvectors)
        return self._graph(features, edges, threshold, importance, cuts)

    def batch(
        self,
        images: Sequence[tuple[FeatureMap, DepthMap | None, np.random.Generator]],
        solver: Solver,
    ) -> list[PatchGraph]:
        """What a call makes of each image, computed on the solver's device, in float32 too.

        Edges whose cosine is within round-off of the threshold may differ from those of a call.

        Args:
            images: the arguments of a call for each, all on one grid.
            solver: of the eigenproblems, all at a time.

        Raises:
            ConfigError: as a call does.
        """
        made = [self._edges_on(solver.device, *image) for image in images]
        edges = [packed for packed, _, _ in made]
        cuts = solver.spectra(edges, len(edges[0]), self.floor, self.eigenvectors)
        return [
            self._graph(features, *parts, found)
            for (features, _, _), parts, found in zip(images, made, cuts, strict=True)
        ]

    def _graph(
        self,
        features: FeatureMap,
        edges: Array,
        threshold: float,
        importance: Array | None,
        cuts: Spectrum,
    ) -> PatchGraph:
        return PatchGraph(
            edges,
            features.grid,
            features.size,
            floor=self.floor,
            threshold=threshold,
            importance=importance,
            eigenvalues=cuts.values,
            eigenvectors=cuts.vectors,
            residuals=cuts.residuals,
        )

    def _edges_on(
        self,
        device: str,
        features: FeatureMap,
        depth: DepthMap | None,
        rng: np.random.Generator,
    ) -> tuple[Array, float, Array | None]:
        """Edges, threshold and importance of one image."""
        import torch

        from cleave.ops.batched import affinity as on_device

        rows = torch.as_tensor(patch_features(features, self.facet)).to(device)
        unit = on_device.unit_rows(rows, self.centre)
        affinity, importance = on_device.cosine(unit), None
        if self.importance:
            importance = self._importance(depth, features)
            exponents = torch.as_tensor(importance).to(device)
            affinity = on_device.sharpen(affinity, exponents, self.indexing)
        if self.rule == "density":
            threshold = on_device.density_threshold(affinity, self.density)
        elif self.rule == "near_far":
            threshold = on_device.near_far_threshold(affinity, features.grid, rng)
        else:
            threshold = self.threshold
        return on_device.edges(affinity, threshold, unit), threshold, importance

    def _importance(self, depth: DepthMap | None, features: FeatureMap) -> np.ndarray:
        if depth is None:
            raise ConfigError("importance: true needs a depth map; name a depth section")
        pooled = pool_depth(depth.values, features.grid, self.pooling)
        return spatial_importance(pooled, self.sigma, self.beta)

    def _threshold(
        self, affinity: np.ndarray, features: FeatureMap, rng: np.random.Generator
    ) -> float:
        if self.rule == "density":
            return density_threshold(affinity, self.density)
        if self.rule == "near_far":
            return near_far_threshold(affinity, features.grid, rng)
        return self.threshold
