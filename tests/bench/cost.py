"""What ImageNet costs, from the measured rates of a machine: python -m tests.bench --cost.

Stages that run no network scale with cores: what one core was measured to do, times their number.
Network stages on a GPU are a projection: the core's own rate times what the GPU is assumed to
sustain over what the core sustained in ViT-S/8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.bench import results
from tests.bench.harness import Row, table

IMAGES = 1_281_167  # ImageNet-1K train
STEPS, BATCH = 160_000, 16  # of CutLER's first round
VIT_S8 = 0.39e12  # floating-point operations of ViT-S/8 at 480 px; B/8: 1.09e12
# Sustained operations a second in float32, our assumption: 60 % of an H100's peak of 67e12 without
# tensor cores, which float32 does not use unless told to.
SUSTAINED = 40e12
CORES = 16  # beside each GPU; our assumption
TRAINING = 8  # GPUs of one training, which stays on one machine
GPUS = (1, 32)
# Pixels of a training photo over those of the measured step (320 x 427): short sides of CutLER from
# 240 to 1024 px at 4 : 3, mean of their squares.
LARGER = (240**2 + 320**2 + 480**2 + 640**2 + 672**2 + 704**2 + 736**2 + 768**2 + 800**2
          + 1024**2) / 10 / 320**2  # fmt: skip


@dataclass(frozen=True)
class Work:
    """One stage of the pipeline: which row measured it, and what it scales with."""

    name: str
    row: str
    on: Literal["cores", "GPUs", "one core", "GPUs of one machine"]


STAGES = (
    Work("images: list, decode once, digest", "images", "cores"),
    Work("features, ViT-S/8", "features: vits8", "GPUs"),
    Work("features, ViT-B/8", "features: vitb8", "GPUs"),
    Work("depth, Depth Anything V2 Small", "depth: depth_anything", "GPUs"),
    Work("graphs", "graphs: vitb8", "cores"),
    Work("masks, MaskCut with CRF", "masks: maskcut_crf", "cores"),
    Work("masks, cuts3d with CRF", "masks: cuts3d_crf", "cores"),
    Work("masks, cleave3d with CRF", "masks: cleave3d_crf", "cores"),
    Work("recipe: shards to one JSON", "recipe", "one core"),
    Work("training, Cascade R50, 160,000 steps of 16", "training", "GPUs of one machine"),
)
SUMS = {
    "pseudo-masks of CutLER (ViT-B/8, MaskCut)": (0, 2, 4, 5, 8),
    "pseudo-masks of CutS3D (ViT-B/8, depth, cuts3d)": (0, 2, 3, 4, 6, 8),
    "pseudo-masks of cleave3d (ViT-S/8, depth)": (0, 1, 3, 4, 7, 8),
    "CutLER with the training of its first round": (0, 2, 4, 5, 8, 9),
}
FILES = {
    "features, ViT-S/8": "features: vits8",
    "features, ViT-B/8": "features: vitb8",
    "depth": "depth: depth_anything",
    "graphs": "graphs: vitb8",
    "masks": "masks: maskcut_crf",
    "masks with trust": "masks: cleave3d_crf",
    "recipe": "recipe",
    "images": "images",
}


def page(path: Path) -> str:
    """Both tables as markdown, with what they assume."""
    measured = {row.stage: row for row in results.all_rows(path)}
    rates = {row.stage: row.ours for row in measured.values()} | {"training": training(measured)}
    core = VIT_S8 * rates["features: vits8"]
    hours = table(
        ("stage", "images/s, one core", "core-hours",
         *(f"hours on {g} GPU{'s' * (g > 1)}, {g * CORES} cores" for g in GPUS)),
        lines(rates, core),
    )  # fmt: skip
    disk = table(("file", "MB an image", "ImageNet"), list(files(measured)))
    return (
        f"{hours}\n\n"
        f"\\* Projected, not measured: the rate of one core times {SUSTAINED / core:,.0f}. That is "
        f"{SUSTAINED / 1e12:.0f} TFLOP/s, what we assume that a GPU sustains in float32, over the "
        f"{core / 1e9:.0f} GFLOP/s that the core sustained in ViT-S/8 ({VIT_S8 / 1e12} TFLOP an "
        f"image). Training: {STEPS:,} steps of {BATCH}, from a measured step of 320 x 427 px times "
        f"{LARGER:.1f} for the pixels of CutLER's sizes; on {TRAINING} GPUs at most, those of one "
        f"machine.\n\n{disk}"
    )


def training(measured: Mapping[str, Row]) -> float:
    """Images a second of one core in a step of CutLER's detector at its own sizes."""
    return 1 / (measured["the same with DropLoss"].ours * LARGER)


def spent(work: Work, rate: float, core: float, gpus: int) -> float:
    """Hours of a stage."""
    images = STEPS * BATCH if work.row == "training" else IMAGES
    faster = SUSTAINED / core
    workers = {
        "one core": 1.0,
        "cores": gpus * CORES,
        "GPUs": gpus * faster,
        "GPUs of one machine": min(gpus, TRAINING) * faster,
    }
    return images / rate / workers[work.on] / 3600


def lines(rates: Mapping[str, float], core: float) -> Iterator[list[str]]:
    """A line a stage, then the sums, one stage after the other."""
    for work in STAGES:
        rate, star = rates[work.row], "*" if "GPU" in work.on else ""
        images = STEPS * BATCH if work.row == "training" else IMAGES
        hours = [figure(spent(work, rate, core, gpus)) + star for gpus in GPUS]
        yield [work.name, f"{rate:.3g}", figure(images / rate / 3600), *hours]
    for name, indices in SUMS.items():
        parts = [STAGES[index] for index in indices]
        hours = [sum(spent(p, rates[p.row], core, gpus) for p in parts) for gpus in GPUS]
        yield [f"**{name}**", "", "", *(f"**{figure(h)}***" for h in hours)]


def files(measured: Mapping[str, Row]) -> Iterator[list[str]]:
    """A line an artifact."""
    for name, row in FILES.items():
        each = measured[row].file
        total = each * IMAGES / 1e3  # GB
        yield [
            name,
            f"{each:.2g}",
            f"{total / 1e3:.1f} TB" if total >= 1e3 else f"{figure(total)} GB",
        ]


def figure(value: float) -> str:
    """Two digits that mean something."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
