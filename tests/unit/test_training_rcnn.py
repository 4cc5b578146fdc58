"""The loop on a small cascade: a stop changes no bit, and another network is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from cleave.io.checkpoints import load_state  # noqa: E402
from cleave.ops.seeds import mix  # noqa: E402
from cleave.ops.targets import Targets  # noqa: E402
from cleave.rcnn.network import build  # noqa: E402
from cleave.rcnn.settings import Architecture, Losses  # noqa: E402
from cleave.training.loop import train  # noqa: E402
from cleave.training.schedule import slots  # noqa: E402
from cleave.training.settings import Training  # noqa: E402
from cleave.types import DataError  # noqa: E402

TINY = Architecture(
    trunk="mobilenet_v3_small", norm="sync", fpn_norm="sync", fpn_channels=16,
    anchor_sizes=(16.0, 32.0, 48.0, 64.0, 128.0), rpn_batch=32, rpn_before_nms_train=40,
    rpn_after_nms_train=40, rpn_before_nms_test=60, rpn_after_nms_test=40, roi_batch=16,
    box_width=32, mask_convolutions=1, mask_channels=16, detections=20, ious=(0.5, 0.6),
)  # fmt: skip


def squares(settings: Training, step: int, rank: int, world: int, micro: int):
    """Dark images with one or two bright squares; every fifth place is empty."""
    pairs = [square(step, place) for place in slots(settings, rank, world, micro)]
    return [image for image, _ in pairs], [targets for _, targets in pairs]


def square(step: int, place: int) -> tuple[torch.Tensor, Targets]:
    draw = torch.Generator().manual_seed(mix(7, step, place))
    image = 60 * torch.rand((3, 64, 64 + 16 * (place % 2)), generator=draw)
    count = 0 if (step + place) % 5 == 4 else 1 + place % 2
    masks = torch.zeros((count, *image.shape[1:]), dtype=torch.bool)
    boxes = torch.zeros(count, 4)
    for k in range(count):
        side = int(torch.randint(16, 26, (), generator=draw))
        y = int(torch.randint(0, 64 - side, (), generator=draw))
        x = 32 * k + int(torch.randint(0, 32 - side, (), generator=draw))
        masks[k, y : y + side, x : x + side] = True
        boxes[k] = torch.tensor([x, y, x + side, y + side])
        image[:, masks[k]] += 150
    return image, Targets(boxes, masks, torch.ones(count), torch.zeros(count, dtype=torch.int64))


def run(folder: Path, seconds: float | None = None, architecture=TINY, **changes):
    settings = Training(
        **{"batch": 4, "reference_batch": 4, "learning_rate": 0.02, "warmup_steps": 3,
           "warmup_factor": 0.1, "decay_steps": (), "precise_norm": 2, "workers": 0,
           "log_every": 2, "checkpoint_every": 3, **changes},
    )  # fmt: skip
    torch.manual_seed(0)
    network = build(architecture, Losses(soft_targets=True))
    progress = train(network, lambda *where: squares(settings, *where), settings, folder,
                     seed=5, seconds=seconds)  # fmt: skip
    return progress, network


def test_a_detector_that_stops_after_every_step_is_the_same(tmp_path):
    run(tmp_path / "whole", steps=5, accumulate=2)
    progress = None
    while progress is None or not progress.finished:
        progress, network = run(tmp_path / "pieces", seconds=0, steps=5, accumulate=2)
    for name in ("weights.pt", "metrics.jsonl"):
        files = [(tmp_path / part / name).read_bytes() for part in ("whole", "pieces")]
        assert files[0] == files[1]
    state, _ = load_state(tmp_path / "pieces" / "weights.pt")
    assert all(map(torch.equal, state.values(), network.state_dict().values()))


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    run(tmp_path, seconds=0, steps=5)
    settings = dataclasses.replace(TINY, box_width=48)
    with pytest.raises(DataError, match=r"checkpoint.pt: of another network: .*box_heads.0.fc1"):
        run(tmp_path, architecture=settings, steps=5)
