"""The page's part of one data set: its files, benchmarks, masks and pictures."""

from __future__ import annotations

import zlib
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cleave import paths
from cleave.io import shards
from cleave.io.coco import Json, read_masks
from cleave.io.images import ImageShard, Skipped, printable, read_image_shard
from cleave.report import gallery, instanceness, plots, tables
from cleave.report.methods import Family, Layout, arrange

SAMPLED, EXTREMES = 6, 3  # panels a data set: by lot; and the best and the worst ones
SHARDS_SHOWN = 4  # pictures and histograms of a large data set come from its first shards
LISTED = 200  # files that are named one by one
SMALLEST = 1e-3  # % of the image, the left end of the areas at most


@dataclass(frozen=True)
class _Files:
    """The lists of files of all shards, and the images of those that are shown."""

    count: int  # of images
    broken: Sequence[Skipped]
    ignored: Sequence[Skipped]
    images: Mapping[str, ImageShard]  # shard name -> images, of the shards that are shown


@dataclass
class _Masks:
    """What the page says of a method's masks, gathered shard by shard."""

    spec: Mapping[str, Any] = field(default_factory=dict)
    counts: list[int] = field(default_factory=list)  # of each image
    sure: list[int] = field(default_factory=list)  # of these, those that a detector is sure of
    areas: array = field(default_factory=lambda: array("d"))  # of each mask, in % of the image
    scores: array = field(default_factory=lambda: array("d"))
    pictured: dict[str, list[Json]] = field(default_factory=dict)  # of the images with a panel

    @property
    def hierarchical(self) -> bool:
        """Whether masks that are pictured may lie in others."""
        return any("parent" in mask for several in self.pictured.values() for mask in several)


def section(
    name: str,
    summary: Mapping[str, Any],
    families: Sequence[Family],
    colours: Mapping[str, str],
    folder: Path,
) -> dict[str, Any]:
    """What the template needs, and the pictures in `folder`.

    Args:
        name: of the data set.
        summary: in the order of `methods.ordered`.
        families: of all recipes.
        colours: of all methods.
    """
    entry = summary["datasets"][name]
    files, total = _files(name, entry), entry["shards"]
    chosen = _chosen(name, entry, summary, files)
    pictured = {image for ids in chosen.values() for image in ids}
    found = {method: _masks(name, method, files, pictured) for method in entry["masks"]}
    layout = arrange(entry["masks"], families)
    read = len(files.images)
    benchmarks = [
        tables.benchmark(benchmark, b, colours)
        | {"instanceness": instanceness.section(benchmark, b, colours)}
        for benchmark, b in summary["benchmarks"].items()
        if b["dataset"] == name
    ]
    groups = {group["title"] for scored in benchmarks for group in scored["groups"]}
    return {
        "name": name,
        "kind": entry["kind"],
        "images": files.count,
        "partial": f"the first {read} of {total} shards" if read < total else "",
        "broken": by_reason(files.broken),
        "ignored": by_reason(files.ignored),
        "benchmarks": benchmarks,
        "scored": "masks" if "masks" in groups else "boxes" if groups else "",
        "masks": _overview(entry, found, colours, detectors=False),
        "predictions": _overview(entry, found, colours, detectors=True),
        "left_out": layout.left_out,
        "hierarchies": any(masks.hierarchical for masks in found.values()),
        "groups": _panels(name, summary, files, found, layout, chosen, folder),
        "specs": {method: masks.spec for method, masks in found.items()},
    }


def _files(name: str, entry: Mapping[str, Any]) -> _Files:
    count, broken, ignored, images = 0, [], [], {}
    for shard in shards.names(entry["shards"]):
        found = read_image_shard(Path(paths.IMAGES.format(dataset=name, shard=shard)))
        count += len(found.records)
        broken += found.broken
        ignored += found.ignored
        if len(images) < SHARDS_SHOWN:
            images[shard] = found
    return _Files(count, broken, ignored, images)


def _masks(name: str, method: str, files: _Files, pictured: set[str]) -> _Masks:
    """Reads the shown shards one by one: a detector has a hundred masks an image."""
    found = _Masks()
    for shard in files.images:
        names = {"dataset": name, "masks": method, "shard": shard}
        _, masks = read_masks(Path(paths.MASKS.format(**names)))
        found.spec = masks.info["spec"]
        for image, several in masks.content():
            pixels = image["height"] * image["width"]
            found.counts.append(len(several))
            found.sure.append(sum(mask["score"] >= gallery.SURE for mask in several))
            found.areas.extend(100 * mask["area"] / pixels for mask in several)
            found.scores.extend(mask["score"] for mask in several)
            if image["key"] in pictured:
                found.pictured[image["key"]] = several
    return found


