"""Each loss against a twin that adds up one number at a time."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cleave.ops.colour import lab  # noqa: E402
from cleave.solo.losses import (  # noqa: E402
    DILATION,
    NEIGHBOURS,
    axis_losses,
    colour_loss,
    dice_loss,
    focal_loss,
    like_colours,
)
from cleave.types import Size  # noqa: E402


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def dice_naive(predicted, truth, smooth):
    both = sum(p * t for p, t in zip(predicted, truth, strict=True))
    squares = sum(p * p for p in predicted) + sum(t * t for t in truth)
    return 1 - 2 * both / (squares + smooth)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (0.9, 1.5)])
def test_focal_loss_is_the_naive_twins(generator, alpha, gamma):
    logits = torch.randn((6, 3), generator=generator) * 4
    truth = (torch.rand((6, 3), generator=generator) > 0.6).float()
    expected = []
    for value, positive in zip(logits.flatten().tolist(), truth.flatten().tolist(), strict=True):
        p = sigmoid(value) if positive else 1 - sigmoid(value)
        balance = alpha if positive else 1 - alpha
        expected.append(-balance * (1 - p) ** gamma * math.log(p))
    found = focal_loss(logits, truth, alpha=alpha, gamma=gamma)
    torch.testing.assert_close(found.flatten(), torch.tensor(expected), rtol=1e-4, atol=1e-6)


def test_focal_loss_is_finite_for_logits_of_any_size():
    logits = torch.tensor([-200.0, 200.0, -200.0, 200.0], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0.0, 1.0, 1.0, 0.0]), alpha=0.25, gamma=2.0)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0, 0, 50, 150])
    assert logits.grad.isfinite().all()


def test_dice_loss_is_the_naive_twins(generator):
    predicted = torch.rand((4, 5, 6), generator=generator)
    truth = (torch.rand((4, 5, 6), generator=generator) > 0.5).float()
    truth[3] = 0
    pairs = zip(predicted.flatten(1).tolist(), truth.flatten(1).tolist(), strict=True)
    expected = [dice_naive(p, t, 0.002) for p, t in pairs]
    assert dice_loss(predicted, truth).tolist() == pytest.approx(expected, rel=1e-5)
    assert dice_loss(truth[:3], truth[:3]).tolist() == pytest.approx([0] * 3, abs=1e-3)


def test_axis_losses_are_the_naive_twins(generator):
    predicted = torch.rand((3, 4, 6), generator=generator)
    truth = (torch.rand((3, 4, 6), generator=generator) > 0.5).float()
    largest, average = axis_losses(predicted, truth)
    for number, (p, t) in enumerate(zip(predicted.tolist(), truth.tolist(), strict=True)):
        columns = [[list(c) for c in zip(*m, strict=True)] for m in (p, t)]
        for found, over in ((largest, max), (average, lambda v: sum(v) / len(v))):
            rows = [[over(row) for row in m] for m in (p, t)]
            across = [[over(column) for column in m] for m in columns]
            expected = dice_naive(*rows, 1e-5) + dice_naive(*across, 1e-5)
            assert found[number].item() == pytest.approx(expected, rel=1e-5)


def test_a_coarse_mask_only_says_where_an_object_lies_along_each_axis():
    """A diagonal and its mirror image have the same projections."""
    truth = torch.eye(6)[None]
    largest, average = axis_losses(truth.flip(2), truth)
    assert largest.item() == pytest.approx(0, abs=1e-4)
    assert average.item() == pytest.approx(0, abs=1e-4)
    assert dice_loss(truth.flip(2), truth).item() > 0.9


def like_naive(image, frame, least):
    pixels = np.zeros((frame.height, frame.width, 3))
    height, width = image.shape[1:]
    pixels[:height, :width] = image.permute(1, 2, 0).numpy()
    rows, columns = frame.height // 4, frame.width // 4
    colours = np.zeros((rows, columns, 3))
    for row in range(rows):
        for column in range(columns):
            block = pixels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            colours[row, column] = lab(block.mean((0, 1)).astype(np.uint8))
    found = np.zeros((8, rows, columns), bool)
    for number, (down, right) in enumerate(NEIGHBOURS):
        for row in range(rows):
            for column in range(columns):
                y, x = row + down, column + right
                if not (0 <= y < rows and 0 <= x < columns):
                    continue
                if 4 * y + 2 >= height or 4 * x + 2 >= width:
                    continue
                distance = np.linalg.norm(colours[row, column] - colours[y, x])
                found[number, row, column] = math.exp(-distance / 2) >= least
    return found


def test_like_colours_are_the_naive_twins(generator):
    image = torch.rand((3, 26, 35), generator=generator).mul(20).add(100)
    frame = Size(32, 64)
    found = like_colours(image, frame, 0.3).numpy()
    np.testing.assert_array_equal(found, like_naive(image, frame, 0.3))
    assert 0.05 < found.mean() < 0.9
    assert (DILATION, DILATION) in NEIGHBOURS


def colour_naive(logits, truths, alike, scores):
    total, count = 0.0, 0
    for logit, truth, near, score in zip(logits, truths, alike, scores, strict=True):
        for number in range(len(logit)):
            rows, columns = truth[number].any(1), truth[number].any(0)
            for place, (down, right) in enumerate(NEIGHBOURS):
                for row, column in near[place].nonzero().tolist():
                    if not (rows[row] and columns[column]):
                        continue
                    p = sigmoid(logit[number, row, column].item())
                    q = sigmoid(logit[number, row + down, column + right].item())
                    total -= score[number].item() * math.log(p * q + (1 - p) * (1 - q))
                    count += 1
    return total / max(count, 1)


@pytest.mark.parametrize("soft", [False, True])
def test_colour_loss_is_the_naive_twins(generator, soft):
    logits = [torch.randn((n, 8, 8), generator=generator) * 3 for n in (2, 0, 1)]
    truths = [(torch.rand((len(x), 8, 8), generator=generator) > 0.9).float() for x in logits]
    images = [torch.rand((3, 32, 30), generator=generator) * 30 for _ in logits]
    alike = [like_colours(image, Size(32, 32), 0.3) for image in images]
    scores = [torch.rand(len(x), generator=generator) for x in logits]
    found = colour_loss(logits, truths, alike, scores if soft else None)
    factors = scores if soft else [torch.ones(len(x)) for x in logits]
    assert found.item() == pytest.approx(colour_naive(logits, truths, alike, factors), rel=1e-4)
    assert found > 0


def test_a_map_smaller_than_the_distance_has_no_neighbours():
    alike = like_colours(torch.zeros((3, 4, 4)), Size(4, 4), 0.3)
    assert not alike.any()
    logits, truth = torch.zeros((1, 1, 1)), torch.ones((1, 1, 1))
    assert colour_loss([logits], [truth], [alike]).item() == 0
