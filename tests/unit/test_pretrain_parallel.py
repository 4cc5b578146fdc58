"""Two processes on the CPU share each batch: the same crops, targets and weights as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pretrain_toys import CONFIG, photos  # noqa: E402

from cleave.io.images import write_image_shard  # noqa: E402
from cleave.pretrain.gradient import learn  # noqa: E402
from cleave.pretrain.weights import load, read_header  # noqa: E402
from cleave.registry import make  # noqa: E402
from cleave.spec import canonical, to_mapping  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SIZE = {"height": 48, "width": 48}

# What `cleave pretrain` does: the first process starts two of itself and waits.
PROGRAM = """
import sys
from pathlib import Path
from cleave.io import processes
from cleave.io.images import write_image_shard  # noqa: E402
from cleave.pretrain.gradient import learn
from cleave.types import CleaveError
from tests.unit.pretrain_toys import CONFIG, kill_at, photos

folder = Path(sys.argv[1])
try:
    if not processes.launch(2, ["-c", Path(sys.argv[2]).read_text(), *sys.argv[1:]]):
        with processes.group(2, "cpu"):
            if processes.place()[0] == 1 and len(sys.argv) > 3:
                kill_at(int(sys.argv[3]))
            learn(CONFIG, photos(), folder)
except CleaveError as error:
    sys.exit(f"error: {error}")
"""


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    program = folder.parent / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(program), str(folder), str(program), *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stderr


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_stage_starts_its_processes_and_the_first_puts_the_files_in_place(tmp_path):
    dataset = make("datasets", {"kind": "scenes", "flavour": "control", "count": 3} | SIZE)
    images, output = tmp_path / "0001-of-0001.json", tmp_path / "out" / "weights.safetensors"
    write_image_shard(images, dataset.list(0), 1)
    mae, distil = replace(CONFIG.mae, batch=2), replace(CONFIG.distil, steps=0)
    config = replace(CONFIG, mae=mae, distil=distil, processes=2)
    spec = {"kind": "rotary", **to_mapping(config)}
    done = subprocess.run(
        [sys.executable, "-m", "cleave.cli", "pretrain", "--spec", canonical(spec), "--version",
         "1", "--images", str(images), "--output", str(output)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in output.parent.iterdir()} == {
        "weights.safetensors", "metrics.jsonl", "exports"
    }  # fmt: skip
    assert read_header(output)["spec"]["processes"] == 2
    assert done.stderr.count("mae step 2 of 3") == 1  # one process speaks


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two") / "run"
    code, errors = run(folder)
    assert code == 0, errors
    return folder


def test_two_processes_are_one_with_the_whole_batch(two, tmp_path):
    """Of MAE, DINO over crops, masked patches (an odd number of masked crops), KoLeo, collages."""
    learn(CONFIG, photos(), tmp_path)
    for path in sorted((tmp_path / "exports").iterdir()):
        alone, together = load(path), load(two / "exports" / path.name)
        for name, value in alone.state_dict().items():
            found = together.state_dict()[name]
            assert torch.allclose(found, value, atol=2e-3), (path.name, name)
    assert len(metrics(two)) == len(metrics(tmp_path)) == 6
    for one, other in zip(metrics(two), metrics(tmp_path), strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"class_spread", "patch_spread", "patch_rank", "phase"}:
            assert one[name] == pytest.approx(other[name], rel=2e-3), name


def test_a_killed_process_ends_the_run_and_it_goes_on_exactly(two, tmp_path):
    folder = tmp_path / "run"
    code, errors = run(folder, "5")
    assert code == 1
    assert "process 1 of 2 ended with -9" in errors
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 2
    code, errors = run(folder)
    assert code == 0, errors
    for name in ("backbone.safetensors", "metrics.jsonl"):
        assert (folder / name).read_bytes() == (two / name).read_bytes()
