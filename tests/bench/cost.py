"""What ImageNet costs, from the measured rates of a machine: python -m tests.bench --cost.

Stages that run no network scale with cores: what one core was measured to do, times their number.
Network stages on a GPU have the rates of a GPU's file in the same folder where there is one.
Without, they are a projection: the core's own rate times what the GPU is assumed to sustain over
what the core sustained in ViT-S/8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.bench import curve, results
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
    Work("recipe: shards to one JSON", curve.JOINING, "one core"),
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


@dataclass(frozen=True)
class Rates:
    """Images a second by row: of a core, of a GPU as measured, and what stands in for that."""

    core: Mapping[str, float]
    gpu: Mapping[str, float]
    faster: float  # than a core a GPU is taken to be where it was not measured

    def hours(self, work: Work, gpus: int) -> float:
        """Of a whole stage."""
        if work.on == "one core":
            rate = self.core[work.row]
        elif work.on == "cores":
            rate = self.core[work.row] * gpus * CORES
        else:
            one = self.gpu.get(work.row, self.core[work.row] * self.faster)
            rate = one * (gpus if work.on == "GPUs" else min(gpus, TRAINING))
        return images(work) / rate / 3600

    def star(self, *parts: Work) -> str:
        """ "*" where something is projected."""
        return "*" * any("GPU" in part.on and part.row not in self.gpu for part in parts)


def images(work: Work) -> int:
    """How many go through a stage."""
    return STEPS * BATCH if work.row == "training" else IMAGES


def page(path: Path) -> str:
    """Both tables as markdown, with what they assume."""
    measured = {row.stage: row for row in results.all_rows(path)}
    core = {row.stage: row.ours for row in measured.values()} | {"training": training(measured)}
    sustained = VIT_S8 * core["features: vits8"]
    device, gpu = on_gpu(path.parent)
    rates = Rates(core, gpu, SUSTAINED / sustained)
    hours = table(
        ("stage", "images/s, one core", "core-hours",
         *(f"hours on {g} GPU{'s' * (g > 1)}, {g * CORES} cores" for g in GPUS)),
        lines(rates),
    )  # fmt: skip
    disk = table(("file", "MB an image", "ImageNet"), files(measured))
    known = f"Where there is no star the GPU is {device}, measured. " if device else ""
    return (
        f"{hours}\n\n{known}"
        f"\\* Projected, not measured: the rate of one core times {rates.faster:,.0f}. That is "
        f"{SUSTAINED / 1e12:.0f} TFLOP/s, what we assume that a GPU sustains in float32, over the "
        f"{sustained / 1e9:.0f} GFLOP/s that the core sustained in ViT-S/8 ({VIT_S8 / 1e12} TFLOP "
        f"an image). Training: {STEPS:,} steps of {BATCH}, from a measured step of 320 x 427 px "
        f"times {LARGER:.1f} for the pixels of CutLER's sizes; on {TRAINING} GPUs at most, those "
        f"of one machine.\n\n{disk}"
    )


def on_gpu(folder: Path) -> tuple[str, dict[str, float]]:
    """Name and rates of the first GPU, by file name, whose stages were measured; "" if none."""
    for file in sorted(folder.glob("*.json")):
        device, rows = results.gpu(file), results.read(file).get("stages", [])
        if device and rows:
            return device, {row.stage: row.ours for row in rows}
    return "", {}


def training(measured: Mapping[str, Row]) -> float:
    """Images a second of one core in a step of CutLER's detector at its own sizes."""
    return 1 / (measured["the same with DropLoss"].ours * LARGER)


def lines(rates: Rates) -> Iterator[list[str]]:
    """A line a stage, then the sums, one stage after the other."""
    for work in STAGES:
        rate, star = rates.core[work.row], rates.star(work)
        hours = [figure(rates.hours(work, gpus)) + star for gpus in GPUS]
        yield [work.name, figure(rate, 3), figure(images(work) / rate / 3600), *hours]
    for name, indices in SUMS.items():
        parts = [STAGES[index] for index in indices]
        hours = [figure(sum(rates.hours(p, gpus) for p in parts)) for gpus in GPUS]
        yield [f"**{name}**", "", "", *(f"**{h}**{rates.star(*parts)}" for h in hours)]


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


def figure(value: float, digits: int = 2) -> str:
    """That many digits that mean something, and all those before the point."""
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"
