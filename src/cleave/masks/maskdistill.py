"""MaskDistill's initial masks: the object that the class token looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Gt, Le

from cleave.masks.common import finish
from cleave.ops.affinity import centre
from cleave.ops.attention import keep_mass
from cleave.ops.components import component_of
from cleave.ops.diffusion import class_scores, diffuse
from cleave.ops.facets import patch_features
from cleave.ops.refine import Refinement
from cleave.spec import ConfigError
from cleave.types import Array, FeatureMap, MaskSet, Scene

_LEAST = 2.0**-25  # half of the least float16 above 0, in which attention is stored


@dataclass(frozen=True, kw_only=True)
class MaskDistill:
    """One mask: what resembles the patch that CLS attends to most (MaskDistill, arXiv 2206.06363).

    Patches are scored by the product of their keys with CLS's query, before the softmax (eq. 1).
    From the best one, the source, the mask spreads over the similarity of keys (eq. 2) to the good
    patches that resemble it, and from these to all patches (`ops.diffusion.diffuse`). Where all
    patches score alike (a constant image) there is no source and no mask.

    The authors' features are `vit` with `model: dino_vits16`, `size: 640`, `keep_aspect: true`
    and `cls_query: true`; they pad an image to whole patches, where ours is resized to them.
    DINO's keys have products of both signs. Where all patches resemble each other the mask is the
    whole image: `centre` then.

    The note `carriers` counts the good patches that resemble the source.
    """

    share: Annotated[float, Gt(0), Le(1)] = 0.4  # of the patches, that are good (gen_masks.py:85)
    # Where the scores come from. logits: eq. 1, of CLS's query. attention: the mean log of the
    # softmax, which ranks the patches alike but for the bits it is stored in; for features that
    # keep the attention only.
    class_scores: Literal["logits", "attention"] = "logits"
    heads: Annotated[int, Gt(0)] | None = None  # None: all (eq. 1); the code: the first 5 (:35, 75)
    mass: Annotated[float, Gt(0), Le(1)] | None = None  # code: .5, others score 0 (:36); not paper
    centre: bool = False  # ours: similarity without the mean key; for other features than DINO's
    component: bool = True  # the source's alone (code :52-55); the paper's text does not say so
    refine: Refinement = "none"  # published: there is no CRF at this stage
    working_size: Annotated[int, Gt(0)] = 480  # px, of the refinement if there is one

    needs: ClassVar[frozenset[str]] = frozenset({"features"})

    def __post_init__(self):
        if self.mass is not None and self.class_scores != "logits":
            raise ConfigError("mass is a share of logits; leave it out with class_scores attention")

    def __call__(self, scene: Scene) -> MaskSet:
        keys = patch_features(scene.features, "key")
        scores = self._scores(scene.features, keys)
        masks, notes = np.zeros((0, *scene.features.grid), bool), {"carriers": 0}
        if np.ptp(scores) > 1e-6 * np.abs(scores).max():
            found = diffuse(centre(keys) if self.centre else keys, scores, self.share)
            masks = self._mask(found.field.reshape(scene.features.grid), found.source)[None]
            notes = {"carriers": len(found.carriers)}
        return finish(
            scene,
            masks,
            np.ones(len(masks)),
            refine=self.refine,
            working_size=self.working_size,
            notes=notes,
        )

    def _mask(self, field: Array, source: int) -> Array:
        mask = field > 0
        mask.flat[source] = True  # it is but where its key is zero, and then it is alone
        return component_of(mask, source) if self.component else mask

    def _scores(self, features: FeatureMap, keys: Array) -> Array:
        heads = self.heads or features.heads
        if heads > features.heads:
            raise ConfigError(f"heads: {heads}, but these features have {features.heads}")
        if self.class_scores == "attention":
            return self._from_attention(features, heads)
        query = self._query(features, keys)
        channels = keys.shape[1] // features.heads * heads
        scores = class_scores(query[:channels], keys[:, :channels], heads)
        if self.mass is not None and scores.sum() > 0:
            scores = np.where(keep_mass(scores.reshape(1, -1), self.mass)[0], scores, 0.0)
        return scores

    def _from_attention(self, features: FeatureMap, heads: int) -> Array:
        if features.attention is None:
            raise ConfigError(
                "class_scores: attention needs the attention of the class token, which these "
                "features lack; set `cls_attention: true` in their section, with a ViT that has one"
            )
        rows = features.attention[:heads].reshape(heads, -1).astype(np.float64)
        return np.log(np.maximum(rows, _LEAST)).mean(0)

    def _query(self, features: FeatureMap, keys: Array) -> Array:
        if features.cls_query is None:
            raise ConfigError(
                "maskdistill scores patches by the query of the class token, which these features "
                "lack; set `cls_query: true` in their section (kind vit), or, where they have "
                "`cls_attention: true`, set `class_scores: attention` here"
            )
        if len(features.cls_query) != keys.shape[1]:
            raise ConfigError(
                f"maskdistill multiplies queries with keys: the query of the class token has "
                f"{len(features.cls_query)} channels, the keys {keys.shape[1]} (grouped queries); "
                "set `class_scores: attention`"
            )
        return features.cls_query
