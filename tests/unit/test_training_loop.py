"""The training loop on toys: it learns, resumes exactly, and stops where it must."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from training_toys import Toy, ToyBatches, lines, naive_training, run, settings  # noqa: E402

from cleave.io.checkpoints import load_state, save_state  # noqa: E402
from cleave.training import norms  # noqa: E402
from cleave.training.loop import Run, train  # noqa: E402
from cleave.training.optimiser import build_optimiser, clip  # noqa: E402
from cleave.training.recorder import Progress, duration  # noqa: E402
from cleave.types import DataError, TrainingError  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Sums depend on the number of threads, and a test before these may have set it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(threads)


def test_it_learns_and_leaves_weights_that_say_what_they_are(tmp_path):
    progress, network = run(tmp_path, steps=120, decay_steps=(), log_every=20)
    found = lines(tmp_path)
    assert progress.finished
    assert [line["step"] for line in found] == [20, 40, 60, 80, 100, 120]
    assert found[-1]["loss"] < 0.5 * found[0]["loss"]
    assert found[0].keys() == {"step", "mean", "noise", "loss", "gradient_norm", "learning_rate",
                               "skipped"}  # fmt: skip
    assert found[0]["loss"] == pytest.approx(found[0]["mean"] + found[0]["noise"])
    state, header = load_state(tmp_path / "weights.pt")
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    assert header["training"]["steps"] == 120
    assert {line.keys() >= {"images_per_second", "waiting"} for line in
            lines(tmp_path, "speed.jsonl")} == {True}  # fmt: skip


def test_a_step_is_that_of_the_naive_twin(tmp_path):
    """Clip .02 cuts some gradients and leaves others; weight decay 1 is seen."""
    chosen = settings(clip=0.02, weight_decay=0.5, precise_norm=0)
    trained, expected = Toy(), Toy()
    train(trained, ToyBatches(chosen), chosen, tmp_path)
    naive_training(chosen, expected, chosen.steps)
    start = Toy().state_dict()
    for name, value in expected.state_dict().items():
        assert torch.allclose(trained.state_dict()[name], value, atol=1e-6), name
        if not name.startswith("unused"):
            assert not torch.equal(start[name], value), name


def test_stopping_after_every_step_changes_no_bit(tmp_path):
    whole, network = run(tmp_path / "whole")
    pieces, progress = tmp_path / "pieces", None
    while progress is None or not progress.finished:
        progress, last = run(pieces, seconds=0)
    assert progress == whole
    assert all(map(torch.equal, last.state_dict().values(), network.state_dict().values()))
    for name in ("weights.pt", "metrics.jsonl"):
        assert (pieces / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    ends = [torch.load(at / "checkpoint.pt", weights_only=True)
            for at in (pieces, tmp_path / "whole")]  # fmt: skip
    buffers = [
        [v["momentum_buffer"] for v in end["optimiser"]["state"].values() if v] for end in ends
    ]
    assert len(buffers[0]) > 3
    assert all(map(torch.equal, *buffers))


PROGRAM = """
import sys
from pathlib import Path
from tests.unit.training_toys import Toy, ToyBatches, settings
from cleave.training.loop import train

