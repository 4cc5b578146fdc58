"""Simulated features of rendered scenes: what an ideal semantic network would see.

For studies of the cuts alone. As `depth: {kind: rendered}` stands in for a depth network, this
stands in for a backbone; it knows the true class of each pixel, so it is marked as having seen
labels wherever it is used, and it works on `scenes` only.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt

from cleave.backbones.inputs import input_size
from cleave.ops.points import pool_depth
from cleave.ops.render import CLASSES, Rendered, parse_id, scene
from cleave.types import Array, FeatureMap, Image, Size

DIMENSIONS = 64
_SEED = 20_000  # of the class embeddings: the same in every image, as a network's would be


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """True classes of rendered scenes as noisy patch features (a simulation, not a method).

    A patch is the mean of its pixels' class embeddings, so patches at borders are mixtures; things
    share a part that background lacks; each instance, position and patch deviates a little. Weights
    are norms relative to the class embedding's 1.
    """

    size: Annotated[int, Gt(0)] = 480
    stride: Annotated[int, Gt(0)] = 8  # pixels of a patch, as ViT-S/8
    foreground: Annotated[float, Ge(0)] = 0.5  # what all things share
    instance: Annotated[float, Ge(0)] = 0.2  # how much instances of one class differ
    position: Annotated[float, Ge(0)] = 0.2  # smooth drift over the image
    noise: Annotated[float, Ge(0)] = 0.5  # independent in each patch
    cls_attention: bool = False  # also an attention of a CLS token, which looks at things

    batch: ClassVar[int] = 1
    licence: ClassVar[str] = "Apache-2.0"
    saw_labels: ClassVar[str] = "the true classes of the rendered scenes"

    def __call__(self, images: Sequence[Image]) -> list[FeatureMap]:
        return [self._describe(image) for image in images]

    def _describe(self, image: Image) -> FeatureMap:
        seen = input_size(
            image.size, size=self.size, multiple=self.stride, keep_aspect=False, max_side=self.size
        )
        grid = Size(seen.height // self.stride, seen.width // self.stride)
        rng = np.random.default_rng([0, zlib.crc32(image.id.encode())])
        rendered = scene(*parse_id(image.id), image.size)
        masks = np.concatenate([rendered.instances, rendered.ignored])
        shares = [pool_depth(mask.astype(np.float32), grid, "area") for mask in masks]
        coverage = np.array(shares).reshape(len(masks), *grid)  # (M, h, w)
        key = self._features(rendered, coverage, rng).astype(np.float32)
        attention = self._attention(coverage, rng) if self.cls_attention else None
        return FeatureMap({"key": key}, image.size, seen, self.stride, attention=attention)

    def _attention(self, coverage: Array, rng: np.random.Generator) -> Array:
        """(1, h, w) softmax: e^2 times as much on a thing as beside it, but for noise."""
        found = np.exp(2 * coverage.sum(0) + self.noise * rng.normal(size=coverage.shape[1:]))
        return (found / found.sum()).astype(np.float32)[None]

    def _features(self, rendered: Rendered, coverage: Array, rng: np.random.Generator) -> Array:
        count, *grid = coverage.shape
        embeddings = _unit(np.random.default_rng(_SEED), len(CLASSES) + 2)
        background, shared = embeddings[-2:]
        things = np.zeros((count, DIMENSIONS))
        things[: len(rendered.classes)] = embeddings[rendered.classes]
        things += self.foreground * shared + self.instance * _unit(rng, count)
        mixed = np.tensordot(coverage, things, (0, 0))
        mixed += (1 - coverage.sum(0))[..., None] * background
        drift = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in grid), indexing="ij"), -1)
        mixed += self.position * drift @ _unit(np.random.default_rng(_SEED + 1), 2)
        return mixed + self.noise * rng.normal(size=mixed.shape) / np.sqrt(DIMENSIONS)


def _unit(rng: np.random.Generator, count: int) -> Array:
    """(count, DIMENSIONS) rows of norm 1."""
    rows = rng.normal(size=(count, DIMENSIONS))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
