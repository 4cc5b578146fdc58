"""Rows that tell what a number is worth: guesses that look at nothing, and ceilings that know all.

At the level of hand-made features a centred box scores like a method (our study of features),
and the best that a method can reach with ideal features is far from 100. So both are printed.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from cleave.benchmarks import truth
from cleave.benchmarks.truth import Truth
from cleave.io.images import ImageShard
from cleave.ops.resample import average, upsample_nearest
from cleave.registry import make
from cleave.spec import ConfigError, nearest
from cleave.types import Array, FeatureMap, Image, MaskSet, Scene, Size

Name = Literal["centre_box", "ideal_features", "patch_truth", "whole_image"]

DESCRIPTIONS: dict[str, tuple[Literal["trivial", "ceiling"], str]] = {
    "whole_image": ("trivial", "one mask, the whole image"),
    "centre_box": ("trivial", "one mask, a centred box of half the area"),
    "patch_truth": ("ceiling", "the truth on the patch grid"),
    "ideal_features": ("ceiling", "MaskCut on features that name the instance of each patch"),
}
CEILINGS = tuple(name for name, (role, _) in DESCRIPTIONS.items() if role == "ceiling")
GRID = Size(60, 60)  # patches of 8 px at 480 px, as MaskCut has them
# The graph and the method behind `ideal_features`: as in our study of features.
GRAPH = {"kind": "cosine", "rule": "fixed", "threshold": 0.2, "centre": True}
MASKS = {"kind": "maskcut", "refine": "none"}


def predict(
    name: str,
    shard: ImageShard,
    *,
    grid: Size = GRID,
    graph: Mapping[str, Any] = GRAPH,
    masks: Mapping[str, Any] = MASKS,
) -> Iterator[tuple[str, MaskSet]]:
    """The masks of a baseline for each image of a shard.

    Args:
        name: of `DESCRIPTIONS`.
        shard: images; the ceilings need a data set with truth.
        grid: patches, for the ceilings.
        graph, masks: specs of the graph and the mask method of `ideal_features`.

    Raises:
        ConfigError: no such baseline, no truth, a ceiling where only boxes are labelled, or a mask
            method that needs more than a graph.
    """
    if name not in DESCRIPTIONS:
        raise ConfigError(f"no baseline {name!r}; {nearest(name, DESCRIPTIONS)}")
    truths = truth.load(shard) if name in CEILINGS else {}
    if any(labels.segmentations is None for labels in truths.values()):
        raise ConfigError(f"baselines: {name} needs masks, and this data set labels boxes only")
    ideal = IdealFeatures(grid, graph, masks) if name == "ideal_features" else None
    for record in shard.records:
        size = Size(record.height, record.width)
        if name == "patch_truth":
            found = patch_truth(truths[record.id], grid)
        elif ideal is not None:
            found = ideal(record.id, truths[record.id])
        else:
            found = centre_box(size, {"centre_box": 0.5, "whole_image": 1.0}[name])
        yield record.id, found


def centre_box(size: Size, share: float) -> MaskSet:
    """One mask: a box in the middle, of the image's shape and this share of its area."""
    height, width = (max(1, round(side * math.sqrt(share))) for side in size)
    top, left = (size.height - height) // 2, (size.width - width) // 2
    mask = np.zeros((1, *size), bool)
    mask[0, top : top + height, left : left + width] = True
    return MaskSet(size, mask, np.ones(1))


def patch_truth(labels: Truth, grid: Size) -> MaskSet:
    """Every object as the patches that it covers at least half of; larger ones score higher."""
    objects = labels.masks[~labels.crowd]
    coarse = average(objects, grid) >= 0.5
    coarse = coarse[coarse.any((1, 2))]
    return MaskSet(labels.size, upsample_nearest(coarse, labels.size), coarse.mean((1, 2)))


def one_hot(labels: Truth, grid: Size) -> Array:
    """(h, w, G + 1) float32: which object covers most of each patch; the first is the background.

    A crowd is background. Where objects cover equally much, the first one has the patch.
    """
    objects = labels.masks[~labels.crowd]
    background = average(~objects.any(0), grid)
    cover = np.concatenate([background[None], average(objects, grid)])
    return np.eye(len(cover), dtype=np.float32)[cover.argmax(0)]


class IdealFeatures:
    """A mask method fed with one-hot instance labels as the features of the patches."""

    def __init__(self, grid: Size, graph: Mapping[str, Any], masks: Mapping[str, Any]):
        self._grid = grid
        self._graph = make("graphs", graph, "baseline ideal_features")
        self._method = make("masks", masks, "baseline ideal_features")
        if not self._method.needs <= {"features", "graph"}:
            needs = ", ".join(sorted(self._method.needs))
            raise ConfigError(
                f"baseline ideal_features: {masks['kind']} needs {needs}; "
                "valid: methods that need features and a graph only"
            )
        if getattr(self._method, "refine", "none") != "none":
            raise ConfigError("baseline ideal_features: refine must be none, no image is looked at")

    def __call__(self, image_id: str, labels: Truth) -> MaskSet:
        features = FeatureMap(
            {self._graph.facet: one_hot(labels, self._grid)},
            labels.size,
            Size(self._grid.height * 8, self._grid.width * 8),
            8,
        )
        seed = zlib.crc32(image_id.encode("utf-8", "surrogateescape"))
        graph = self._graph(features, None, np.random.default_rng([0, seed]))
        unseen = Image(image_id, np.zeros((*labels.size, 3), np.uint8))
        return self._method(Scene(unseen, features, graph))
