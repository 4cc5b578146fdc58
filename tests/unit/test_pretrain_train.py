"""Training on a handful of drawn photos: it learns, it resumes exactly, it refuses bad input."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")

from cleave import config as sections_of  # noqa: E402
from cleave.ops.draws import Sampler  # noqa: E402
from cleave.pretrain.bank import Bank, decode  # noqa: E402
from cleave.pretrain.config import Architecture, Collage, Distil, Mae, Pretrain  # noqa: E402
from cleave.pretrain.draws import Draws  # noqa: E402
from cleave.pretrain.model import Block  # noqa: E402
from cleave.pretrain.phases import build_phase  # noqa: E402
from cleave.pretrain.train import Run, TrainingError, learning_rate, train  # noqa: E402
from cleave.pretrain.weights import load  # noqa: E402
from cleave.spec import ConfigError, build  # noqa: E402
from cleave.types import DataError, Image  # noqa: E402

PRESET = Path(__file__).resolve().parents[2] / "workflow/presets/pretrain.yaml"


def tiny(mae: int, distil: int, collage: int = 0, **changes) -> Pretrain:
    return Pretrain(
        architecture=Architecture(patch=8, dim=32, depth=2, heads=2),
        mae=Mae(steps=mae, batch=8, crop=32, decoder_dim=16, decoder_depth=1, decoder_heads=1,
                warmup=3, learning_rate=3e-3),
        distil=Distil(steps=distil, batch=8, global_crop=32, local_crops=2, local_crop=16,
                      class_prototypes=16, patch_prototypes=24, head_hidden=32, head_bottleneck=16,
                      warmup=3, teacher_warmup=5),
        collage=Collage(steps=collage, batch=8, crop=32, pieces=2, warmup=3, learning_rate=3e-3),
        **{"side": 40, "precision": "float32", "log_every": 2, "checkpoint_every": 3,
           "export_every": 4, **changes},
    )  # fmt: skip


@pytest.fixture(scope="module")
def bank() -> Bank:
    """Stripes of random direction and two random colours: something that can be predicted."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40]
    photos = []
    for _ in range(12):
        angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 6)
        wave = 0.5 + 0.5 * np.sign(np.sin((np.cos(angle) * x + np.sin(angle) * y) / 3 + phase))
        first, second = rng.uniform(0, 255, (2, 3, 1, 1))
        photos.append(wave * first + (1 - wave) * second)
    return Bank(torch.from_numpy(np.stack(photos).astype(np.uint8)))


