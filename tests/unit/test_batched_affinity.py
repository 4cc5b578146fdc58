"""Affinities in torch, on the CPU in a GPU's place, against those in NumPy."""

import numpy as np
import pytest
import torch

from cleave.ops import affinity, bits, importance
from cleave.ops.batched import affinity as batched
from cleave.types import Size

ROUND_OFF = 2e-6


def features(seed: int = 0, n: int = 180, channels: int = 24) -> np.ndarray:
    """Rows of a few kinds with noise, an offset, and two of zeros."""
    rng = np.random.default_rng(seed)
    kinds = rng.standard_normal((4, channels))[rng.integers(0, 4, n)]
    rows = (kinds + 0.5 * rng.standard_normal((n, channels)) + 0.2).astype(np.float32)
    rows[[3, 50]] = 0
    return rows


def cosines(rows: np.ndarray, centre: bool = False) -> torch.Tensor:
    return batched.cosine(batched.unit_rows(torch.as_tensor(rows), centre))


@pytest.mark.parametrize("centre", [False, True])
def test_cosines_are_those_of_numpy(centre):
    rows = features()
    ours = cosines(rows, centre).numpy()
    expected = affinity.cosine(affinity.centre(rows) if centre else rows)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=ROUND_OFF)
    assert not ours[3].any() or centre


@pytest.mark.parametrize("n", [1, 2, 30])
def test_nothing_is_left_of_a_constant_image(n):
    rows = np.tile(features()[0], (n, 1))
    assert not batched.unit_rows(torch.as_tensor(rows), True).any()
    assert cosines(rows).min() > 1 - ROUND_OFF


@pytest.mark.parametrize("indexing", ["symmetric", "row", "product", "min", "max"])
def test_sharpening_is_that_of_numpy(indexing):
    rows = features()
    d = np.random.default_rng(1).uniform(0.2, 1, (12, 15)).astype(np.float32)
    expected = importance.sharpen(affinity.cosine(rows), d, indexing)
    ours = batched.sharpen(cosines(rows), torch.as_tensor(d), indexing).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-5)  # of cosines near 0 a power is steep
    assert ours.min() >= importance.LOWEST


def test_an_unknown_indexing_is_refused():
    with pytest.raises(ValueError, match="'column'"):
        batched.sharpen(cosines(features()), torch.ones(180), "column")


@pytest.mark.parametrize("density", [1e-9, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 2, 180])
def test_the_density_threshold_is_the_same_order_statistic(density, n):
    values = affinity.cosine(features()[:n])
    expected = affinity.density_threshold(values, density)
    assert batched.density_threshold(torch.as_tensor(values), density) == expected


@pytest.mark.parametrize("grid", [Size(1, 1), Size(1, 2), Size(1, 3), Size(12, 15), Size(3, 60)])
def test_the_near_far_threshold_is_from_the_same_pairs(grid):
    values = affinity.cosine(features()[: grid.height * grid.width])
    expected = affinity.near_far_threshold(values, grid, np.random.default_rng(5))
    ours = batched.near_far_threshold(torch.as_tensor(values), grid, np.random.default_rng(5))
    assert ours == expected


@pytest.mark.parametrize("threshold", [0.15, -0.5, -1.1])
@pytest.mark.parametrize("n", [1, 8, 9, 180])
def test_edges_are_packed_as_on_the_cpu(threshold, n):
    rows = features()[:n]
    unit = batched.unit_rows(torch.as_tensor(rows), False)
    values = batched.cosine(unit)
    expected = bits.clear(bits.pack(values.numpy() > threshold), ~rows.any(axis=1))
    ours = batched.edges(values, threshold, unit)
    assert ours.dtype == np.uint8
    assert np.array_equal(ours, expected)


def test_edges_are_symmetric_where_round_off_is_not():
    values = torch.full((3, 3), 0.5)
    values[0, 1], values[2, 0] = 0.5 + 1e-6, 0.5 + 1e-6
    ours = bits.unpack(batched.edges(values, 0.5, torch.ones(3, 1)), 3)
    assert np.array_equal(ours, [[0, 1, 0], [1, 0, 0], [0, 0, 0]])


def test_a_threshold_is_met_in_float32():
    """0.15 is not a float32: a cosine of float32(0.15) is not above it, here as in NumPy."""
    values = np.full((2, 2), 0.15, np.float32)
    assert not (values > 0.15).any()
    assert not batched.edges(torch.as_tensor(values), 0.15, torch.ones(2, 1)).any()


@pytest.mark.parametrize("shape", [(3, 16), (4, 17), (1, 1)])
def test_packing_is_numpys(shape):
    matrix = np.random.default_rng(0).random(shape) < 0.5
    assert np.array_equal(batched.pack(torch.as_tensor(matrix)).numpy(), bits.pack(matrix))
