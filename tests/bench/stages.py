"""Every stage as the workflow runs it: seconds and bytes an image, and peak memory of the process.

One process a stage on four rendered scenes of 480 pixels, started with the command line that the
rules use. There is no twin: these rows say where the time of a run goes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cleave.config import load
from tests.bench.harness import Row

IMAGES = 4
SHARD = "0001-of-0001"
CONFIG = {
    "datasets": {"scenes": {"flavour": "crowded", "count": IMAGES, "first_seed": 900}},
    "features": {
        "colour": {},
        "vits8": {"kind": "vit", "model": "vit_small_patch8_224.dino", "weights": "random"},
    },
    "depth": {"sensor": {"kind": "rendered", "noise": "sensor"}},
    "graphs": {
        "colour": {"kind": "cosine", "features": "colour", "rule": "near_far", "centre": True},
        "vits8": {"kind": "cosine", "features": "vits8", "rule": "near_far", "centre": True},
    },
    "masks": {
        "maskcut": {"graphs": "colour", "refine": "none"},
        "maskcut_crf": {"kind": "maskcut", "graphs": "colour"},
        "cuts3d": {"graphs": "colour", "depth": "sensor", "refine": "none"},
        "cleave3d": {"graphs": "colour", "depth": "sensor", "refine": "none"},
    },
}
# section, name, suffix of the shard, inputs as (option, file)
JOBS = (
    ("datasets", "scenes", "json", ()),
    ("features", "colour", "h5", (("images", "scenes.json"),)),
    ("features", "vits8", "h5", (("images", "scenes.json"),)),
    ("depth", "sensor", "h5", (("images", "scenes.json"),)),
    ("graphs", "colour", "h5", (("images", "scenes.json"), ("features", "features/colour.h5"))),
    ("graphs", "vits8", "h5", (("images", "scenes.json"), ("features", "features/vits8.h5"))),
    *(
        (
            "masks",
            name,
            "json",
            (("images", "scenes.json"), ("graphs", "graphs/colour.h5"), ("depth", "depth.h5")),
        )
        for name in CONFIG["masks"]
    ),
)
STAGE = {"datasets": "images"}
_PROGRAM = """
import re, sys
from cleave.cli import main
code = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
sys.exit(code)
"""


def rows() -> Iterator[Row]:
    config = load(CONFIG)
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, Path] = {}
        for section, name, suffix, inputs in JOBS:
            stage = STAGE.get(section, section)
            output = Path(folder, stage, name, f"{SHARD}.{suffix}")
            command = [stage, "--spec", config.spec(section, name), "--output", str(output)]
            for option, key in inputs:
                command += [f"--{option}", str(made[key])]
            seconds, peak = _run(command)
            made[_key(section, name, suffix)] = output
            title = f"stage {stage}: {name}"
            if seconds is not None:
                yield Row(f"{title}, an image", "s", seconds / IMAGES)
            yield Row(f"{title}, peak memory of the process", "MB", peak)
            if section != "datasets":
                yield Row(f"{title}, file an image", "MB", output.stat().st_size / IMAGES / 1e6)


def _key(section: str, name: str, suffix: str) -> str:
    short = {"datasets": "scenes", "depth": "depth"}.get(section, f"{section}/{name}")
    return f"{short}.{suffix}"


def _run(command: list[str]) -> tuple[float | None, float]:
    """Seconds that the stage logged (without its start), and its peak resident MB."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *command], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"{json.dumps(command)}\n{done.stderr}")
    logged = re.search(r"\d+ images in ([\d.]+) s", done.stderr)
    return float(logged[1]) if logged else None, int(done.stdout.split()[-1]) * 1024 / 1e6