def by_reason(files: Sequence[Skipped]) -> dict[str, Any]:
    """Files that were not used, the most frequent reason first; of many only the first."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for item in files:
        reasons[item.reason].append(item.path)
    rows, left = [], LISTED
    for reason, found in sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0])):
        rows.append({"reason": reason, "count": len(found), "paths": sorted(found)[: max(left, 0)]})
        left -= len(found)
    return {"count": len(files), "reasons": rows, "unlisted": max(0, -left)}


def _overview(
    entry: Mapping[str, Any],
    found: Mapping[str, _Masks],
    colours: Mapping[str, str],
    *,
    detectors: bool,
) -> dict[str, Any]:
    """Table and plot of the pseudo-masks, or of the detectors: these have far more masks."""
    rows = {m: row for m, row in entry["masks"].items() if ("recipe" in row) == detectors}
    return {
        "methods": [_method_row(row, found[m], colours[m]) for m, row in rows.items()],
        "plot": _histograms({m: found[m] for m in rows}, colours),
    }


def _method_row(row: Mapping[str, Any], masks: _Masks, colour: str) -> dict[str, Any]:
    counts, areas, scores = map(np.array, (masks.counts, masks.areas, masks.scores))
    return {
        "name": row["of"],
        "colour": colour,
        "ours": tables.is_ours(row),
        "masks": int(counts.sum()),
        "an_image": f"{counts.mean():.1f}" if len(counts) else "",
        "sure": f"{np.mean(masks.sure):.1f}" if len(counts) else "",
        "without": int((counts == 0).sum()),
        "area": f"{np.median(areas):.1f} %" if len(areas) else "",
        "score": _range(scores) if len(scores) else "",
    }


def _range(values: np.ndarray) -> str:
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return low if low == high else f"{low} to {high}"


def _histograms(found: Mapping[str, _Masks], colours: Mapping[str, str]) -> str:
    """Masks an image, areas, and scores where they differ."""
    counts, areas, scores = (
        [np.array(getattr(masks, key)) for masks in found.values()]
        for key in ("counts", "areas", "scores")
    )
    columns = []
    if any(len(values) for values in areas):
        most = max(int(values.max(initial=0)) for values in counts)
        columns.append((plots.linear("masks an image", 0, most), counts))
        smallest = max(SMALLEST, min(values.min(initial=100.0) for values in areas))
        axis = plots.logarithmic("area of a mask, % of the image", smallest, 100.0)
        columns.append((axis, areas))
        low = min(values.min(initial=np.inf) for values in scores)
        high = max(values.max(initial=-np.inf) for values in scores)
        if high > low:
            columns.append((plots.linear("score of a mask", low, high), scores))
    return plots.distributions([plots.Row(m, colours[m]) for m in found], columns)


def _chosen(
    name: str, entry: Mapping[str, Any], summary: Mapping[str, Any], files: _Files
) -> dict[str, list[str]]:
    """The images that get a panel, by the reason why; none where nothing was made of them."""
    ids = [record.id for shard in files.images.values() for record in shard.records]
    known = _known(name, entry, summary)
    return gallery.choose(ids, known, _lot, SAMPLED, EXTREMES) if entry["masks"] else {}


def _known(
    name: str, entry: Mapping[str, Any], summary: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Method to image to mean best IoU, of the methods that are shown."""
    best_iou = tables.best_iou(name, summary["benchmarks"])
    return {method: found for method, found in best_iou.items() if method in entry["masks"]}


def _panels(
    name: str,
    summary: Mapping[str, Any],
    files: _Files,
    found: Mapping[str, _Masks],
    layout: Layout,
    chosen: Mapping[str, Sequence[str]],
    folder: Path,
) -> list[dict[str, Any]]:
    """Groups of panels, each with the reason why its images were chosen."""
    entry = summary["datasets"][name]
    places = {r.id: (s, r) for s, shard in files.images.items() for r in shard.records}
    benchmarked = any(b["dataset"] == name for b in summary["benchmarks"].values())
    known = _known(name, entry, summary)

    def drawn(image_id: str) -> dict[str, Any]:
        shard, record = places[image_id]
        source = gallery.Source(name, entry, shard, files.images[shard], record)
        masks = {method: found[method].pictured[image_id] for method in layout.methods}
        truth = tables.true_objects(source.images, record) if benchmarked else None
        ious = {m: iou[image_id] for m, iou in known.items() if m in masks and image_id in iou}
        boxes = None
        if benchmarked and truth is None:
            boxes = tables.true_boxes(source.images, record)
        panel = gallery.panel(source, layout, masks, truth, ious, folder, boxes=boxes)
        return panel | {"image_id": printable(image_id), "size": record.size}

    return [{"why": why, "panels": [drawn(i) for i in ids]} for why, ids in chosen.items() if ids]


def _lot(image_id: str) -> int:
    return zlib.crc32(image_id.encode("utf-8", "surrogateescape"))
