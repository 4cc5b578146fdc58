"""The augmentation of a training step, option by option; and what the annotations take.

The twin is `tests/unit/augment_twins.py`, one pixel at a time.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from cleave.io.atomic import read_json
from cleave.io.coco import write_masks
from cleave.io.images import ImageRecord, number_of
from cleave.ops.draws import Sampler, generator
from cleave.training.augment import augment
from cleave.training.augment_settings import Augment
from cleave.training.copypaste import paste, plan, ranking
from cleave.training.samples import Annotations, Sample
from cleave.training.transforms import spread, to_device, transform, with_trust
from cleave.types import Image, MaskSet, Size
from tests.bench.harness import Row, peak_memory, timed
from tests.unit import augment_twins as twins

BATCHES = ((8, 480), (4, 256))
IMAGENET = 1_300_000  # images
PLAIN = Augment(short_sides=(), flip=0.0, copy_paste=0.0)
TRUSTED = {"trust": "spatial", "copy_paste": 1.0}
OPTIONS = {
    "flip": {"flip": 1.0},
    "colours": {"jitter": 0.4, "jitter_probability": 1.0},
    "copy-paste": {"copy_paste": 1.0},
    "copy-paste of all": {"copy_paste": 1.0, "copies": "all"},
    "copy-paste, trust maps": TRUSTED,
    "copy-paste, trust maps, select": TRUSTED | {"select": "trust"},
    "copy-paste, trust maps, select, blend": TRUSTED | {"select": "trust", "blend": "trust"},
    "copy-paste, area as trust, select, blend": TRUSTED
    | {"trust": "area", "select": "trust", "blend": "trust"},
}


def rows() -> Iterator[Row]:
    for count, side in BATCHES:
        yield from options(count, side)
    yield twin()
    yield from annotations()


def samples(count: int, side: int) -> list[Sample]:
    """Noise with three ragged masks each, and trust on 60 x 60 patches."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        masks = np.stack([twins.ragged(rng, (side, side)) for _ in range(3)])
        pixels = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
        trust = (rng.integers(3, 7, (3, 60, 60)) / 6).astype(np.float16)
        made.append(Sample(pixels, masks, np.ones(3, np.float32), np.zeros(3, np.int64), trust))
    return made


