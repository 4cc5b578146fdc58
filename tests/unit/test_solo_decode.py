"""From what cells say to masks, against loops over cells and pixels."""

import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from augment_twins import bilinear  # noqa: E402
from solo_samples import TINY  # noqa: E402

from cleave.solo import decode as module  # noqa: E402
from cleave.solo.decode import LEVEL_STRIDES, decode, enlarge, peaks  # noqa: E402
from cleave.solo.network import dynamic  # noqa: E402
from cleave.types import Size  # noqa: E402

CELLS = sum(n * n for n in TINY.grids)
PARTS = dataclasses.replace(TINY, classes=2, score_floor=0.3, before_nms=40, detections=12)


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def prediction(seed):
    generator = torch.Generator().manual_seed(seed)
    categories = torch.randn((CELLS, 2), generator=generator) * 2 - 1
    kernels = torch.randn((CELLS, 16), generator=generator)
    kernels[:, 2] += 2  # so that cells share much of their masks
    coarse = torch.randn((1, 16, 4, 6), generator=generator)
    features = torch.nn.functional.interpolate(coarse, scale_factor=4.0, mode="bilinear")[0]
    return categories, kernels, features


def peaks_naive(scores, grid):
    kept = np.zeros((grid, grid))
    for row in range(grid):
        for column in range(grid):
            window = [
                scores[y, x]
                for y in (row - 1, row)
                for x in (column - 1, column)
                if y >= 0 and x >= 0
            ]
            if scores[row, column] == max(window):
                kept[row, column] = scores[row, column]
    return kept


def matrix_naive(masks, scores, labels, sigma):
    """Best first: each score times the least of f(iou) / f(largest iou of the better one)."""
    lowered = []
    overlap = np.zeros((len(masks), len(masks)))
    for j in range(len(masks)):
        for i in range(j):
            if labels[i] == labels[j]:
                overlap[i, j] = (masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum()
    for j in range(len(masks)):
        factors = [
            math.exp(-sigma * overlap[i, j] ** 2) / math.exp(-sigma * max(overlap[:i, i]) ** 2)
            if i
            else math.exp(-sigma * overlap[i, j] ** 2)
            for i in range(j)
        ]
        lowered.append(scores[j] * min([1.0, *factors]))
    return lowered


def decode_naive(categories, kernels, features, parts):
    scores = sigmoid(categories.numpy().astype(float))
    candidates, first = [], 0
    for grid, stride in zip(parts.grids, LEVEL_STRIDES, strict=True):
        for label in range(parts.classes):
            level = scores[first : first + grid**2, label].reshape(grid, grid)
            for row, column in np.argwhere(peaks_naive(level, grid) > parts.score_floor):
                kernel = kernels[first + row * grid + column].numpy().astype(float)
                soft = sigmoid(np.einsum("e,ehw->hw", kernel, features.numpy().astype(float)))
                mask = soft > parts.mask_threshold
                if mask.sum() > stride:
                    score = level[row, column] * soft[mask].mean()
                    candidates.append((score, label, mask))
        first += grid**2
    candidates = sorted(candidates, key=lambda c: -c[0])[: parts.before_nms]
    scores, labels, masks = zip(*candidates, strict=True)
    lowered = matrix_naive(masks, scores, labels, parts.nms_sigma)
    best = sorted(range(len(lowered)), key=lambda i: -lowered[i])[: parts.detections]
    best = [i for i in best if lowered[i] >= parts.nms_floor]
    return [masks[i] for i in best], [lowered[i] for i in best], [labels[i] for i in best]


@pytest.mark.parametrize("floor", [0.05, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_decoding_is_the_naive_twins(monkeypatch, seed, floor):
    monkeypatch.setattr(module, "AT_ONCE", 7 * 16 * 24)  # several parts
    parts = dataclasses.replace(PARTS, nms_floor=floor)
    soft, scores, labels = decode(*prediction(seed), parts)
    masks, expected, kinds = decode_naive(*prediction(seed), parts)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert labels.tolist() == kinds
    np.testing.assert_array_equal((soft > parts.mask_threshold).numpy(), np.array(masks))
    assert (len(scores) == parts.detections) == (floor == 0.05)


def test_no_cell_above_the_floor_gives_no_mask():
    categories, kernels, features = prediction(0)
    soft, scores, labels = decode(categories - 50, kernels, features, PARTS)
    assert soft.shape == (0, 16, 24)
    assert len(scores) == len(labels) == 0


def test_peaks_are_the_naive_twins():
    scores = prediction(1)[0].sigmoid()
    scores[:5] = 0.7  # equal neighbours all stay
    found, first = peaks(scores, TINY.grids).numpy(), 0
    for grid in TINY.grids:
        level = slice(first, first + grid**2)
        for label in range(2):
            expected = peaks_naive(scores[level, label].numpy().reshape(grid, grid), grid)
            np.testing.assert_array_equal(found[level, label].reshape(grid, grid), expected)
        first += grid**2


def test_a_dynamic_convolution_is_a_1_x_1_convolution_with_the_kernel_as_weights():
    _, kernels, features = prediction(2)
    expected = [
        torch.nn.functional.conv2d(features[None], kernel[None, :, None, None])[0, 0]
        for kernel in kernels[:20]
    ]
    torch.testing.assert_close(dynamic(kernels[:20], features), torch.stack(expected))
    assert dynamic(kernels[:0], features).shape == (0, 16, 24)


@pytest.mark.parametrize("original", [Size(40, 50), Size(9, 11), Size(1, 1)])
def test_masks_are_enlarged_cut_out_of_the_padding_and_resized(monkeypatch, original):
    monkeypatch.setattr(module, "AT_ONCE", 1)  # one mask after another
    soft = torch.rand((2, 8, 8), generator=torch.Generator().manual_seed(0))
    found = enlarge(soft, Size(27, 30), original, 0.5)
    for number in range(2):
        whole = bilinear(soft[number].numpy(), 32, 32)[:27, :30]
        expected = bilinear(whole, *original)
        clear = np.abs(expected - 0.5) > 1e-5
        np.testing.assert_array_equal(found[number][clear], (expected > 0.5)[clear])
