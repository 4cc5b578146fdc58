"""The report: one HTML page with small pictures beside it, readable without a network."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cleave import __version__, paths
from cleave.io import shards
from cleave.io.atomic import replacing
from cleave.io.coco import read_masks
from cleave.io.images import ImageShard, read_image_shard
from cleave.report import gallery, plots, tables
from cleave.report.figures import thumbnail_size
from cleave.report.timings import read_timings
from cleave.types import MaskSet

SAMPLED, EXTREMES = 6, 3  # panels a data set: by lot; and the best and the worst ones
SHARDS_READ = 4  # pictures and histograms of a large data set come from its first shards


def build(summary: Mapping[str, Any], output: Path) -> None:
    """Writes the page and its pictures.

    Args:
        summary: `Config.summary`, parsed.
        output: index.html; its folder is emptied of earlier pictures.
    """
    folder = Path(output).parent
    shutil.rmtree(folder / "assets", ignore_errors=True)
    benchmarks = [tables.benchmark(name, b) for name, b in summary["benchmarks"].items()]
    datasets = [
        _dataset(name, entry, summary, folder) for name, entry in summary["datasets"].items()
    ]
    html = _template().render(
        version=__version__,
        labels=_labels(summary),
        benchmarks=benchmarks,
        datasets=datasets,
        timings=read_timings(Path(paths.ROOT) / "logs"),
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


def _labels(summary: Mapping[str, Any]) -> str:
    """Which components ever saw human labels: the honest line of the page."""
    rows = [row for entry in summary["datasets"].values() for row in entry["masks"].values()]
    seen = sorted({text for row in rows for text in row["saw_labels"]})
    if not seen:
        return "No component of these runs ever saw a human label; labels are read to score only."
    return "Components that saw labels, or depth that a sensor measured: " + "; ".join(seen) + "."


@dataclass(frozen=True)
class _Loaded:
    """The part of a data set that the page looks at."""

    images: Mapping[str, ImageShard]  # shard name -> images
    masks: Mapping[str, Mapping[str, Mapping[str, MaskSet]]]  # method -> shard name -> masks


def _dataset(
    name: str, entry: Mapping[str, Any], summary: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    total = entry["shards"]
    read = shards.names(total)[:SHARDS_READ]
    images = {s: read_image_shard(Path(paths.IMAGES.format(dataset=name, shard=s))) for s in read}
    masks = {
        method: {
            s: read_masks(Path(paths.MASKS.format(dataset=name, masks=method, shard=s)))[1]
            for s in read
        }
        for method in entry["masks"]
    }
    loaded = _Loaded(images, masks)
    best_iou = tables.best_iou(name, summary["benchmarks"])
    statistics = {method: _statistics(found) for method, found in masks.items()}
    return {
        "name": name,
        "images": sum(len(s.records) for s in images.values()),
        "partial": f"the first {len(read)} of {total} shards" if total > len(read) else "",
        "broken": [asdict(item) for s in images.values() for item in s.broken],
        "ignored": sum(len(s.ignored) for s in images.values()),
        "methods": [_method_row(method, s) for method, s in statistics.items()],
        "plots": _histograms(statistics),
        "panels": _panels(name, entry, loaded, best_iou, folder),
    }


def _statistics(found: Mapping[str, Mapping[str, MaskSet]]) -> dict[str, np.ndarray]:
    """Counts an image, and the area share and score of each mask."""
    counts, areas, scores = [], [], []
    for masks in (m for shard in found.values() for m in shard.values()):
        counts.append(len(masks))
        areas.extend(masks.areas / (masks.size.height * masks.size.width))
        scores.extend(masks.scores)
    return {"counts": np.array(counts), "areas": np.array(areas), "scores": np.array(scores)}


def _method_row(method: str, statistics: Mapping[str, np.ndarray]) -> dict[str, Any]:
    counts, areas = statistics["counts"], statistics["areas"]
    return {
        "name": method,
        "masks": int(counts.sum()),
        "per_image": f"{counts.mean():.1f}" if len(counts) else "-",
        "without": int((counts == 0).sum()),
        "area": f"{100 * np.median(areas):.1f} %" if len(areas) else "-",
        "score": f"{statistics['scores'].mean():.2f}" if len(areas) else "-",
    }


def _histograms(statistics: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    areas = {method: 100 * s["areas"] for method, s in statistics.items()}
    scored = {
        m: s["scores"]
        for m, s in statistics.items()
        if len(s["scores"]) and np.ptp(s["scores"]) > 0
    }
    drawn = [plots.distributions(areas, "area, % of the image", logarithmic=True)]
    if scored:
        drawn.append(plots.distributions(scored, "score", logarithmic=False))
    return drawn


def _panels(
    name: str,
    entry: Mapping[str, Any],
    loaded: _Loaded,
    best_iou: Mapping[str, Mapping[str, float]],
    folder: Path,
) -> list[dict[str, Any]]:
    places = {r.id: (s, r) for s, shard in loaded.images.items() for r in shard.records}
    truth = tables.truth_masks(loaded.images.values(), best_iou)
    drawn = []
    for image_id, why in choose(list(places), best_iou):
        shard, record = places[image_id]
        ious = {method: values[image_id] for method, values in best_iou.items()}
        masks = {method: found[shard][image_id] for method, found in loaded.masks.items()}
        panel = gallery.panel(
            name, entry, shard, loaded.images[shard], record, masks,
            truth(image_id), ious, folder,
        )  # fmt: skip
        size = thumbnail_size(record.size)
        pictures = [asdict(p) | {"width": size.width, "height": size.height} for p in panel]
        drawn.append({"image_id": image_id, "why": why, "pictures": pictures})
    return drawn


def choose(
    ids: Sequence[str], best_iou: Mapping[str, Mapping[str, float]]
) -> list[tuple[str, str]]:
    """Images for panels, each with the reason: by lot, then the best and worst of what is left.

    The lot is the CRC of the id, so the choice does not change when other images come or go. Best
    and worst go by the mean over methods of the mean best IoU; images without objects have none.
    """
    by_lot = sorted(ids, key=lambda i: zlib.crc32(i.encode("utf-8", "surrogateescape")))
    chosen = [(image_id, "sampled") for image_id in by_lot[:SAMPLED]]
    if not best_iou:
        return chosen
    means = {i: float(np.mean([iou[i] for iou in best_iou.values()])) for i in by_lot[SAMPLED:]}
    ranked = sorted((i for i in means if np.isfinite(means[i])), key=lambda i: (-means[i], i))
    half = min(EXTREMES, len(ranked) // 2)
    chosen += [(i, f"among the best: mean best IoU {means[i]:.0f}") for i in ranked[:half]]
    worst = ranked[len(ranked) - half :][::-1]
    return chosen + [(i, f"among the worst: mean best IoU {means[i]:.0f}") for i in worst]
