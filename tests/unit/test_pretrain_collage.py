"""Collages against a slow manual version: what lies where, which pairs count, and the loss."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cleave.pretrain.collage import (  # noqa: E402
    compose,
    grouping,
    in_order,
    owners,
    shapes,
    unlikeness,
)
from cleave.pretrain.config import Collage  # noqa: E402
from cleave.pretrain.draws import Draws  # noqa: E402

HOW = Collage(crop=32, pieces=3)


def draw(seed: int = 0, *place: int) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), *place)


def flat_photos(count: int, side: int = 40):
    """Photos of one colour each: a pixel tells which photo it is of."""
    levels = torch.arange(count, dtype=torch.uint8) * (250 // count)
    return levels[:, None, None, None].expand(count, 3, side, side).contiguous()


def test_each_pixel_shows_the_photo_that_it_is_said_to_be_of():
    """Flat photos: below the seams the owner can be read off the colour."""
    photos = flat_photos(8)
    pixels, owner = compose(photos, draw(), HOW)
    assert pixels.shape == (8, 3, 32, 32)
    assert owner.shape == (8, 32, 32)
    level = pixels[:, 0] * 255
    for row, (seen, owned) in enumerate(zip(level, owner, strict=True)):
        ground = float(photos[row, 0, 0, 0])
        kinds = {int(k): seen[owned == k] for k in owned.unique()}
        middles = {k: float(v.median()) for k, v in kinds.items()}
        if 0 in middles and len(kinds[0]) > 64:
            assert middles[0] == pytest.approx(ground, abs=0.5)
        for kind, value in middles.items():
            if kind and len(kinds[kind]) > 64:
                assert abs(value - ground) > 10  # of another photo
                away = (photos[:, 0, 0, 0].float() - value).abs()
                assert float(away.min()) < 0.5  # of one of the batch


def test_pieces_of_the_photo_itself_are_its_own():
    photos = flat_photos(4)
    pixels, owner = compose(photos, draw(), replace(HOW, own=1.0))
    assert not owner.any()
    assert torch.allclose(pixels[:, 0] * 255, photos[:, 0, :32, :32].float(), atol=1e-3)
    _, owner = compose(photos, draw(), replace(HOW, own=0.0))
    assert owner.flatten(1).any(1).all()  # each collage has a piece at least


def test_two_processes_make_the_collages_of_one(monkeypatch):
    """Each keeps its own rows of every draw, and cuts its pieces from the photos of both."""
    photos = flat_photos(8)
    whole = compose(photos, draw(3), HOW)
    gathered = torch.cat([photos[0::2], photos[1::2]])
    monkeypatch.setattr("cleave.pretrain.collage.processes.gathered", lambda _: gathered)
    monkeypatch.setattr("cleave.pretrain.collage.processes.place", lambda: (0, 2))
    for rank in (0, 1):
        part = compose(photos[rank::2], draw(3, rank, 2), HOW)
        assert torch.equal(part.pixels, whole.pixels[rank::2])
        assert torch.equal(part.owner, whole.owner[rank::2])


def test_rows_of_processes_come_back_in_order(monkeypatch):
    monkeypatch.setattr("cleave.pretrain.collage.processes.place", lambda: (0, 3))
    rows = torch.arange(12)
    gathered = torch.cat([rows[rank::3] for rank in range(3)])
    assert torch.equal(in_order(gathered), rows)


@pytest.mark.parametrize("share", [0.03, 0.2, 0.5])
def test_a_piece_covers_what_it_should(share):
    """At most an eighth of the cells off: an outline through them is smoothed."""
    seen = torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    cover = shapes(seen, draw(), replace(HOW, crop=64, share=(share, share)))
    assert 0 <= float(cover.min()) <= float(cover.max()) <= 1
    assert (cover.mean((1, 2)) - share).abs().max() < max(0.015, share / 8)
    assert float(((cover > 0.1) & (cover < 0.9)).float().mean()) < 0.25  # a seam, not a haze


def test_unlikeness_equals_its_naive_twin():
    seen = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    centre = torch.tensor([[-0.9, 0.3], [0.99, -0.4]])
    found = unlikeness(seen, centre, 8).numpy()
    for image, (y, x) in enumerate(centre.tolist()):
        cells = seen[image].numpy().reshape(3, 8, 4, 8, 4).mean((2, 4))
        smooth = np.zeros_like(cells)
        for i in range(8):
            for j in range(8):
                near = cells[:, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
                smooth[:, i, j] = near.mean((1, 2))
        at = int((y + 1) / 2 * 8), int((x + 1) / 2 * 8)
        distance = np.zeros((8, 8))
        for i in range(8):
            for j in range(8):
                distance[i, j] = math.dist(smooth[:, i, j], smooth[:, at[0], at[1]])
        np.testing.assert_allclose(found[image], distance / (distance.mean() + 1e-3), atol=1e-4)


def test_owners_equal_their_naive_twin():
    owner = torch.randint(0, 3, (2, 4, 6), generator=torch.Generator().manual_seed(4))
    owner = owner.repeat_interleave(5, 1).repeat_interleave(5, 2)[:, 2:18, 1:25]  # across patches
    most, whole = owners(owner.contiguous(), 8, 2)
    for b in range(2):
        for n in range(6):
            y, x = divmod(n, 3)
            patch = owner[b, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].flatten()
            counts = np.bincount(patch.numpy(), minlength=3)
            assert int(most[b, n]) == counts.argmax()
            assert bool(whole[b, n]) == (counts.max() >= 0.9 * 64)


def naive_grouping(tokens, owner, whole, scale: float, bias: float) -> tuple[float, float]:
    """Over pairs one by one; every owner, and every two owners, have the same weight."""
    losses, rights = [], []
    for x, kinds, counted in zip(tokens.double().numpy(), owner, whole, strict=True):
        x = x - x.mean(0)
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        groups: dict[tuple[bool, int, int], list[float]] = {}
        sizes = {int(k): int(((kinds == k) & counted).sum()) for k in kinds.unique()}
        for i in range(len(x)):
            for j in range(len(x)):
                a, b = int(kinds[i]), int(kinds[j])
                if i != j and counted[i] and counted[j] and sizes[a] > 1 and sizes[b] > 1:
                    score = scale * (x[i] @ x[j] - bias)
                    groups.setdefault((a == b, a, b), []).append(score)
        halves = []
        for same in (True, False):
            sign = 1 if same else -1
            chosen = {k: v for k, v in groups.items() if k[0] == same}
            if not chosen:
                break
            # of one owner n (n - 1) pairs stand for n * n, hence (n - 1) / n
            weigh = [(sizes[k[1]] - 1) / sizes[k[1]] if same else 1.0 for k in chosen]
            mean = [np.mean([np.log1p(np.exp(-sign * s)) for s in v]) for v in chosen.values()]
            right = [np.mean([(s > 0) == same for s in v]) for v in chosen.values()]
            halves.append((np.average(mean, weights=weigh), np.average(right, weights=weigh)))
        if len(halves) == 2:
            losses.append(np.mean([half[0] for half in halves]))
            rights.append(np.mean([half[1] for half in halves]))
    return float(np.mean(losses)), float(np.mean(rights))


def case(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(4, 12, 5, generator=generator)
    owner = torch.randint(0, 3, (4, 12), generator=generator)
    owner[1] = 0  # one photo alone: left out
    owner[2, 1:] = 0
    owner[2, 0] = 2  # one patch of a piece: nothing to pair it with
    whole = torch.rand(4, 12, generator=generator) < 0.8
    return tokens, owner, whole


@pytest.mark.parametrize("seed", range(3))
def test_grouping_equals_its_naive_twin(seed):
    tokens, owner, whole = case(seed)
    scale, bias = torch.tensor(4.0), torch.tensor(0.2)
    loss, accuracy = grouping(tokens, owner, whole, scale, bias)
    expected = naive_grouping(tokens, owner, whole, 4.0, 0.2)
    assert (float(loss), float(accuracy)) == pytest.approx(expected, rel=1e-5)


def test_what_straddles_a_seam_or_is_alone_teaches_nothing():
    tokens, owner, whole = case()
    tokens.requires_grad_(True)
    loss, _ = grouping(
        tokens - tokens.mean(1, keepdim=True), owner, whole, torch.tensor(4.0), torch.tensor(0.2)
    )
    loss.backward()
    assert not tokens.grad[1].any()
    assert not tokens.grad[2].any()
    nothing = grouping(tokens, owner, torch.zeros_like(whole), torch.tensor(4.0), torch.tensor(0.2))
    assert float(nothing.loss.detach()) == 0


def test_groups_that_lie_apart_have_nearly_no_loss():
    owner = torch.arange(3).repeat_interleave(4)[None]
    tokens = torch.eye(3)[owner]
    found = grouping(
        tokens,
        owner,
        torch.ones_like(owner, dtype=torch.bool),
        torch.tensor(40.0),
        torch.tensor(0.2),
    )
    assert float(found.loss) < 1e-3
    assert float(found.accuracy) == pytest.approx(1)
