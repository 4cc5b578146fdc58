"""Panels: one image through every stage, and the masks of each method beside the truth."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cleave import paths
from cleave.io.artifacts import unpack_depth, unpack_features, unpack_graph
from cleave.io.atomic import replacing
from cleave.io.images import ImageRecord, ImageShard
from cleave.io.store import read_shard
from cleave.registry import make
from cleave.report.figures import diverging, feature_pca, heat, resized, thumbnail_size
from cleave.report.overlay import overlay
from cleave.types import Array, MaskSet, Size


@dataclass(frozen=True)
class Picture:
    """One picture of a panel."""

    title: str
    file: str  # relative to the report
    note: str = ""


def panel(
    dataset: str,
    entry: Mapping[str, Any],
    shard: str,
    images: ImageShard,
    record: ImageRecord,
    masks: Mapping[str, MaskSet],
    truth: MaskSet | None,
    best_iou: Mapping[str, float],
    folder: Path,
) -> list[Picture]:
    """Draws the panel of one image.

    Args:
        dataset: its name, the wildcard of the artifacts' paths.
        entry: the data set's part of `Config.summary`.
        shard: name of the shard that holds the image.
        images: that shard.
        record: of the image.
        masks: method to the masks of this image.
        truth: instance masks, or None where there is no truth.
        best_iou: method to mean best IoU on this image in percent, where known.
        folder: of the report; pictures go to its `assets`.
    """
    image = make("datasets", images.spec).read(record)
    size = thumbnail_size(image.size)
    small = resized(image.pixels, size, smooth=True)
    drawn: list[tuple[str, Array, str]] = [("photo", small, f"{record.width}×{record.height}")]
    drawn += [
        (title, resized(picture, size, smooth=False), "")
        for title, picture in _stages(dataset, entry, shard, record.id)
    ]
    if truth is not None:
        drawn.append(("truth", _overlay(small, truth), f"{len(truth)} objects"))
    for method, found in masks.items():
        note = f"{len(found)} masks"
        if method in best_iou:
            note += f", IoU {best_iou[method]:.0f}"
        drawn.append((method, _overlay(small, found), note))
    stem = f"{dataset}-{record.number}"
    return [
        Picture(title, _save(picture, folder, f"{stem}-{index:02d}.webp"), note)
        for index, (title, picture, note) in enumerate(drawn)
    ]


def _overlay(small: Array, masks: MaskSet) -> Array:
    """Masks resized to the thumbnail and drawn over it."""
    size = Size(*small.shape[:2])
    shrunk = np.zeros((len(masks), *size), bool)
    for index, mask in enumerate(masks.masks):
        shrunk[index] = resized(mask.astype(np.uint8) * 255, size, smooth=False) > 127
    return overlay(small, MaskSet(size, shrunk, masks.scores))


def _stages(
    dataset: str, entry: Mapping[str, Any], shard: str, image_id: str
) -> list[tuple[str, Array]]:
    """Feature PCA, depth, importance and eigenvector of every section that the methods use."""
    rows = entry["masks"].values()

    def used(key: str) -> list[str]:
        return list(dict.fromkeys(row[key] for row in rows if key in row))

    pictures = []
    with contextlib.ExitStack() as stack:

        def load(pattern: str, unpack, key: str, name: str):
            path = Path(pattern.format(dataset=dataset, shard=shard, **{key: name}))
            return unpack(*stack.enter_context(read_shard(path)).get(image_id))

        for name in used("features"):
            features = load(paths.FEATURES, unpack_features, "features", name)
            facet = next(iter(features.facets.values()))
            pictures.append((f"features: {name}", feature_pca(facet)))
        for name in used("depth"):
            depth = load(paths.DEPTH, unpack_depth, "depth", name)
            pictures.append((f"depth: {name}", heat(depth.values, "magma_r")))
        for name in used("graphs"):
            graph = load(paths.GRAPHS, unpack_graph, "graphs", name)
            if graph.importance is not None:
                pictures.append((f"importance: {name}", heat(graph.importance)))
            if graph.eigenvectors is not None and len(graph.eigenvectors):
                vector = graph.eigenvectors[0].reshape(graph.grid)
                pictures.append((f"eigenvector: {name}", diverging(vector)))
    return pictures


def _save(picture: Array, folder: Path, name: str) -> str:
    from PIL import Image

    with replacing(folder / "assets" / name) as temporary:
        Image.fromarray(picture).save(temporary, format="WEBP", quality=82, method=4)
    return f"assets/{name}"