def options(count: int, side: int) -> Iterator[Row]:
    """A step with everything off, then with one option on, then CutLER's own."""
    batch = samples(count, side)
    resized = {"short_sides": (side * 3 // 4, side * 5 // 4)}
    cases = {"all off": {}, f"resize to {list(resized['short_sides'])}": resized} | OPTIONS
    settings = {name: replace(PLAIN, **fields) for name, fields in cases.items()}
    settings["CutLER's defaults (240 to 1024 px)"] = Augment()
    off = 0.0
    for name, how in settings.items():
        steps = iter(range(100))

        def step(how: Augment = how, steps: Iterator[int] = steps) -> None:
            augment(batch, how, "cpu", seed=0, step=next(steps), slots=range(count))

        seconds, _ = timed(step, 7)
        off = off or seconds
        more = f"{1e3 * (seconds - off):+.1f} ms beside all off"
        yield Row(f"augment, {count} x {side} px, {name}", "CPU ms", 1e3 * seconds, None, more)


def twin() -> Row:
    """One image pasted onto another with trust, and the same by its naive twin."""
    how = replace(PLAIN, **OPTIONS["copy-paste, trust maps, select, blend"], ratio=(0.6, 0.6))
    target, source = (
        with_trust(transform(to_device(sample, "cpu"), how, generator(0)), how)
        for sample in samples(2, 256)
    )
    chosen = plan(3, target.size, how, generator(1))

    def maps(example):
        return spread(example.trust, example.masks, how.trust_floor)

    def ours():
        rank = ranking(source, maps(source), chosen.order, how)
        return rank, *paste(target, maps(target), source, how, chosen, rank)

    seconds, (rank, pixels, found) = timed(ours, 5)
    plain = [
        {
            "pixels": e.pixels.double().numpy(),
            "masks": e.masks.numpy(),
            "scores": e.scores.numpy(),
            "labels": e.labels.numpy(),
            "grids": e.trust.double().numpy(),
        }
        for e in (target, source)
    ]
    window = (chosen.top, chosen.left, *chosen.size)
    slow, expected = timed(
        lambda: twins.paste(
            *plain, window=window, chosen=rank[: chosen.count].tolist(), settings=how
        )
    )
    equal = np.array_equal(found.masks, expected["masks"])
    error = np.abs(pixels.numpy() - expected["pixels"]).max()
    return Row(
        "paste onto one image of 256 px, trust, select, blend", "CPU ms", 1e3 * seconds,
        1e3 * slow, f"masks equal: {equal}, pixels within {error:.1e}", "pixel by pixel",
    )  # fmt: skip


def shard(folder: Path, images: int = 50) -> tuple[Path, list[ImageRecord]]:
    """A mask file of images of ImageNet's mean size, three masks with trust each."""
    rng, size = np.random.default_rng(0), Size(387, 469)
    records = [
        ImageRecord(name, f"{name}.JPEG", *size, number_of(name), "d" * 64)
        for name in (f"n01440764/n01440764_{k:05d}" for k in range(images))
    ]

    def masks() -> Iterator[tuple[str, MaskSet]]:
        for record in records:
            levels = np.where(rng.random((3, 60, 60)) < 0.97, 6, rng.integers(3, 7, (3, 60, 60)))
            discs = np.hypot(*(np.mgrid[:60, :60] - 30)) < rng.uniform(8, 20, (3, 1, 1))
            trust = np.where(discs, levels / 6, 0).astype(np.float16)
            found = np.stack([twins.ragged(rng, size) for _ in range(3)])
            yield record.id, MaskSet(size, found, np.ones(3), trust=trust)

    path = folder / "0001-of-0001.json"
    write_masks(path, records, masks(), spec={}, version=1, dataset={"kind": "folder"})
    return path, records


def annotations() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path, records = shard(Path(folder))
        seconds, held = timed(lambda: Annotations([path]), 3)
    per_image = held.nbytes / len(held)
    kept = f"of 3 masks with trust; {IMAGENET * per_image / 1e9:.2f} GB for {IMAGENET} images"
    yield Row("annotations in memory, an image", "MB", per_image / 1e6, None, kept)
    yield Row("annotations, reading an image's", "CPU ms", 1e3 * seconds / len(records))
    pixels = np.zeros((387, 469, 3), np.uint8)
    seconds, _ = timed(
        lambda: [held.sample(k, lambda record: Image(record.id, pixels)) for k in range(50)], 3
    )
    yield Row("sample without its photo: 3 masks with trust", "CPU ms", 1e3 * seconds / 50)
    empty = peak_memory(memory_of_imports)
    order = Sampler(IMAGENET, 16, 0)
    seconds, _ = timed(lambda: order._epoch(1))
    yield Row(f"order of an epoch of {IMAGENET} images", "CPU ms", 1e3 * seconds)
    yield Row(
        f"annotations of {MANY} images, peak memory of the process", "MB",
        peak_memory(memory_of_many), None, f"{empty:.0f} MB of it are imports",
    )  # fmt: skip


MANY = 20_000


def memory_of_imports() -> None:
    """Nothing beyond what importing this module took."""


def memory_of_many() -> None:
    """Reads one shard many times, each under other names."""
    with tempfile.TemporaryDirectory() as folder:
        path, records = shard(Path(folder))
        text = json.dumps(read_json(path), separators=(",", ":"))  # its checksum would not fit
        paths = []
        for k in range(MANY // len(records)):
            paths.append(path.with_name(f"{k}.json"))
            paths[-1].write_text(text.replace('"key":"', f'"key":"{k}-'))
        assert len(Annotations(paths)) == MANY
