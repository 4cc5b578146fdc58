"""Crops and colours: against naive twins, inside their ranges, and repeatable."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cleave.pretrain import augment  # noqa: E402
from cleave.pretrain.config import Photometric  # noqa: E402
from cleave.pretrain.draws import Draws  # noqa: E402


def generator(seed: int = 0):
    return torch.Generator().manual_seed(seed)


def draw(seed: int = 0, *place: int) -> Draws:
    return Draws(generator(seed), *place)


def photos(count: int = 8, side: int = 24):
    return torch.randint(0, 256, (count, 3, side, side), generator=generator(), dtype=torch.uint8)


def naive_crop(photo: np.ndarray, box, mirror: bool, size: int) -> np.ndarray:
    """Bilinear sampling at the centres of the crop's pixels, one value at a time."""
    side, out = photo.shape[1], np.zeros((3, size, size))
    for i in range(size):
        for j in range(size):
            across = (j + 0.5) / size - 0.5
            x = (box[0] + (-across if mirror else across) * box[2]) * side - 0.5
            y = (box[1] + ((i + 0.5) / size - 0.5) * box[3]) * side - 0.5
            x, y = np.clip(x, 0, side - 1), np.clip(y, 0, side - 1)
            x0, y0 = min(int(x), side - 2), min(int(y), side - 2)
            u, v = x - x0, y - y0
            corner = photo[:, y0 : y0 + 2, x0 : x0 + 2] / 255
            out[:, i, j] = (corner * np.outer([1 - v, v], [1 - u, u])).sum((1, 2))
    return out


def test_crops_equal_their_naive_twin():
    bank = photos(6)
    found = augment.crops(bank, draw(4), size=9, area=(0.2, 0.9)).numpy()
    draws = draw(4)
    boxes = augment.boxes(draws, 6, (0.2, 0.9)).numpy()
    unmirrored = (draws.uniform((6,)) < 0.5).numpy()
    assert len(set(unmirrored.tolist())) == 2
    for k in range(6):
        expected = naive_crop(bank[k].numpy(), boxes[k], not unmirrored[k], 9)
        np.testing.assert_allclose(found[k], expected, atol=1e-4)


def test_boxes_lie_inside_and_cover_the_area_asked():
    boxes = augment.boxes(draw(), 4000, (0.1, 0.5))
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    area = boxes[:, 2] * boxes[:, 3]
    assert float(low.min()) >= -1e-6
    assert float(high.max()) <= 1 + 1e-6
    assert 0.1 - 1e-5 <= float(area.min()) < 0.11
    assert 0.49 < float(area.max()) <= 0.5 + 1e-5


def test_values_stay_in_range_and_repeat():
    how = Photometric()
    runs = []
    for _ in range(2):
        draws = draw(7)
        seen = augment.crops(photos(64), draws, size=16, area=(0.05, 1.0))
        runs.append(augment.photometric(seen, draws, how))
    assert torch.equal(*runs)
    assert float(runs[0].min()) >= 0
    assert float(runs[0].max()) <= 1
    assert runs[0].shape == (64, 3, 16, 16)


def test_nothing_chosen_changes_nothing():
    off = Photometric(jitter_probability=0, grey_probability=0, blur_probability=0)
    pixels = photos().float() / 255
    assert torch.equal(augment.photometric(pixels, draw(), off), pixels)


def test_probabilities_are_kept():
    pixels = torch.rand((3000, 3, 4, 4), generator=generator())
    grey = Photometric(jitter_probability=0, grey_probability=0.2, blur_probability=0)
    out = augment.photometric(pixels, draw(1), grey)
    share = (out[:, 0] == out[:, 1]).flatten(1).all(1).float().mean()
    assert float(share) == pytest.approx(0.2, abs=0.03)


def test_blur_equals_its_naive_twin():
    pixels = torch.rand((2, 3, 10, 12), generator=generator())
    sigma = torch.tensor([0.4, 1.5])
    found = augment.blur(pixels, sigma).numpy()
    for b in range(2):
        kernel = np.exp(-0.5 * (np.arange(-4, 5) / float(sigma[b])) ** 2)
        kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
        padded = np.pad(pixels[b].numpy(), ((0, 0), (4, 4), (4, 4)), mode="reflect")
        for y, x in ((0, 0), (5, 7), (9, 11)):
            expected = (padded[:, y : y + 9, x : x + 9] * kernel).sum((1, 2))
            np.testing.assert_allclose(found[b, :, y, x], expected, atol=1e-5)


def test_a_constant_crop_stays_constant_under_blur():
    assert torch.allclose(augment.blur(torch.full((1, 3, 3, 3), 0.3), torch.tensor([2.0])),
                          torch.tensor(0.3), atol=1e-6)  # fmt: skip


def test_processes_share_the_crops_of_one():
    """Whatever their number; that is what makes a run independent of it."""
    bank = photos(6)

    def seen(rank: int, world: int):
        draws = draw(5, rank, world)
        view = augment.crops(bank[rank::world], draws, size=8, area=(0.2, 0.9))
        scale = draws.uniform((), 1, 2)
        return augment.photometric(view, draws, Photometric()), scale, draws.normal((6 // world,))

    whole, scale, noise = seen(0, 1)
    assert len(set(noise.tolist())) == 6
    for rank in range(3):
        part, part_scale, part_noise = seen(rank, 3)
        assert torch.equal(part, whole[rank::3])
        assert torch.equal(part_noise, noise[rank::3])
        assert part_scale == scale
    assert draw(0, 1, 3).places(4).tolist() == [1, 4, 7, 10]
