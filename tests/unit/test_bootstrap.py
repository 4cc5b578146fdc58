"""benchmarks.bootstrap: resamples, intervals and paired differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleave.benchmarks.bootstrap import difference, interval, resamples, with_intervals
from cleave.types import DataError


@given(st.integers(0, 30), st.integers(0, 20), st.integers(0, 99))
def test_every_resample_draws_as_many_images_as_there_are(images, samples, seed):
    drawn = resamples(images, samples, seed)
    assert drawn.shape == (samples, images)
    assert (drawn.sum(1) == images).all()
    assert (drawn >= 0).all()
    np.testing.assert_array_equal(drawn, resamples(images, samples, seed))


def test_resamples_equal_counting_what_was_drawn():
    drawn = np.random.default_rng(3).integers(7, size=(50, 7))
    expected = [[(row == image).sum() for image in range(7)] for row in drawn]
    np.testing.assert_array_equal(resamples(7, 50, 3), expected)


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(size=400)
    drawn = resamples(400, 4000, 0) @ values / 400
    low, high = interval(drawn)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_what_is_not_defined_is_left_out():
    nan = float("nan")
    samples = {"a": np.array([1.0, nan, 3.0]), "b": np.array([nan]), "c": np.array([nan])}
    found = with_intervals({"a": 2.0, "b": 5.0, "c": nan, "count": 4.0}, samples)
    assert found == {"a": 2.0, "a_low": 1.05, "a_high": 2.95, "b": 5.0, "count": 4.0}
    assert all(type(value) is float for value in found.values())


def test_a_paired_difference_is_narrower_than_two_intervals_allow():
    rng = np.random.default_rng(1)
    hard = rng.random(60) * 100  # how hard an image is, alike for both methods
    weights = resamples(60, 500, 0)
    one, other = hard, hard - 2 + rng.normal(size=60)
    samples = [{"m": weights @ method / 60} for method in (one, other)]
    found = difference({"m": one.mean()}, {"m": other.mean()}, *samples)
    assert found["m"] == pytest.approx(one.mean() - other.mean())
    assert 1.5 < found["m_low"] < found["m_high"] < 2.5
    low, high = interval(samples[0]["m"])
    assert high - low > 10


def test_differences_need_the_same_resamples():
    with pytest.raises(DataError, match="score both alike"):
        difference({"m": 1.0}, {"m": 1.0}, {"m": np.zeros(3)}, {"m": np.zeros(4)})
    assert difference({"m": 1.0}, {"n": 1.0}, {"m": np.zeros(3)}, {"n": np.zeros(3)}) == {}
