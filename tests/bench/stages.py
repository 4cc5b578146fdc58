"""Every stage as the workflow runs it at 480 px: images a second, peak memory, MB an image.

Snakemake says which commands it would run (a dry run of `stages.yaml`, on JPEGs of rendered
scenes), and each is run in a process of its own on one thread. There is no twin: these rows say
where the time of a run goes, and its disk.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from cleave import paths
from cleave.io.coco import encode_annotations
from cleave.types import MaskSet
from tests.bench.harness import RATE, Row
from tests.bench.machine import describe
from tests.bench.photos import QUALITY, SIZE, drawn

ROOT = Path(__file__).resolve().parents[2]
IMAGES = {"cpu": 3, "wall": 24}  # by the clock: of the CPU, or of the wall where there is a GPU
BATCH = 2  # photos of a training step, as in stages.yaml
ORDER = (
    *("images", "features", "depth", "graphs", "masks"),
    *("recipe", "train", "relabel", "detect", "predict", "score", "table"),
)
COMMAND = re.compile(r"^Shell command: cleave (.+) > \S+ 2>&1$", re.MULTILINE)


def rows() -> Iterator[Row]:
    clock = "wall" if describe()["gpu"] else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        write_photos(project, IMAGES[clock])
        write_depth_network(project / "depth_anything")
        shutil.copy(Path(__file__).with_name("stages.yaml"), project / "config.yaml")
        found = [row(IMAGES[clock], *run(project, clock, command)) for command in commands(project)]
        yield from sorted(found, key=_place)


def _place(row: Row) -> tuple[int, str]:
    return ORDER.index(row.stage.split(":")[0]), row.stage


def write_photos(project: Path, count: int) -> None:
    """JPEGs of rendered scenes, with their instances as COCO annotations."""
    from PIL import Image

    (project / "photos").mkdir()
    images, annotations = [], []
    for number in range(1, count + 1):
        pixels, scene = drawn(900 + number)
        Image.fromarray(pixels).save(project / f"photos/{number}.jpg", quality=QUALITY)
        images.append({"id": number, "file_name": f"{number}.jpg", **SIZE._asdict()})
        for found in encode_annotations(
            MaskSet(SIZE, scene.instances, [1.0] * len(scene.instances))
        ):
            annotations.append(found | {"id": len(annotations) + 1, "image_id": number})
    truth = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fg"}]}
    (project / "truth.json").write_text(json.dumps(truth))


def write_depth_network(folder: Path) -> None:
    """Depth Anything V2 Small (arXiv 2406.09414), random weights, as its authors configure it."""
    import transformers

    backbone = transformers.Dinov2Config(
        image_size=518, patch_size=14, hidden_size=384, num_attention_heads=6,
        out_indices=[3, 6, 9, 12], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=384,
        neck_hidden_sizes=[48, 96, 192, 384], fusion_hidden_size=64,
    )  # fmt: skip
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    processor = transformers.DPTImageProcessor(
        size={"height": 518, "width": 518}, ensure_multiple_of=14, keep_aspect_ratio=True
    )
    processor.save_pretrained(folder)


def commands(project: Path) -> list[list[str]]:
    """The arguments of every `cleave` that Snakemake would run, in an order that works."""
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    snakemake += ["--directory", str(project), "--cores", "1", "--dry-run", "--printshellcmds"]
    snakemake += ["--", *targets(project)]
    done = subprocess.run(
        snakemake, check=True, cwd=project, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    return [shlex.split(text) for text in COMMAND.findall(done.stdout)]


def targets(project: Path) -> list[str]:
    """Files by which every stage is asked for once, and every section of what masks are made of."""
    photos = {"dataset": "photos", "shard": "0001-of-0001"}
    learned = {"recipe": "learned", "round": 1, **photos}
    masks = [*yaml.safe_load((project / "config.yaml").read_text())["masks"], "learned.round0"]
    return [
        *(paths.MASKS.format(masks=name, **photos) for name in masks),
        paths.RECIPE.format(**learned),
        paths.LABELS.format(**learned),
        paths.TABLE.format(benchmark="photos"),
    ]


def run(project: Path, clock: str, arguments: list[str]) -> tuple[str, dict, Path]:
    """The stage, what it took (see `probe`), and the file that it wrote."""
    file = project / "took.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.probe", str(file), clock, *arguments],
        cwd=project, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{shlex.join(arguments)}\n{done.stderr}")
    output = project / arguments[arguments.index("--output") + 1]
    return arguments[0], json.loads(file.read_text()), output


def row(images: int, stage: str, took: dict, output: Path) -> Row:
    """The line of a command: the median image (the first one builds the network), or the whole."""
    if stage == "train":
        seconds = statistics.median(took["ticks"]) / BATCH
    elif took["ticks"]:
        seconds = statistics.median(took["ticks"][1:])
    else:
        seconds = took["whole"] / images
    file = output.stat().st_size / 1e6
    if stage not in ("train", "table"):
        file /= images
    return Row(title(stage, output), RATE, 1 / seconds, peak=took["peak"], file=file)


def title(stage: str, output: Path) -> str:
    """The stage, with its section where a data set can have several."""
    several = stage in ("features", "depth", "graphs", "masks")
    return f"{stage}: {output.parent.name}" if several else stage