def read_metrics(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return lines


def mean_loss(lines: list[dict], key: str) -> float:
    return float(np.mean([line[key] for line in lines]))


def test_both_phases_learn(bank, tmp_path):
    config = tiny(80, 80, checkpoint_every=200, export_every=80)
    progress = train(config, bank, tmp_path)
    lines = read_metrics(tmp_path)
    mae, distil = ([x for x in lines if x["phase"] == name] for name in ("mae", "distil"))
    assert mean_loss(mae[-8:], "loss") < 0.9 * mean_loss(mae[:4], "loss")
    assert mean_loss(distil[-8:], "view_loss") < 0.95 * mean_loss(distil[:4], "view_loss")
    assert mean_loss(distil[-8:], "patch_loss") < 0.95 * mean_loss(distil[:4], "patch_loss")
    assert min(line["patch_spread"] for line in lines) > 0.01
    assert progress.finished
    load(tmp_path / "backbone.safetensors", progress.digest)
    assert {path.name for path in (tmp_path / "exports").iterdir()} == {
        "mae-000080.safetensors",
        "distil-000080.safetensors",
    }


def test_collages_are_learned_from(bank, tmp_path):
    config = tiny(0, 0, 80, checkpoint_every=200, export_every=80)
    assert train(config, bank, tmp_path).finished
    lines = read_metrics(tmp_path)
    assert mean_loss(lines[-8:], "loss") < 0.9 * mean_loss(lines[:4], "loss")
    assert mean_loss(lines[-8:], "pair_accuracy") > 0.6
    assert min(line["patch_spread"] for line in lines) > 0.01
    assert [path.name for path in (tmp_path / "exports").iterdir()] == [
        "collage-000080.safetensors"
    ]


@pytest.mark.parametrize("steps", [(5, 4, 0), (5, 0, 4)])
def test_stopping_after_every_step_changes_nothing(bank, tmp_path, steps):
    config = tiny(*steps)
    whole = train(config, bank, tmp_path / "whole")
    pieces, stops = tmp_path / "pieces", 0
    progress = train(config, bank, pieces, seconds=0)
    while not progress.finished:
        progress = train(config, bank, pieces, seconds=0, resume=pieces / "checkpoint.pt")
        stops += 1
    assert stops == 7  # 9 steps; the last of one phase is followed by the first of the next
    assert progress == whole  # the digest of the weights is part of it
    assert read_metrics(pieces) == read_metrics(tmp_path / "whole")


def test_a_run_begins_with_the_weights_of_another(bank, tmp_path):
    train(tiny(2, 0), bank, tmp_path / "first")
    start = tmp_path / "first" / "exports" / "mae-000002.safetensors"
    config = tiny(0, 0, 3, start=str(start))
    config = dataclasses.replace(
        config, collage=dataclasses.replace(config.collage, learning_rate=1e-12)
    )
    whole = train(config, bank, tmp_path / "second")
    old, new = load(start), load(tmp_path / "second" / "backbone.safetensors")
    for name, value in old.state_dict().items():
        assert torch.allclose(new.state_dict()[name], value, atol=1e-3), name
    pieces, progress = tmp_path / "pieces", train(config, bank, tmp_path / "pieces", seconds=0)
    start.unlink()  # what goes on from a checkpoint needs it no more
    while not progress.finished:
        progress = train(config, bank, pieces, seconds=0, resume=pieces / "checkpoint.pt")
    assert progress == whole


def test_weights_of_another_architecture_are_no_start(bank, tmp_path):
    train(tiny(1, 0), bank, tmp_path)
    start = str(tmp_path / "backbone.safetensors")
    config = tiny(1, 0, start=start)
    config = dataclasses.replace(
        config, architecture=Architecture(patch=8, dim=16, depth=2, heads=2)
    )
    with pytest.raises(DataError, match=r"start: .* is of Architecture.*dim=32"):
        train(config, bank, tmp_path / "second")


def test_half_precision_is_close_to_single(bank, tmp_path):
    losses, scales = [], []
    for precision in ("float32", "bfloat16", "float16"):
        train(tiny(2, 2, precision=precision), bank, tmp_path / precision)
        lines = read_metrics(tmp_path / precision)
        losses.append([line["loss"] for line in lines])
        scales.append([line.get("scale") for line in lines])
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0][0] == pytest.approx(losses[2][0], rel=0.05)
    assert len(set(map(tuple, losses))) == 3
    # the heads' first gradients are in the thousands: scaled, they overflow, and no step is taken
    assert scales == [[None] * 2, [None] * 2, [2.0**16, 2.0**14]]


def test_overflow_in_float16_takes_no_step_and_resumes_exactly(bank, tmp_path, monkeypatch):
    """The scale is part of the checkpoint: 2**40 is far too much for a few steps."""
    first = partial(torch.amp.GradScaler, init_scale=2.0**40)
    monkeypatch.setattr(torch.amp, "GradScaler", first)
    config = tiny(6, 0, precision="float16", log_every=1)
    whole = train(config, bank, tmp_path / "whole")
    lines = read_metrics(tmp_path / "whole")
    skipped = ["gradient_norm" not in line for line in lines]
    assert skipped[0]
    assert [line["scale"] for line in lines[:2]] == [2.0**39, 2.0**38]
    pieces, progress = tmp_path / "pieces", train(config, bank, tmp_path / "pieces", seconds=0)
    while not progress.finished:
        progress = train(config, bank, pieces, seconds=0, resume=pieces / "checkpoint.pt")
    assert progress == whole
    assert read_metrics(pieces) == lines