chosen = settings(accumulate=2)
batches = ToyBatches(chosen)
batches.kill_at = (int(sys.argv[2]), 1)
train(Toy(), batches, chosen, Path(sys.argv[1]), seed=3)
"""


def killed(folder: Path, step: int) -> int:
    """Trains in a process that kills itself in the second micro batch of a step."""
    program = [sys.executable, "-c", PROGRAM, str(folder), str(step)]
    return subprocess.run(program, cwd=ROOT, check=False).returncode


def test_kill_9_in_a_step_changes_no_bit(tmp_path):
    """Killed twice, with lines after the checkpoint."""
    again = {"accumulate": 2, "seed": 3}
    run(tmp_path / "whole", batches=ToyBatches(settings(accumulate=2)), **again)
    assert killed(tmp_path / "killed", 13) == -9
    assert [line["step"] for line in lines(tmp_path / "killed")] == [4, 8, 12]
    assert torch.load(tmp_path / "killed" / "checkpoint.pt", weights_only=True)["step"] == 10
    assert killed(tmp_path / "killed", 22) == -9
    run(tmp_path / "killed", batches=ToyBatches(settings(accumulate=2)), **again)
    for name in ("weights.pt", "metrics.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for name in ("metrics.jsonl", "speed.jsonl"):
        steps = [line["step"] for line in lines(tmp_path / "killed", name)]
        assert steps == [4, 8, 12, 16, 20, 23]
    left = {path.name for path in (tmp_path / "killed").iterdir()} - {"events"}
    assert left == {"weights.pt", "checkpoint.pt", "metrics.jsonl", "speed.jsonl"}


def test_a_kill_after_the_last_step_still_gives_the_weights(tmp_path, monkeypatch):
    run(tmp_path / "whole")

    def die(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "finish", die)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed")
    monkeypatch.undo()
    batches = ToyBatches(settings())
    run(tmp_path / "killed", batches=batches)
    assert {step for step, _ in batches.seen} == {23, 24, 25}  # the statistics' batches alone
    weights = [(tmp_path / name / "weights.pt").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


def test_another_runs_checkpoint_is_refused(tmp_path):
    run(tmp_path, seconds=0)
    for changes in ({"learning_rate": 0.1}, {"seed": 1}, {"accumulate": 2}):
        with pytest.raises(DataError, match="of another run"):
            run(tmp_path, **changes)
    progress, _ = run(tmp_path, seconds=0, workers=2, checkpoint_every=3)
    assert progress.step == 2


def test_micro_batches_are_the_whole_batch_up_to_norms(tmp_path):
    _, whole = run(tmp_path / "1", Toy(norm=False), batches=ToyBatches(settings(), side=12))
    batches = ToyBatches(settings(accumulate=4), side=12)
    _, micro = run(tmp_path / "4", Toy(norm=False), batches=batches, accumulate=4)
    for name, value in whole.state_dict().items():
        assert torch.allclose(micro.state_dict()[name], value, atol=1e-6), name
    assert set(micro.batches) == {1}
    assert batches.seen[:8] == [(step, place) for step in range(2) for place in range(4)]
    losses = [[line["loss"] for line in lines(tmp_path / name)] for name in "14"]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_clipping_is_that_of_torch_for_each_parameter():
    torch.manual_seed(0)
    shapes = [(3, 4), (5,), (2, 2, 2), (1,)]
    for most in (0.0, 0.5, 2.0):
        ours = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
        for p in ours:
            p.grad = torch.randn(p.shape)
        twins = [nn.Parameter(torch.zeros(p.shape)) for p in ours]
        for twin, p in zip(twins, ours, strict=True):
            twin.grad = p.grad.clone()
        norm = clip([*ours, nn.Parameter(torch.zeros(3))], most)
        assert float(norm) == pytest.approx(
            float(torch.cat([t.grad.flatten() for t in twins]).norm())
        )
        if most:
            for twin in twins:
                nn.utils.clip_grad_norm_(twin, most)
        for p, twin in zip(ours, twins, strict=True):
            assert torch.allclose(p.grad, twin.grad)


def test_norms_have_a_weight_decay_of_their_own():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.Linear(4, 2)
    )
    network[4].bias.requires_grad_(False)
    groups = build_optimiser(
        network, settings(weight_decay=0.3, norm_weight_decay=0.1)
    ).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert [decay[id(p)] for p in network[:1].parameters()] == [0.3, 0.3]
    assert [decay[id(p)] for p in network[1:4].parameters()] == [0.1] * 6
    assert id(network[4].bias) not in decay
    assert len(decay) == 9


class Poisoned(Toy):
    """Its loss, or only its gradient, is not finite in the eighth forward pass."""

    def __init__(self, where: str):
        super().__init__()
        self.where = where

    def forward(self, images, targets):
        losses = super().forward(images, targets)
        if len(self.batches) != 8:
            return losses
        if self.where == "loss":
            return {**losses, "mean": losses["mean"] * float("nan")}
        zero = (self.head.bias - self.head.bias.detach()).abs().sum()
        return {**losses, "mean": losses["mean"] + zero.sqrt()}  # its derivative at 0 is infinite


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_stops_the_run_before_the_step(tmp_path, where):
    network = Poisoned(where)
    with pytest.raises(
        TrainingError, match=r"step 7: not finite: .*(mean nan|gradient_norm (nan|inf))"
    ):
        run(tmp_path, network)
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 5


def test_a_network_that_finds_infinities_itself_stops_the_run(tmp_path):
    network = Toy()
    network.forward = lambda images, targets: raise_(FloatingPointError("proposals are NaN"))
    with pytest.raises(TrainingError, match="step 0: not finite: proposals are NaN; no step"):
        run(tmp_path, network)


def raise_(error: Exception):
    raise error


def test_float16_skips_a_step_that_overflows_and_goes_on(tmp_path):
    progress, network = run(tmp_path, Poisoned("loss"), precision="float16")
    assert progress.finished
    found = lines(tmp_path)
    assert [line["skipped"] for line in found] == [1, 1, 0, 0, 0, 0]  # the first scale is too large
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["scaler"]["scale"] == 2.0**14
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())


def test_float16_stops_where_scaling_does_not_help(tmp_path):
    network = Toy()
    with torch.no_grad():
        network.head.weight[0, 0] = float("inf")
    with pytest.raises(TrainingError, match=r"step 30: not finite"):
        run(tmp_path, network, precision="float16", steps=50)
    assert lines(tmp_path)[0] == {
        "step": 4,
        "skipped": 4,
        "learning_rate": pytest.approx(0.12, rel=1),
    }


def test_half_precisions_are_close_to_single(tmp_path):
    losses = {}
    for precision in ("auto", "float32", "float16", "bfloat16"):
        run(tmp_path / precision, Toy(norm=False), precision=precision, log_every=1)
        losses[precision] = [line.get("loss") for line in lines(tmp_path / precision)]
    assert losses["auto"] == losses["float32"] != losses["float16"] != losses["bfloat16"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)
    # its gradient overflows at the first scale, and momentum remembers the step that others took
    assert losses["float16"][0] is None
    assert losses["float16"][1] == pytest.approx(losses["float32"][1], rel=0.01)
    assert sum(losses["float16"][-8:]) == pytest.approx(sum(losses["float32"][-8:]), rel=0.2)


def test_precise_statistics_are_those_of_all_pixels(tmp_path):
    chosen = settings(accumulate=2)
    network = Toy()
    train(network, ToyBatches(chosen), chosen, tmp_path)
    rows = []
    for step in (23, 24, 25):
        for micro in range(2):
            images, _ = ToyBatches(chosen)(step, 0, 1, micro)
            side = max(max(image.shape[1:]) for image in images)
            for image in images:
                canvas = torch.zeros(3, side, side)
                canvas[:, : image.shape[1], : image.shape[2]] = image
                with torch.no_grad():
                    rows.append(network.trunk(canvas[None] / 255)[0].flatten(1))
    pixels = torch.cat(rows, 1).double()
    assert torch.allclose(network.norm.running_mean.double(), pixels.mean(1), rtol=1e-4)
    assert torch.allclose(network.norm.running_var.double(), pixels.var(1, correction=0), rtol=1e-4)
    assert network.norm.momentum == 0.1


def test_a_norm_that_no_batch_reaches_keeps_its_statistics():
    network = nn.ModuleList([nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.BatchNorm2d(2)]).train()
    network[2].eval()
    network[2].running_mean += 5
    norms.recompute(network, lambda number: network[0](torch.full((1, 2, 3, 3), 4.0 + number)), 2)
    assert network[0].running_mean.tolist() == pytest.approx([4.5, 4.5])
    assert network[0].running_var.tolist() == pytest.approx([0.25, 0.25])
    assert network[1].running_mean.tolist() == [0, 0]
    assert network[2].running_mean.tolist() == [5, 5]


@pytest.mark.parametrize(("batch", "most", "accumulate", "advice"), [
    (8, 3, 1, r"a batch of 8 does not fit: set accumulate: 4 \(micro batches of 2\)"),
    (12, 5, 1, r"set accumulate: 4 \(micro batches of 3\)"),
    (8, 1, 2, r"a batch of 8, 4 images at once, does not fit: set accumulate: 8"),
    (8, 0, 1, r"neither does one image of \(\d+, \d+\) pixels"),
])  # fmt: skip
def test_a_batch_that_does_not_fit_names_one_that_would(tmp_path, batch, most, accumulate, advice):
    network = Toy(most=most)
    with pytest.raises(TrainingError, match=rf"step 0: .*{advice}"):
        run(tmp_path, network, batch=batch, accumulate=accumulate)
    start = Toy().state_dict()
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, start[name])
        assert parameter.grad is None
    assert not (tmp_path / "weights.pt").exists()
    if most:
        size = batch // int(advice.split("accumulate: ")[1].split()[0])
        run(tmp_path, Toy(most=most), batch=batch, accumulate=batch // size)


def test_equal_weights_are_equal_bytes(tmp_path):
    state = Toy().state_dict()
    state["view"] = state["head.weight"].t()  # another storage order, a shared storage
    save_state(tmp_path / "one.pt", state, spec={"a": 1, "b": [2]}, version=3)
    copy = {name: value.clone() for name, value in state.items()}
    save_state(tmp_path / "other.pt", copy, version=3, spec={"b": [2], "a": 1})
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()
    found, header = load_state(tmp_path / "one.pt")
    assert header == {"spec": {"a": 1, "b": [2]}, "version": 3}
    assert list(found) == list(state)
    assert all(map(torch.equal, found.values(), state.values()))
    assert torch.load(tmp_path / "one.pt", weights_only=True)["model"].keys() == state.keys()


@pytest.mark.parametrize(
    "contents", [{"model": {}}, {"cleave": "{}", "model": {}}, {"cleave": "{"}]
)
def test_other_files_are_no_state(tmp_path, contents):
    torch.save(contents, tmp_path / "x.pt")
    with pytest.raises(DataError, match="not of the format"):
        load_state(tmp_path / "x.pt")


def test_tensorboard_has_every_step_once_after_a_kill(tmp_path):
    pytest.importorskip("tensorboard", reason="optional: pip install -e '.[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, seconds=0)
    checkpoint = (tmp_path / "checkpoint.pt").read_bytes()
    run(tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(checkpoint)
    run(tmp_path)
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    found = lines(tmp_path)
    scalars = events.Scalars("loss")
    assert [event.step for event in scalars] == [line["step"] for line in found]
    assert [event.value for event in scalars] == pytest.approx([line["loss"] for line in found])
    assert {"images_per_second", "learning_rate", "mean"} <= set(events.Tags()["scalars"])


def test_without_tensorboard_a_line_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with caplog.at_level("INFO"):
        run(tmp_path)
    assert "tensorboard is not installed: metrics go to metrics.jsonl alone" in caplog.text
    assert not (tmp_path / "events").exists()
    assert len(lines(tmp_path)) == 6


def test_the_start_names_rate_rule_and_type(tmp_path, caplog):
    with caplog.at_level("INFO"):
        run(tmp_path, batch=8)
    assert (
        "steps 0 to 23 of 8 images, learning rate 0.4 (linear scaling), torch.float32 on cpu"
        in (caplog.text)
    )


def test_progress_says_rate_and_time_left(monkeypatch, capsys, caplog):
    progress = Progress(step=100, steps=1000, batch=4)
    assert progress.line(400, 1.25, spent=60) == (
        "training: step 400 of 1000, loss 1.2500, 20.0 images/s, 2 min left"
    )
    assert "unknown time left" in progress.line(100, 1.0, spent=0)
    assert [duration(s) for s in (12.4, 61, 11_100)] == ["12 s", "1 min", "3 h 05 min"]
    with caplog.at_level("INFO"):
        progress.show(101, 1.0)
        assert not caplog.text
        progress.show(1000, 1.0)
    assert "step 1000 of 1000" in caplog.text
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    live = Progress(0, 10, 4)
    live.show(10, 0.5)
    live.close()
    assert capsys.readouterr().err.startswith("\r\x1b[Ktraining: step 10 of 10")
