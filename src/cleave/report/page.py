"""The report: one HTML page with small pictures beside it, readable without a network."""

from __future__ import annotations

import shutil
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cleave import __version__, paths
from cleave.io import shards
from cleave.io.atomic import replacing
from cleave.io.coco import MaskFile, read_masks
from cleave.io.images import ImageShard, Skipped, printable, read_image_shard
from cleave.report import gallery, plots, tables
from cleave.report.settings import read_settings
from cleave.report.timings import read_timings

SAMPLED, EXTREMES = 6, 3  # panels a data set: by lot; and the best and the worst ones
SHARDS_SHOWN = 4  # pictures and histograms of a large data set come from its first shards
LISTED = 200  # files that are named one by one
SMALLEST = 1e-3  # % of the image, the left end of the areas at most


def build(summary: Mapping[str, Any], output: Path) -> None:
    """Writes the page and its pictures.

    Args:
        summary: `Config.summary`, parsed.
        output: index.html; `assets` beside it is emptied first.
    """
    folder = Path(output).parent
    shutil.rmtree(folder / "assets", ignore_errors=True)
    (folder / "assets").mkdir(parents=True)
    summary = ordered(summary)
    colours = method_colours(summary)
    for name in summary["benchmarks"]:
        shutil.copyfile(paths.TABLE.format(benchmark=name), folder / "assets" / f"{name}.csv")
    datasets = [
        _dataset(name, entry, summary, colours, folder)
        for name, entry in summary["datasets"].items()
    ]
    html = _template().render(
        version=__version__,
        labels=labels(summary),
        colours=colours,
        datasets=datasets,
        timings=read_timings(summary["datasets"]),
        settings=read_settings(summary["datasets"], {d["name"]: d["specs"] for d in datasets}),
    )
    with replacing(output) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _template():
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html")


