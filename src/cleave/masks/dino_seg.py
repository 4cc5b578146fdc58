"""DINO-seg: what the CLS token of a transformer looks at, head by head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from cleave.masks.common import finish
from cleave.ops.attention import keep_mass
from cleave.ops.components import components
from cleave.ops.nms import greedy_nms
from cleave.ops.refine import Refinement
from cleave.spec import ConfigError
from cleave.types import Array, MaskSet, Scene


@dataclass(frozen=True, kw_only=True)
class DinoSeg:
    """The patches that hold most of a head's CLS attention (DINO, arXiv 2104.14294).

    DINO shows each head's map with 60 % of its mass kept (visualize_attention.py:186-196). The
    baseline of LOST and TokenCut is `head: 4`, whose largest component is the object (LOST,
    object_discovery.py:123-171; the code never looks at the last component, which is a slip).
    MaskDistill sums the heads and keeps 75 %: `heads: mean`, `mass: .75`.

    The score of a mask is the share of its head's attention that lies on it (ours). Attention
    that is flat shows no object, and a mask of all patches is none.

    Notes of the result count: components (candidates) and doubles (dropped by `overlap`).
    """

    mass: Annotated[float, Gt(0), Le(1)] = 0.6  # DINO's README; LOST object_discovery.py:129
    heads: Literal["each", "mean"] = "each"  # masks of every head (DINO), or of their mean
    head: Annotated[int, Ge(0)] | None = None  # this head alone; 4 in LOST (main_lost.py:114)
    parts: Literal["largest", "all", "whole"] = "largest"  # LOST; DINO shows the `whole` map
    overlap: Annotated[float, Gt(0), Le(1)] = 0.5  # ours: IoU above which the lower score goes
    refine: Refinement = "none"  # neither paper refines
    working_size: Annotated[int, Gt(0)] = 480  # px, of the refinement if there is one

    needs: ClassVar[frozenset[str]] = frozenset({"features"})

    def __post_init__(self):
        if self.head is not None and self.heads != "each":
            raise ConfigError(f"head {self.head} has no effect with heads {self.heads!r}")

    def __call__(self, scene: Scene) -> MaskSet:
        maps = self._maps(scene)
        masks, scores = self._candidates(maps)
        order = np.argsort(-scores, kind="stable")
        kept = greedy_nms(masks[order], self.overlap)
        return finish(
            scene,
            masks[order][kept],
            scores[order][kept],
            refine=self.refine,
            subtract_earlier=False,
            working_size=self.working_size,
            notes={"components": len(masks), "doubles": len(masks) - len(kept)},
        )

    def _maps(self, scene: Scene) -> Array:
        """(A, h, w) float64, each of sum 1."""
        attention = scene.features.attention
        if attention is None:
            raise ConfigError(
                "features: dino_seg needs the CLS token's attention, which these features lack; "
                "name a features section of kind 'vit' with cls_attention: true"
            )
        maps = attention.astype(np.float64)
        if self.head is not None:
            if self.head >= len(maps):
                raise ConfigError(
                    f"head: {self.head} of {len(maps)}; valid are 0 to {len(maps) - 1}"
                )
            maps = maps[self.head : self.head + 1]
        if self.heads == "mean":
            maps = maps.mean(0, keepdims=True)
        total = maps.sum((1, 2), keepdims=True)
        return np.divide(maps, total, out=np.zeros_like(maps), where=total > 0)

    def _candidates(self, maps: Array) -> tuple[Array, Array]:
        """(M, h, w) bool and the share of its map's attention on each, (M,) float64."""
        masks, scores = [np.zeros((0, *maps.shape[1:]), bool)], [np.zeros(0)]
        for attention, kept in zip(maps, keep_mass(maps, self.mass), strict=True):
            if kept.all():
                continue
            parts = kept[None] if self.parts == "whole" else components(kept)
            parts = parts[:1] if self.parts == "largest" else parts
            masks.append(parts)
            scores.append((attention * parts).sum((1, 2)))
        return np.concatenate(masks), np.concatenate(scores)
