"""A small results folder, made by the real stages in this process."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from report_rounds import write_rounds

from cleave import config, paths
from cleave.config import Config
from cleave.io import shards
from cleave.ops.render import scene
from cleave.stages.job import Job
from cleave.stages.versions import VERSIONS
from cleave.types import Size

STRANGE = 'a <b>&"c'


def write_photos(folder: Path) -> None:
    """A folder whose photos are as odd as they come."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    pictures = {
        STRANGE: scene("control", 3, Size(48, 64)).pixels,
        "constant": np.full((20, 30, 3), 77, np.uint8),
        "pixel": rng.integers(0, 255, (1, 1, 3)).astype(np.uint8),
        "wide": rng.integers(0, 255, (2, 2000, 3)).astype(np.uint8),
        "tall": rng.integers(0, 255, (2000, 2, 3)).astype(np.uint8),
    }
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "broken <i>.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no photo")


def run_stage(stage: str, spec: str, output: str, **inputs: str | list[str]) -> None:
    """One job, with the log that Snakemake would keep."""
    given = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in inputs.items()}
    files = {key: tuple(map(Path, values)) for key, values in given.items()}
    job = Job(stage, json.loads(spec), VERSIONS[stage], files, Path(output))
    importlib.import_module(f"cleave.stages.{stage}").run(job)


def make_results(raw: Mapping[str, Any]) -> Config:
    """Runs all that the report needs, in the working directory."""
    loaded = config.load(raw)
    for dataset, methods in _methods(loaded).items():
        methods = [method for method in methods if method not in loaded.rounds]
        total = loaded["datasets"][dataset].plugin.shards
        for shard in shards.names(total):
            _make_shard(loaded, dataset, shard, methods)
    write_rounds(loaded)
    for name, section in loaded["benchmarks"].items():
        first = shards.names(loaded["datasets"][section.reference("dataset")].plugin.shards)[0]
        _make_benchmark(loaded, name, section.reference("dataset"), first)
    return loaded


def make_report(summary: str) -> Path:
    """The page of the working directory."""
    run_stage("report", summary, paths.REPORT)
    return Path(paths.REPORT)


def _methods(loaded: Config) -> dict[str, list[str]]:
    methods: dict[str, list[str]] = {r.dataset: [] for _, r in loaded.rounds.values()}
    for dataset, masks in loaded.targets:
        methods.setdefault(dataset, []).append(masks)
    return methods


def _make_shard(loaded: Config, dataset: str, shard: str, methods: list[str]) -> None:
    names = {"dataset": dataset, "shard": shard}
    images = paths.IMAGES.format(**names)
    run_stage("images", loaded.spec("datasets", dataset), images)
    patterns = {"features": paths.FEATURES, "depth": paths.DEPTH, "graphs": paths.GRAPHS}

    def place(kind: str, name: str | None) -> list[str]:
        return [] if name is None else [patterns[kind].format(**names, **{kind: name})]

    rows = [loaded.provenance(method) for method in methods]
    for kind in patterns:
        for name in sorted({row[kind] for row in rows if kind in row}):
            section = loaded[kind][name]
            inputs = {k: place(k, section.reference(k)) for k in patterns if k != kind}
            run_stage(kind, section.spec, place(kind, name)[0], images=images, **inputs)
    for method in methods:
        section = loaded["masks"][method]
        output = paths.MASKS.format(**names, masks=method)
        inputs = {kind: place(kind, section.reference(kind)) for kind in patterns}
        run_stage("masks", section.spec, output, images=images, **inputs)


def _make_benchmark(loaded: Config, name: str, dataset: str, shard: str) -> None:
    images = paths.IMAGES.format(dataset=dataset, shard=shard)
    scores = []
    trained = [paths.TRAINED.format(**row) for row in loaded.rows(name) if "recipe" in row]
    for row in loaded.rows(name):
        places = {"benchmark": name, "of": row["of"]}
        predictions = paths.PREDICTIONS.format(**places)
        if row["baseline"]:
            spec = json.dumps({"baseline": row["of"]})
            run_stage("baseline", spec, predictions, images=images)
        else:
            masks = paths.MASKS.format(dataset=dataset, masks=row["of"], shard=shard)
            run_stage("predict", "{}", predictions, masks=masks)
        scores.append(paths.SCORES.format(**places))
        spec = loaded.spec("benchmarks", name)
        run_stage("score", spec, scores[-1], images=images, predictions=predictions)
    run_stage(
        "table",
        loaded.table(name),
        paths.TABLE.format(benchmark=name),
        scores=scores,
        trained=trained,
    )
