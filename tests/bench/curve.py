"""The cost of a folder against its number of images: it must grow linearly, and memory not at all.

Photos are 50 rendered scenes saved again and again with other noise. Each count runs in one process
(a leak would show) through images, features, graphs and masks, in shards of 250. So that 5,250
photos cost minutes they are small: `SMALL`, and `colour` features; `--full` takes 480 px.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from cleave import paths
from cleave.config import load
from cleave.io import shards
from cleave.ops.render import scene
from cleave.stages.job import Job
from cleave.stages.versions import VERSIONS
from cleave.types import Size
from tests.bench.harness import RATE, Row, exponent, peak_so_far

ROOT = Path(__file__).resolve().parents[2]
COUNTS = (250, 1000, 4000)
SHARD = 250  # photos
SCENES = 50
JOINING = "recipe: joining the masks of the most images"
SMALL, FULL = 128, 480  # px: side of what features and refinement see, height of the photos


def rows(full: bool = False, counts: Sequence[int] = COUNTS) -> Iterator[Row]:
    side = FULL if full else SMALL
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "all")
        write_photos(photos, max(counts), side)
        for count in counts:
            part = subset(photos, count)
            found[count] = took = measured(part, count, side)
            stages = ", ".join(f"{k} {1e3 * v / count:.3g}" for k, v in took["seconds"].items())
            total = 1e3 * sum(took["seconds"].values()) / count
            yield Row(
                f"cost curve at {side} px, {count} images", "CPU ms an image", total,
                identical=stages, peak=took["peak"], images=count,
            )  # fmt: skip
    yield from summary(found, side)


def summary(found: Mapping[int, Mapping[str, Any]], side: int) -> Iterator[Row]:
    """How linear seconds are, of the whole and of each stage, and how flat memory is."""
    name, counts = f"cost curve at {side} px", list(found)
    whole = [sum(took["seconds"].values()) for took in found.values()]
    peaks = [took["peak"] for took in found.values()]
    each = [seconds / count for seconds, count in zip(whole, counts, strict=True)]
    stages = {
        s: [took["seconds"][s] for took in found.values()] for s in found[counts[0]]["seconds"]
    }
    said = ", ".join(f"{s} {exponent(counts, costs):.3f}" for s, costs in stages.items())
    yield Row(f"{name}, CPU seconds", "exponent", exponent(counts, whole), identical=said)
    yield Row(f"{name}, CPU seconds an image", "largest / smallest", max(each) / min(each))
    yield Row(JOINING, RATE, counts[-1] / stages["recipe"][-1], identical=f"{counts[-1]} images")
    yield Row(f"{name}, peak memory", "exponent", exponent(counts, peaks))
    yield Row(f"{name}, peak memory", "largest / smallest", max(peaks) / min(peaks))


def write_photos(folder: Path, count: int, side: int) -> None:
    """JPEGs that all differ."""
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    size = Size(side, side * 4 // 3)
    scenes = range(min(SCENES, count))
    drawn = [scene("crowded", 930 + n, size).pixels.astype(np.int16) for n in scenes]
    for number in range(count):
        noise = rng.integers(-8, 9, (*size, 1), dtype=np.int16)
        pixels = np.clip(drawn[number % len(drawn)] + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}.jpg", quality=90)


def subset(photos: Path, count: int) -> Path:
    """A project beside `photos` whose folder has the first `count` of them."""
    project = photos.with_name(str(count))
    (project / "photos").mkdir(parents=True)
    for path in sorted(photos.iterdir())[:count]:
        os.link(path, project / "photos" / path.name)
    return project


def measured(project: Path, count: int, side: int) -> dict[str, Any]:
    """`seconds` of CPU by stage and `peak` MB of a process that does it all."""
    program = [sys.executable, "-m", "tests.bench.curve", str(count), str(side)]
    done = subprocess.run(
        program, cwd=project, check=True, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def config(count: int, side: int) -> dict[str, Any]:
    total = -(-count // SHARD)
    return {
        "datasets": {"photos": {"kind": "folder", "root": "photos", "shards": total}},
        "features": {"colour": {"size": side}},
        "graphs": {
            "colour": {"kind": "cosine", "features": "colour", "rule": "near_far", "centre": True}
        },
        "masks": {"maskcut": {"graphs": "colour", "working_size": side}},
        "recipes": {"photos": {"dataset": "photos", "masks": "maskcut"}},
    }


def run(count: int, side: int) -> dict[str, Any]:
    """Every shard through every stage, in this process and folder; then the joined masks."""
    loaded = load(config(count, side))
    spent: Counter[str] = Counter()
    for shard in shards.names(loaded["datasets"]["photos"].plugin.shards):
        names = {"dataset": "photos", "shard": shard, "features": "colour", "graphs": "colour"}
        images, features, graphs, masks = (
            Path(pattern.format(**names, masks="maskcut"))
            for pattern in (paths.IMAGES, paths.FEATURES, paths.GRAPHS, paths.MASKS)
        )
        for stage, section, inputs, output in (
            ("images", ("datasets", "photos"), {}, images),
            ("features", ("features", "colour"), {"images": images}, features),
            ("graphs", ("graphs", "colour"), {"images": images, "features": features}, graphs),
            ("masks", ("masks", "maskcut"), {"images": images, "graphs": graphs}, masks),
        ):
            spent[stage] += spend(stage, loaded.spec(*section), inputs, output)
    joined = Path(paths.RECIPE.format(recipe="photos"))
    spent["recipe"] = spend("recipe", "{}", {"masks": masks}, joined)
    return {"seconds": spent, "peak": peak_so_far()}


def spend(stage: str, spec: str, inputs: Mapping[str, Path], output: Path) -> float:
    """CPU seconds of one job."""
    module = import_module(f"cleave.stages.{stage}")
    given = {name: (path,) for name, path in inputs.items()}
    start = time.process_time()
    module.run(Job(stage, json.loads(spec), VERSIONS[stage], given, output))
    return time.process_time() - start


if __name__ == "__main__":
    print(json.dumps(run(*map(int, sys.argv[1:]))))
