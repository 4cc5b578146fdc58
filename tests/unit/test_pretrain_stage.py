"""The stage: it goes on where a kill left it, and never from another run's checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from cleave.io.images import write_image_shard  # noqa: E402
from cleave.io.shards import names  # noqa: E402
from cleave.pretrain.train import Run  # noqa: E402
from cleave.pretrain.weights import load  # noqa: E402
from cleave.registry import make  # noqa: E402
from cleave.stages import pretrain  # noqa: E402
from cleave.stages.job import Job  # noqa: E402

SPEC = {
    "kind": "rotary",
    "architecture": {"dim": 16, "depth": 1, "heads": 1},
    "mae": {"steps": 6, "batch": 2, "crop": 32, "decoder_dim": 16, "decoder_depth": 1,
            "decoder_heads": 1, "warmup": 1},
    "distil": {"steps": 0},
    "side": 40, "precision": "float32", "log_every": 1, "checkpoint_every": 2,
}  # fmt: skip


def job(folder: Path, spec=SPEC, *, count: int = 3, shards: int = 1, version: int = 1) -> Job:
    """A job on `count` rendered scenes."""
    fields = {"flavour": "control", "count": count, "height": 48, "width": 48, "shards": shards}
    dataset = make("datasets", {"kind": "scenes", **fields})
    paths = [folder / f"images-{count}" / f"{name}.json" for name in names(shards)]
    for number, path in enumerate(paths):
        write_image_shard(path, dataset.list(number), 1)
    inputs = {"images": (paths[0],)}
    return Job("pretrain", spec, version, inputs, folder / "out" / "weights.safetensors")


def outputs(one: Job) -> dict[str, bytes]:
    folder = one.output.parent
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def killed(monkeypatch, one: Job, at: int) -> None:
    """Runs the stage until its checkpoint of step `at` is written."""
    write = Run.write

    def write_and_die(run, phase, optimiser, scaler, step):
        write(run, phase, optimiser, scaler, step)
        if step == at:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write", write_and_die)
    with pytest.raises(KeyboardInterrupt):
        pretrain.run(one)
    monkeypatch.undo()
    assert not one.output.exists()


def started(monkeypatch) -> list[int]:
    """The steps from which runs start from now on."""
    seen, train_phase = [], Run.train_phase

    def watched(run, phase, state, deadline):
        seen.append(state["step"])
        return train_phase(run, phase, state, deadline)

    monkeypatch.setattr(Run, "train_phase", watched)
    return seen


def test_weights_and_metrics_and_nothing_else(tmp_path):
    one = job(tmp_path)
    pretrain.run(one)
    found = outputs(one)
    last = "exports/mae-000006.safetensors"
    assert set(found) == {"weights.safetensors", "metrics.jsonl", last}
    lines = [json.loads(line) for line in found["metrics.jsonl"].splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert load(one.output).architecture.dim == 16
    assert b'\\"spec\\":' in found["weights.safetensors"]  # what made it, as in every artifact


def test_shards_change_no_byte(tmp_path):
    one, two = job(tmp_path / "one", count=5), job(tmp_path / "two", count=5, shards=3)
    pretrain.run(one)
    pretrain.run(two)
    assert outputs(one) == outputs(two)


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    whole, cut = job(tmp_path / "whole"), job(tmp_path / "cut")
    pretrain.run(whole)
    killed(monkeypatch, cut, 4)
    seen = started(monkeypatch)
    pretrain.run(cut)
    assert seen == [4]
    assert outputs(cut) == outputs(whole)


@pytest.mark.parametrize(
    "change",
    [{"spec": SPEC | {"seed": 1}}, {"count": 4}, {"version": 2}],
    ids=["spec", "photos", "version"],
)
def test_another_run_starts_anew(tmp_path, monkeypatch, change):
    killed(monkeypatch, job(tmp_path), 4)
    fresh, other = job(tmp_path / "fresh", **change), job(tmp_path, **change)
    pretrain.run(fresh)
    seen = started(monkeypatch)
    pretrain.run(other)
    assert seen == [0]
    assert outputs(other) == outputs(fresh)