def ordered(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The summary with the methods of each data set in the order of the benchmarks' lists.

    The order in which the config defines the sections does not count: it must not make a report
    stale (DESIGN.md section 7), and the lists say what is to be read beside what.
    """
    listed = [row["of"] for b in summary["benchmarks"].values() for row in b["rows"]]
    datasets = {}
    for name, entry in summary["datasets"].items():
        order = [
            m for m in dict.fromkeys([*listed, *sorted(entry["masks"])]) if m in entry["masks"]
        ]
        datasets[name] = entry | {"masks": {m: entry["masks"][m] for m in order}}
    return {**summary, "datasets": datasets}


def method_colours(summary: Mapping[str, Any]) -> dict[str, str]:
    """The colour that each method has all over the page."""
    entries = summary["datasets"].values()
    listed = [row["of"] for b in summary["benchmarks"].values() for row in b["rows"]]
    present = dict.fromkeys(method for entry in entries for method in entry["masks"])
    methods = [m for m in dict.fromkeys([*listed, *present]) if m in present]
    return {m: plots.COLOURS[i % len(plots.COLOURS)] for i, m in enumerate(methods)}


def labels(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each component that saw more than unlabeled images: name, what it saw, and its users."""
    users: dict[str, dict[str, None]] = defaultdict(dict)
    for entry in summary["datasets"].values():
        for method, row in entry["masks"].items():
            for text in row["saw_labels"]:
                users[text][method] = None
    return [
        {
            "component": text.partition(": ")[0],
            "saw": text.partition(": ")[2],
            "methods": list(users[text]),
        }
        for text in sorted(users)
    ]


@dataclass(frozen=True)
class _Loaded:
    """What the page looks at of a data set: all lists of files, but few masks."""

    count: int  # of images
    broken: Sequence[Skipped]
    ignored: Sequence[Skipped]
    images: Mapping[str, ImageShard]  # shard name -> images, of the shards that are shown
    masks: Mapping[str, Mapping[str, MaskFile]]  # method -> shard name -> masks, of the same


def _load(name: str, entry: Mapping[str, Any]) -> _Loaded:
    listed = shards.names(entry["shards"])
    count, broken, ignored, images = 0, [], [], {}
    for shard in listed:
        found = read_image_shard(Path(paths.IMAGES.format(dataset=name, shard=shard)))
        count += len(found.records)
        broken += found.broken
        ignored += found.ignored
        if len(images) < SHARDS_SHOWN:
            images[shard] = found
    masks = {
        method: {
            shard: read_masks(Path(paths.MASKS.format(dataset=name, masks=method, shard=shard)))[1]
            for shard in images
        }
        for method in entry["masks"]
    }
    return _Loaded(count, broken, ignored, images, masks)


def _dataset(
    name: str,
    entry: Mapping[str, Any],
    summary: Mapping[str, Any],
    colours: Mapping[str, str],
    folder: Path,
) -> dict[str, Any]:
    loaded, total = _load(name, entry), entry["shards"]
    statistics = {method: _statistics(files.values()) for method, files in loaded.masks.items()}
    read = len(loaded.images)
    return {
        "name": name,
        "kind": entry["kind"],
        "images": loaded.count,
        "partial": f"the first {read} of {total} shards" if read < total else "",
        "broken": by_reason(loaded.broken),
        "ignored": by_reason(loaded.ignored),
        "benchmarks": [
            tables.benchmark(benchmark, b, colours)
            for benchmark, b in summary["benchmarks"].items()
            if b["dataset"] == name
        ],
        "methods": [
            _method_row(method, found, entry["masks"][method], colours[method])
            for method, found in statistics.items()
        ],
        "plot": _histograms(statistics, colours),
        "groups": _panels(name, entry, summary, loaded, folder),
        "specs": {m: next(iter(f.values())).info["spec"] for m, f in loaded.masks.items()},
    }


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


def _statistics(files: Iterable[MaskFile]) -> dict[str, np.ndarray]:
    """Masks of each image; and of each mask its share of the image in percent and its score."""
    counts, areas, scores = [], [], []
    for image, masks in (pair for file in files for pair in file.content()):
        pixels = image["height"] * image["width"]
        counts.append(len(masks))
        areas += [100 * mask["area"] / pixels for mask in masks]
        scores += [mask["score"] for mask in masks]
    return {"counts": np.array(counts), "areas": np.array(areas), "scores": np.array(scores)}


def _method_row(
    method: str, statistics: Mapping[str, np.ndarray], row: Mapping[str, Any], colour: str
) -> dict[str, Any]:
    counts, areas, scores = (statistics[key] for key in ("counts", "areas", "scores"))
    return {
        "name": method,
        "colour": colour,
        "ours": row["kind"] in tables.OURS,
        "made_of": tables.describe(row),
        "masks": int(counts.sum()),
        "an_image": f"{counts.mean():.1f}" if len(counts) else "",
        "without": int((counts == 0).sum()),
        "area": f"{np.median(areas):.1f} %" if len(areas) else "",
        "score": _range(scores) if len(scores) else "",
    }


def _range(values: np.ndarray) -> str:
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return low if low == high else f"{low} to {high}"


def _histograms(
    statistics: Mapping[str, Mapping[str, np.ndarray]], colours: Mapping[str, str]
) -> str:
    """Masks an image, areas, and scores where they differ."""
    counts, areas, scores = (
        [found[key] for found in statistics.values()] for key in ("counts", "areas", "scores")
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
    return plots.distributions([plots.Row(m, colours[m]) for m in statistics], columns)


def _panels(
    name: str,
    entry: Mapping[str, Any],
    summary: Mapping[str, Any],
    loaded: _Loaded,
    folder: Path,
) -> list[dict[str, Any]]:
    """Groups of panels, each with the reason why its images were chosen."""
    places = {r.id: (s, r) for s, shard in loaded.images.items() for r in shard.records}
    best_iou = tables.best_iou(name, summary["benchmarks"])
    benchmarked = any(b["dataset"] == name for b in summary["benchmarks"].values())
    known = {method: found for method, found in best_iou.items() if method in entry["masks"]}
    chosen = gallery.choose(list(places), known, _lot, SAMPLED, EXTREMES)

    def drawn(image_id: str) -> dict[str, Any]:
        shard, record = places[image_id]
        source = gallery.Source(name, entry, shard, loaded.images[shard], record)
        masks = {m: files[shard].annotations(image_id) for m, files in loaded.masks.items()}
        truth = tables.true_objects(source.images, record) if benchmarked else None
        ious = {m: found[image_id] for m, found in known.items() if image_id in found}
        panel = gallery.panel(source, masks, truth, ious, folder)
        return panel | {"image_id": printable(image_id), "size": record.size}

    return [{"why": why, "panels": [drawn(i) for i in ids]} for why, ids in chosen.items() if ids]


def _lot(image_id: str) -> int:
    return zlib.crc32(image_id.encode("utf-8", "surrogateescape"))
