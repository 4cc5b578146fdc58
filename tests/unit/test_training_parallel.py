"""Two processes on the CPU: the same images as one and, without norms, the same weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from training_toys import Toy, ToyBatches, settings  # noqa: E402

from cleave.io import processes  # noqa: E402
from cleave.io.checkpoints import load_state  # noqa: E402
from cleave.spec import ConfigError  # noqa: E402
from cleave.training import parallel  # noqa: E402
from cleave.training.loop import train  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]

# What `cleave train` does: the first process starts two of itself and waits.
PROGRAM = """
import json, logging, sys
from pathlib import Path
from cleave.io import processes
from cleave.training.loop import train
from cleave.types import CleaveError
from tests.unit.training_toys import Toy, ToyBatches, settings

logging.basicConfig(level=logging.INFO, format="%(message)s")
folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
chosen = settings(processes=2, **options["settings"])
try:
    if not processes.launch(2, ["-c", Path(sys.argv[3]).read_text(), *sys.argv[1:]]):
        with processes.group(2, "cpu") as device:
            rank, _ = processes.place()
            batches = ToyBatches(chosen, side=options["side"])
            if rank == options.get("killed"):
                batches.kill_at = (13, 0)
            train(Toy(**options["toy"]), batches, chosen, folder, device=device,
                  seconds=options.get("seconds"))
            (folder / f"seen-{rank}.json").write_text(json.dumps(batches.seen))
except CleaveError as error:
    sys.exit(f"error: {error}")
"""


def start(folder: Path, **options) -> subprocess.Popen:
    program = folder.parent / "program.py"
    program.write_text(PROGRAM)
    options = {"settings": {}, "side": 12, "toy": {"norm": False}, **options}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(program), str(folder), json.dumps(options), str(program)],
        cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(folder: Path, **options) -> tuple[int, str]:
    process = start(folder, **options)
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("two") / "run"
    code, errors = run(folder, settings={"accumulate": 2, "batch": 8})
    assert code == 0, errors
    return folder, errors


def test_two_processes_are_one_with_the_whole_batch(two, tmp_path):
    folder, _ = two
    chosen = settings(batch=8)
    batches, alone = ToyBatches(chosen, side=12), Toy(norm=False)
    train(alone, batches, chosen, tmp_path)
    seen = [json.loads((folder / f"seen-{rank}.json").read_text()) for rank in (0, 1)]
    assert sorted(map(tuple, seen[0] + seen[1])) == sorted(batches.seen)
    assert {place for _, place in seen[0]} == {0, 1, 2, 3}
    state, _ = load_state(folder / "weights.pt")
    for name, value in alone.state_dict().items():
        assert torch.allclose(state[name], value, atol=1e-6), name
    assert not torch.allclose(state["trunk.weight"], Toy(norm=False).state_dict()["trunk.weight"])
    for one, other in zip(metrics(folder), metrics(tmp_path), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_one_process_speaks_and_writes(two):
    folder, errors = two
    assert errors.count("steps 0 to 23 of 8 images") == 1
    assert "training: 2 processes" in errors
    assert [line["step"] for line in metrics(folder)] == [4, 8, 12, 16, 20, 23]


def test_batch_norms_in_two_processes_resume_exactly(tmp_path):
    """A process is killed at step 13: the launcher ends the other and says so; then again."""
    options = {"side": None, "toy": {"norm": True}}
    whole, killed = tmp_path / "whole" / "run", tmp_path / "killed" / "run"
    for folder in (whole, killed):
        folder.parent.mkdir()
    code, errors = run(whole, **options)
    assert code == 0, errors
    code, errors = run(killed, **options, killed=1)
    assert code == 1
    assert "process 1 of 2 ended with -9" in errors
    assert torch.load(killed / "checkpoint.pt", weights_only=True)["step"] == 10
    code, errors = run(killed, **options)
    assert code == 0, errors
    for name in ("weights.pt", "metrics.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def test_a_killed_launcher_leaves_no_process(tmp_path):
    """An orphan would write over the checkpoints of the job that takes its place."""
    folder = tmp_path / "run"
    process = start(folder, settings={"steps": 1_000_000, "checkpoint_every": 20})
    wait(lambda: (folder / "checkpoint.pt").exists() or process.poll() is not None)
    workers = descendants(process.pid)
    assert len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait(lambda: not any(alive(worker) for worker in workers))


def wait(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def descendants(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children")
    if not found.exists():
        pytest.skip("needs Linux's /proc/PID/task/TID/children")
    children = [int(child) for child in found.read_text().split()]
    return children + [below for child in children for below in descendants(child)]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_sync_norms_become_plain_ones_with_the_same_names_and_weights():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.SyncBatchNorm(4, eps=1e-3)))
    network[1][0].running_mean += 3
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    parameters = list(network.parameters())
    parallel.without_sync_norms(network)
    assert type(network[1][0]) is nn.BatchNorm2d
    assert network[1][0].eps == 1e-3
    assert not network[1][0].training
    assert list(network.state_dict()) == list(before)
    assert all(map(torch.equal, network.state_dict().values(), before.values()))
    assert [id(p) for p in network.parameters()] == [id(p) for p in parameters]


def test_one_process_launches_nothing():
    assert not processes.launch(1)
    with processes.group(1, "cpu") as device:
        assert device == "cpu"
        assert processes.place() == (0, 1)
        network = nn.Linear(1, 1)
        assert parallel.spread(network) is network


def test_another_number_of_processes_than_asked_for_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ConfigError, match="processes: 2, but 3"), processes.group(2, "cpu"):
        pass
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(ConfigError, match="processes: 2, but 0 GPUs are visible"),
        processes.group(2, "cuda"),
    ):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
