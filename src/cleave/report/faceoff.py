"""The face-off: the same images across all methods, on a page of its own beside the report.

Where methods disagree most is where a look pays most, with or without a truth; so the images of the
greatest disagreement stand beside others drawn by lot, and the page sorts them by it, or by score.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cleave import paths
from cleave.io import shards
from cleave.io.coco import Json, read_masks
from cleave.io.images import ImageRecord, ImageShard, printable, read_image_shard
from cleave.ops.agreement import agreement, disagreement
from cleave.registry import make
from cleave.report import gallery, tables
from cleave.report.figures import resized, thumbnail_size
from cleave.types import Array

FILE = "faceoff.html"
SHARDS_READ = 4  # of a large data set
COMPARED = 240  # images a data set, by lot, on which methods are compared
PICTURED = 60  # of these: half by disagreement, half by lot
SIDE = 96  # pixels, the long side of masks when they are compared
LONGEST = 220  # pixels, the long side of a picture


@dataclass(frozen=True)
class _Seen:
    """One image, and the masks of each method on it."""

    shard: ImageShard
    record: ImageRecord
    masks: Mapping[str, Sequence[Json]]
    agreements: Array  # (K, K) between the methods, in the order of `masks`


def build(summary: Mapping[str, Any], colours: Mapping[str, str], folder: Path) -> list[dict]:
    """What the template needs, a data set with at least two methods each; and their pictures.

    Args:
        summary: in the order of `methods.ordered`.
        colours: of all methods.
        folder: of the report; pictures go to its `assets`.
    """
    found = []
    for name, entry in summary["datasets"].items():
        methods = compared(entry["masks"])
        if len(methods) > 1 and (seen := _look(name, entry, methods)):
            found.append(_section(name, summary, methods, seen, colours, folder))
    return found


def compared(masks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The methods of a data set that are set beside each other: of a recipe its last round only."""
    last: dict[tuple[str, bool], str] = {}
    for method, row in masks.items():
        last[row.get("recipe", method), "recipe" in row] = method  # rounds come in order
    return list(last.values())


def _look(name: str, entry: Mapping[str, Any], methods: Sequence[str]) -> list[_Seen]:
    """Compares the methods on images drawn by lot."""
    seen = []
    for shard in shards.names(entry["shards"])[:SHARDS_READ]:
        images = read_image_shard(Path(paths.IMAGES.format(dataset=name, shard=shard)))
        share = -(-COMPARED // min(entry["shards"], SHARDS_READ))
        records = sorted(images.records, key=_lot)[:share]
        found = {m: _masks(name, m, shard, records, entry["masks"][m]) for m in methods}
        for record in records:
            masks = {m: found[m][record.id] for m in methods}
            size = thumbnail_size(record.size, SIDE)
            small = [gallery.shrunk([a["segmentation"] for a in ms], size) for ms in masks.values()]
            seen.append(_Seen(images, record, masks, agreement(small)))
    return seen


def _masks(
    dataset: str,
    method: str,
    shard: str,
    records: Sequence[ImageRecord],
    row: Mapping[str, Any],
) -> dict[str, Sequence[Json]]:
    """What is drawn of each record; the rest of the file does not stay in memory."""
    names = {"dataset": dataset, "masks": method, "shard": shard}
    _, file = read_masks(Path(paths.MASKS.format(**names)))
    return {r.id: gallery.of_method(file.annotations(r.id), row) for r in records}


def _section(
    name: str,
    summary: Mapping[str, Any],
    methods: Sequence[str],
    seen: Sequence[_Seen],
    colours: Mapping[str, str],
    folder: Path,
) -> dict[str, Any]:
    benchmarked = any(b["dataset"] == name for b in summary["benchmarks"].values())
    best_iou = tables.best_iou(name, summary["benchmarks"])
    mean = np.mean([s.agreements for s in seen], axis=0)
    rows = []
    for one in _pictured(seen):
        truth = tables.true_objects(one.shard, one.record) if benchmarked else None
        ious = {m: best_iou[m].get(one.record.id) for m in methods if m in best_iou}
        rows.append(_row(name, one, truth, ious, folder))
    return {
        "name": name,
        "images": len(seen),
        "methods": [{"name": m, "colour": colours[m]} for m in methods],
        "scored": any(row["scored"] for row in rows),
        "truth": any(row["truth"] for row in rows),
        "agreement": [[f"{100 * value:.0f}" for value in line] for line in mean],
        "rows": rows,
    }


def _pictured(seen: Sequence[_Seen]) -> list[_Seen]:
    """Those of the greatest disagreement, then others by lot; sorted by disagreement."""
    order = sorted(seen, key=lambda s: (-disagreement(s.agreements), s.record.id))
    half = order[: PICTURED // 2]
    rest = sorted(order[len(half) :], key=lambda s: _lot(s.record))[: PICTURED - len(half)]
    chosen = {s.record.id for s in (*half, *rest)}
    return [s for s in order if s.record.id in chosen]


def _row(
    name: str,
    seen: _Seen,
    truth: Sequence[Mapping[str, Any]] | None,
    ious: Mapping[str, float | None],
    folder: Path,
) -> dict[str, Any]:
    """The pictures and numbers of one image."""
    pixels = make("datasets", seen.shard.spec).read(seen.record).pixels
    photo = resized(pixels, thumbnail_size(seen.record.size, LONGEST), smooth=True)
    objects = None if truth is None else gallery.shrunk(truth, photo.shape[:2])

    def save(title: str, picture: Array) -> str:
        file = f"faceoff/{name}-{seen.record.number}-{title}.webp"
        return gallery.write_picture(picture, folder, file)

    def cell(method: str, agreements: Array) -> dict[str, Any]:
        found, iou = seen.masks[method], ious.get(method)
        masks = gallery.shrunk([a["segmentation"] for a in found], photo.shape[:2])
        return {
            "method": method,
            "file": save(method, gallery.drawn(photo, masks, objects)),
            "masks": len(found),
            "iou": "" if iou is None else f"{iou:.0f}",
            "agreement": f"{100 * (agreements.sum() - 1) / max(len(agreements) - 1, 1):.0f}",
        }

    known = [iou for iou in ious.values() if iou is not None]
    return {
        "image_id": printable(seen.record.id),
        "photo": save("photo", photo),
        "truth": "" if objects is None else save("truth", gallery.drawn(photo, objects, None)),
        "objects": "" if objects is None else len(objects),
        "height": photo.shape[0],
        "width": photo.shape[1],
        "disagreement": f"{100 * disagreement(seen.agreements):.0f}",
        "scored": bool(known),
        "mean": f"{np.mean(known):.1f}" if known else "",
        "spread": f"{max(known) - min(known):.1f}" if known else "",
        "cells": list(map(cell, seen.masks, seen.agreements)),
    }


def _lot(record: ImageRecord) -> tuple[int, str]:
    return zlib.crc32(record.id.encode("utf-8", "surrogateescape"), 1), record.id
