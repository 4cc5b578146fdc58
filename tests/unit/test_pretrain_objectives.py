"""Each loss against a slow manual version, and the invariants that keep training from collapse."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cleave.pretrain import monitor  # noqa: E402
from cleave.pretrain.draws import Draws  # noqa: E402
from cleave.pretrain.objectives import (  # noqa: E402
    PrototypeHead,
    blob_masks,
    koleo_loss,
    patch_loss,
    random_kept,
    reconstruction_loss,
    sinkhorn,
    update_average,
    view_loss,
)
from cleave.types import Size  # noqa: E402


def generator(seed: int = 0):
    return torch.Generator().manual_seed(seed)


def draw(seed: int = 0, *place: int) -> Draws:
    return Draws(generator(seed), *place)


def normal(*shape: int, seed: int = 0):
    return torch.randn(shape, generator=generator(seed))


def naive_sinkhorn(logits: np.ndarray, temperature: float, iterations: int) -> np.ndarray:
    """DINOv2's loop on exponentials, in float64."""
    q = np.exp(logits.astype(np.float64) / temperature)
    for _ in range(iterations):
        for k in range(q.shape[1]):
            q[:, k] /= q[:, k].sum() * q.shape[1]
        for b in range(q.shape[0]):
            q[b] /= q[b].sum() * q.shape[0]
    return q * q.shape[0]


@pytest.mark.parametrize("shape", [(6, 4), (5, 9), (1, 3)])
def test_sinkhorn_equals_its_naive_twin(shape):
    logits = normal(*shape).clamp(-1, 1)
    expected = naive_sinkhorn(logits.numpy(), 0.1, 3)
    np.testing.assert_allclose(sinkhorn(logits, 0.1, 3).numpy(), expected, atol=1e-5)


def test_sinkhorn_uses_every_prototype_equally_and_does_not_overflow():
    logits = normal(64, 8) + 3 * torch.arange(8)  # all rows like prototype 7 best
    targets = sinkhorn(logits, 0.04, 200)
    assert torch.allclose(targets.sum(1), torch.ones(64), atol=1e-5)
    assert torch.allclose(targets.sum(0), torch.full((8,), 8.0), atol=0.5)
    assert monitor.prototypes_used(targets) == 8
    assert monitor.prototypes_used(logits.softmax(1)) < 3


def test_view_loss_equals_its_naive_twin():
    targets = [normal(3, 5, seed=s).softmax(1) for s in (1, 2)]
    logits = [normal(3, 5, seed=s) for s in (3, 4, 5)]
    terms = []
    for t, target in enumerate(targets):
        for s, logit in enumerate(logits):
            if s != t:
                for b in range(3):
                    z = [math.exp(float(v) / 0.1) for v in logit[b]]
                    terms.append(
                        -sum(p * math.log(v / sum(z)) for p, v in zip(target[b], z, strict=True))
                    )
    assert float(view_loss(targets, logits, 0.1)) == pytest.approx(float(np.mean(terms)), rel=1e-4)


def test_patch_loss_weighs_every_crop_the_same():
    targets, logits = normal(4, 6, seed=1).softmax(1), normal(4, 6, seed=2)
    crop = torch.tensor([0, 2, 2, 2])
    rows = -(targets * (logits / 0.1).log_softmax(1)).sum(1)
    expected = (rows[0] + rows[1:].mean()) / 2
    assert float(patch_loss(targets, logits, crop, 0.1)) == pytest.approx(float(expected), rel=1e-5)


def test_koleo_equals_its_naive_twin_and_spreads():
    features = normal(6, 4)
    unit = (features / features.norm(dim=1, keepdim=True)).double().numpy()
    nearest = [min(np.linalg.norm(unit[i] - unit[j]) for j in range(6) if j != i) for i in range(6)]
    assert float(koleo_loss(features)) == pytest.approx(-np.mean(np.log(nearest)), rel=1e-4)
    close = torch.ones(6, 4) + 1e-3 * features
    assert koleo_loss(close) > koleo_loss(features)
    equal = torch.ones(3, 4, requires_grad=True)
    koleo_loss(equal).backward()
    assert bool(equal.grad.isfinite().all())


