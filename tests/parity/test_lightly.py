"""The losses of pre-training against lightly's: DINO, iBOT, KoLeo, Sinkhorn, head, MAE, EMA."""

from __future__ import annotations

import json
import math

import pytest

torch = pytest.importorskip("torch")

import record_lightly as recorded  # noqa: E402

from cleave.pretrain.config import Distil, Pretrain  # noqa: E402
from cleave.pretrain.objectives import (  # noqa: E402
    PrototypeHead,
    koleo_loss,
    patch_loss,
    reconstruction_loss,
    sinkhorn,
    view_loss,
)
from cleave.pretrain.phases import build_phase  # noqa: E402

STUDENT, TEACHER = recorded.STUDENT, recorded.TEACHER


@pytest.fixture(scope="module")
def golden() -> dict:
    return json.loads(recorded.GOLDEN.read_text())


def plain(logits):
    """DINO's targets with a centre of 0, where lightly's begins."""
    return (logits / TEACHER).softmax(-1)


def test_dino(golden):
    targets = [plain(view) for view in recorded.views(0, 2)]
    loss = view_loss(targets, recorded.views(10, recorded.VIEWS), STUDENT)
    assert loss.item() == pytest.approx(golden["dino"], rel=1e-5)


def test_ibot_up_to_the_share_of_masked_crops(golden):
    """lightly divides by all crops, we by those that are masked."""
    crop = recorded.mask().nonzero()[:, 0]
    targets = plain(recorded.masked_patches(1))
    loss = patch_loss(targets, recorded.masked_patches(2), crop, STUDENT)
    share = sum(count > 0 for count in recorded.MASKED) / len(recorded.MASKED)
    assert loss.item() * share == pytest.approx(golden["ibot"], rel=1e-5)


def test_koleo(golden):
    features = recorded.made_up(3, recorded.BATCH, recorded.CHANNELS)
    assert koleo_loss(features).item() == pytest.approx(golden["koleo"], rel=1e-5)


def test_sinkhorn(golden):
    found = sinkhorn(recorded.made_up(4, recorded.BATCH, recorded.PROTOTYPES), TEACHER, 3)
    assert torch.allclose(found, torch.tensor(golden["sinkhorn"]), atol=1e-5)


def test_head(golden):
    head = PrototypeHead(6, 10, 8, recorded.PROTOTYPES)
    head.load_state_dict(recorded.head_weights())
    found = head(recorded.head_input())
    assert torch.allclose(found, torch.tensor(golden["head"]), atol=1e-5)


def test_mae_up_to_the_unbiased_variance(golden):
    """MAE's code, and lightly's, divide by D - 1; the loss of predicting 0 is the mean square."""
    pixels, kept = recorded.patches(), torch.zeros(2, 0, dtype=torch.int64)
    loss = reconstruction_loss(torch.zeros_like(pixels), pixels, kept, 1e-9)
    size = pixels.shape[-1]
    assert loss.item() * (size - 1) / size == pytest.approx(golden["mae"], rel=1e-4)


def test_momentum(golden):
    """lightly reaches the end at the last step, we after it."""
    steps = recorded.STEPS - 1
    phase = build_phase("distil", Pretrain(distil=Distil(steps=steps, momentum=0.99)), None)
    found = [phase.momentum(step) for step in range(recorded.STEPS)]
    assert found == pytest.approx(golden["momentum"], abs=1e-9)
    assert not math.isclose(found[0], found[-1])
