"""Neighbour-LDA's matrices against the definition, pair by pair, and what LDA promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.ops.scatter import disc_sums, discriminants, scatters


def pairwise(cells, radius):
    """The naive twin: every cell about the mean, every near pair once."""
    height, width, channels = cells.shape
    mean = cells.reshape(-1, channels).mean(0)
    total, near, pairs = np.zeros((channels, channels)), np.zeros((channels, channels)), 0
    places = list(np.ndindex(height, width))
    for n, (i, j) in enumerate(places):
        total += np.outer(cells[i, j] - mean, cells[i, j] - mean)
        for k, m in places[n + 1 :]:
            if (i - k) ** 2 + (j - m) ** 2 <= radius**2:
                difference = cells[i, j] - cells[k, m]
                near += np.outer(difference, difference) / 2
                pairs += 1
    return total, near, pairs


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_scatters_equal_their_naive_twin(height, width, radius, seed):
    cells = np.random.default_rng(seed).normal(3, 2, size=(height, width, 3))
    total, near, pairs = scatters(cells, radius)
    expected = pairwise(cells, radius)
    np.testing.assert_allclose(total, expected[0], atol=1e-9)
    np.testing.assert_allclose(near, expected[1], atol=1e-9)
    assert pairs == expected[2]


def test_the_mean_of_an_image_does_not_count():
    cells = np.random.default_rng(0).normal(size=(5, 7, 4))
    for one, other in zip(scatters(cells, 2)[:2], scatters(cells + 1e3, 2)[:2], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_disc_sums_count_the_cells_of_a_disc(radius):
    inside = disc_sums(np.ones((15, 15, 1)), radius)[7, 7, 0]
    assert inside == {1: 5, 2: 13, 3: 29}[radius]


def test_discriminants_solve_their_equation():
    rng = np.random.default_rng(2)
    total, near = (a @ a.T for a in rng.normal(size=(2, 6, 20)))
    ratios, directions = discriminants(total, near, 4, 0.0)
    assert (np.diff(ratios) < 0).all()
    np.testing.assert_allclose(total @ directions, near @ directions * ratios, rtol=1e-4)
    np.testing.assert_allclose(directions.T @ near @ directions, np.eye(4), atol=1e-5)
    every = rng.normal(size=(6, 1000))
    quotients = np.einsum("ci,cd,di->i", every, total, every)
    quotients /= np.einsum("ci,cd,di->i", every, near, every)
    assert ratios[0] * (1 + 1e-5) >= quotients.max()


def test_a_smooth_channel_comes_first_and_noise_has_the_ratio_one():
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[0:30, 0:30] / 30
    smooth, noise = np.sin(4 * rows + columns), rng.normal(size=(30, 30, 2))
    total, near, pairs = scatters(np.concatenate([noise, smooth[..., None]], -1), 3)
    ratios, directions = discriminants(total / 900, near / pairs, 3, 1e-6)
    assert np.abs(directions[:, 0]).argmax() == 2
    assert ratios[0] > 10
    np.testing.assert_allclose(ratios[1:], 1, atol=0.1)


def test_a_channel_that_hardly_varies_comes_last():
    rng = np.random.default_rng(4)
    cells = rng.normal(size=(12, 12, 3))
    cells[..., 1] = 1e-9 * np.arange(12)  # smooth, and round-off
    total, near, pairs = scatters(cells, 2)
    ratios, directions = discriminants(total / 144, near / pairs, 2, 1e-4)
    np.testing.assert_allclose(ratios, 1, atol=0.2)
    assert np.abs(directions[1]).max() < 0.1