def test_reconstruction_loss_counts_hidden_patches_only():
    predicted, patches = normal(2, 5, 12, seed=1), normal(2, 5, 12, seed=2)
    kept = torch.tensor([[0, 3], [4, 1]])
    errors = []
    for b in range(2):
        for n in set(range(5)) - set(kept[b].tolist()):
            values = patches[b, n].numpy()
            target = (values - values.mean()) / (values.std() + 0.01)
            errors.append(np.square(predicted[b, n].numpy() - target).mean())
    loss = reconstruction_loss(predicted, patches, kept, 0.01)
    assert float(loss) == pytest.approx(float(np.mean(errors)), rel=1e-5)


def test_kept_patches_are_distinct_and_as_many_as_asked():
    kept = random_kept(draw(), 7, 16, 0.75)
    assert kept.shape == (7, 4)
    assert all(len(set(row)) == 4 for row in kept.tolist())
    assert random_kept(draw(), 2, 1, 0.75).shape == (2, 1)
    assert not torch.equal(kept, random_kept(draw(1), 7, 16, 0.75))


def test_blob_masks_have_the_share_asked_and_hang_together():
    masks = blob_masks(draw(), 200, Size(16, 16), crops=0.5, share=(0.1, 0.5))
    share = masks.float().mean(1)
    assert bool((share[:100] >= 0.1 - 1 / 256).all() and (share[:100] <= 0.5 + 1 / 256).all())
    assert not bool(masks[100:].any())
    assert share[:100].min() < 0.15 < 0.45 < share[:100].max()
    grid = masks[:100].reshape(100, 16, 16)
    neighbours = (grid[:, 1:] == grid[:, :-1]).float().mean()
    assert neighbours > 0.85  # independent patches at these shares agree in 58 % of the pairs


def test_processes_mask_the_crops_that_one_would():
    how = {"crops": 0.5, "share": (0.1, 0.5)}
    whole = blob_masks(draw(2), 6, Size(4, 4), **how)
    for rank in range(3):
        assert torch.equal(blob_masks(draw(2, rank, 3), 2, Size(4, 4), **how), whole[rank::3])


def test_average_equals_its_naive_twin():
    torch.manual_seed(0)
    student = PrototypeHead(4, 8, 6, 5)
    teacher = copy.deepcopy(student)
    for p in student.parameters():
        p.data += 1
    expected = [0.9 * t.double() + 0.1 * s.double() for t, s in
                zip(teacher.parameters(), student.parameters(), strict=True)]  # fmt: skip
    update_average(teacher, student, 0.9)
    for found, value in zip(teacher.parameters(), expected, strict=True):
        assert torch.allclose(found.double(), value, atol=1e-6)


def test_head_gives_cosines():
    logits = PrototypeHead(4, 8, 6, 5)(normal(3, 4))
    assert logits.shape == (3, 5)
    assert float(logits.detach().abs().max()) <= 1 + 1e-5


def test_monitors_know_the_two_extremes():
    sphere, point = normal(4000, 16), torch.ones(4000, 16)
    assert monitor.unit_spread(sphere) == pytest.approx(0.25, rel=0.02)
    assert monitor.unit_spread(point) == pytest.approx(0, abs=1e-6)
    assert monitor.effective_rank(sphere) > 15
    assert monitor.effective_rank(point) == pytest.approx(1, abs=0.01)
    assert monitor.entropy(torch.zeros(3, 7), 0.1) == pytest.approx(math.log(7))
    assert monitor.assignment_entropy(torch.eye(7)) == 0
    assert monitor.assignment_entropy(torch.full((2, 7), 1 / 7)) == pytest.approx(math.log(7))
    assert monitor.entropy(100 * torch.eye(7), 0.1) == pytest.approx(0, abs=1e-6)