def test_a_kill_between_checkpoints_leaves_no_double_lines(bank, tmp_path):
    config = tiny(7, 0)
    train(config, bank, tmp_path, seconds=0)
    checkpoint = (tmp_path / "checkpoint.pt").read_bytes()
    whole = train(config, bank, tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(checkpoint)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"phase": "mae", "st')
    assert train(config, bank, tmp_path, resume=tmp_path / "checkpoint.pt") == whole
    assert [line["step"] for line in read_metrics(tmp_path)] == [2, 4, 6, 7]


def test_a_kill_between_the_phases_changes_nothing(bank, tmp_path, monkeypatch):
    config, write = tiny(3, 3), Run.write
    whole = train(config, bank, tmp_path / "whole")

    def write_and_die(run, phase, optimiser, scaler, step):
        write(run, phase, optimiser, scaler, step)
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write", write_and_die)
    with pytest.raises(KeyboardInterrupt):
        train(config, bank, tmp_path)
    monkeypatch.undo()
    assert train(config, bank, tmp_path, resume=tmp_path / "checkpoint.pt") == whole


def test_another_runs_checkpoint_is_refused(bank, tmp_path):
    train(tiny(2, 0), bank, tmp_path, seconds=0)
    with pytest.raises(DataError, match="its config is"):
        train(tiny(2, 0, seed=1), bank, tmp_path, resume=tmp_path / "checkpoint.pt")
    with pytest.raises(DataError, match="its photos is 12"):
        train(tiny(2, 0), Bank(bank.pixels[:5]), tmp_path, resume=tmp_path / "checkpoint.pt")


def test_divergence_stops_the_run(bank, tmp_path):
    config = tiny(6, 0)
    config = dataclasses.replace(config, mae=dataclasses.replace(config.mae, learning_rate=1e30))
    with pytest.raises(TrainingError, match=r"mae step \d: not finite"):
        train(config, bank, tmp_path)


def test_the_teacher_follows_the_student_and_is_what_ships(bank, tmp_path):
    phase = build_phase("distil", tiny(0, 10), None)
    before = [p.clone() for p in phase.teacher.parameters()]
    for p in phase.student.parameters():
        p.data += 1
    phase.after(0)
    momentum = phase.momentum(0)
    assert momentum == pytest.approx(0.992)
    for old, new in zip(before, phase.teacher.parameters(), strict=True):
        assert torch.allclose(new, old + (1 - momentum), atol=1e-5)
    assert phase.momentum(10) == 1
    assert phase.backbone() is phase.teacher.encoder
    assert all(id(p) not in map(id, phase.learned()) for p in phase.teacher.parameters())


def test_compiling_takes_each_block_once_and_changes_no_name(bank, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: seen.append(type(module)))
    plain = train(tiny(1, 1), bank, tmp_path / "plain")
    assert not seen
    assert train(tiny(1, 1, compiled=True), bank, tmp_path / "compiled") == plain
    assert seen == [Block] * (2 + 1 + 2 * 2)  # encoder and decoder; student and teacher


@pytest.mark.parametrize("weight", ["view_weight", "patch_weight"])
def test_each_objective_may_stand_alone(bank, weight):
    """Without it the total is what is left; the weight alone decides."""
    config = tiny(0, 1)
    off = dataclasses.replace(config.distil, **{weight: 0.0})
    totals = []
    for distil in (config.distil, off):
        phase = build_phase("distil", dataclasses.replace(config, distil=distil), None)
        draws = Draws(torch.Generator().manual_seed(0))
        loss, values = phase(bank.pixels[:4], draws, 0, True)
        totals.append((float(loss.detach()), values))
    lost = totals[0][1][weight.replace("weight", "loss")]
    assert totals[1][0] == pytest.approx(totals[0][0] - lost, abs=1e-4)
    assert lost > 0.1


def test_an_epoch_shows_every_photo_once():
    sampler = Sampler(items=10, batch=4, seed=3)
    seen = torch.cat([sampler(step) for step in range(5)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert torch.equal(Sampler(10, 4, 3)(3), sampler(3))
    assert len(Sampler(3, 8, 0)(5)) == 8


def test_learning_rate_warms_up_and_ends_near_zero():
    settings = Mae(steps=100, warmup=10, learning_rate=1.0)
    rates = [learning_rate(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-3


def test_photos_are_squeezed_in_order_and_decoded_once(tmp_path):
    photos = [
        Image("tall", np.full((30, 20, 3), (0, 50, 200), np.uint8)),
        Image("wide", np.full((10, 40, 3), (1, 50, 200), np.uint8)),
    ]
    found = decode(lambda index: photos[index], [1, 0], 16, tmp_path / "photos.u8")
    assert found.pixels.shape == (2, 3, 16, 16)
    assert found.pixels[:, :, 5, 5].tolist() == [[1, 50, 200], [0, 50, 200]]
    again = decode(lambda index: pytest.fail("read again"), [1, 0], 16, tmp_path / "photos.u8")
    assert torch.equal(again.pixels, found.pixels)
    batch = again.batch(torch.tensor([1]), torch.device("cpu"))
    assert batch[0, :, 3, 3].tolist() == [0, 50, 200]
    assert [path.name for path in tmp_path.iterdir()] == ["photos.u8"]


def test_a_photo_that_cannot_be_read_stops_the_run_and_counts_as_not_decoded(tmp_path):
    def read(name: str) -> Image:
        raise DataError(f"{name}: the file is empty")

    with pytest.raises(DataError, match=r"b\.png: the file is empty"):
        decode(read, ["b.png"], 16, tmp_path / "photos.u8")
    assert not (tmp_path / "photos.u8").exists()
    with pytest.raises(DataError, match="no photo"):
        decode(read, [], 16, tmp_path / "photos.u8")


def test_a_disk_too_small_for_the_photos_is_told_with_what_would_fit(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=3000 / 0.9))
    with pytest.raises(DataError, match=r"room for .*: 3 photos, or all of them with side: 14"):
        decode(lambda item: pytest.fail("read"), range(5), 16, tmp_path / "photos.u8")


def test_photos_that_do_not_fit_a_gpu_stay_where_they_are(bank, monkeypatch):
    here = bank.pixels.nbytes
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (int(1.9 * here), 0))
    assert bank.near(torch.device("cuda")) is bank
    assert bank.near(torch.device("cpu")) is bank


def test_the_preset_is_the_default_recipe():
    sections = sections_of.load(yaml.safe_load(PRESET.read_text()))
    assert sections["pretrain"]["shipped"].plugin == Pretrain()


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"mae": {"step": 3}}, r"pretrain\.x\.mae"),
        ({"mae": {"crop": 100}}, "no multiple of 8"),
        ({"distil": {"global_area": [0.5, 0.2]}}, "global_area"),
        ({"mae": {"steps": 0}, "distil": {"steps": 0}}, "nothing to train"),
        ({"collage": {"share": [0.5, 0.2]}}, "collage.share"),
        ({"collage": {"crop": 100}}, "collage.crop: 100 is no multiple of 8"),
        ({"distil": {"view_weight": 0.0, "patch_weight": 0.0}}, "nothing to learn"),
        ({"precision": "float8"}, "'bfloat16', 'float16' or 'float32'"),
        ({"processes": 3}, "mae.batch 1024 cannot be dealt evenly to processes 3"),
    ],
)
def test_wrong_configs_are_refused(section, words):
    with pytest.raises(ConfigError, match=words):
        build(Pretrain, section, "pretrain.x")
