"""Percentile intervals of any metric from resamples of the images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cleave.types import Array, DataError, Scores

COVERAGE = 95.0  # per cent


def resamples(images: int, samples: int, seed: int) -> Array:
    """How often each image is drawn in each of `samples` draws with replacement.

    Returns:
        (samples, images) int32; each row sums to `images`. The same for every method that is
        scored on the same number of images, which is what makes differences paired.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(images, size=(samples, images)) if images else np.zeros((samples, 0), int)
    rows = np.repeat(np.arange(samples), images)
    flat = np.bincount(rows * images + drawn.ravel(), minlength=samples * images)
    return flat.reshape(samples, images).astype(np.int32)


def interval(values: Array) -> tuple[float, float] | None:
    """Central interval of (S,) resampled values; NaN is left out, None if nothing remains."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    tail = (100.0 - COVERAGE) / 2
    low, high = np.percentile(defined, [tail, 100.0 - tail])
    return float(low), float(high)


def with_intervals(values: Mapping[str, float], samples: Mapping[str, Array]) -> Scores:
    """Adds `<metric>_low` and `<metric>_high`; leaves out metrics that are not defined (NaN)."""
    scores: Scores = {}
    for name, value in values.items():
        if np.isnan(value):
            continue
        scores[name] = float(value)
        if name in samples and (ends := interval(samples[name])):
            scores[f"{name}_low"], scores[f"{name}_high"] = ends
    return scores


def difference(
    first: Mapping[str, float],
    second: Mapping[str, float],
    first_samples: Mapping[str, Array],
    second_samples: Mapping[str, Array],
) -> Scores:
    """First minus second for each metric of both, with the interval of the paired difference.

    Args:
        first, second: metric to value.
        first_samples, second_samples: metric to (S,) values on the same S resamples of the same
            images.

    Raises:
        DataError: different numbers of resamples.
    """
    values, samples = {}, {}
    for name in first:
        if name in second and name in first_samples and name in second_samples:
            one, other = np.asarray(first_samples[name]), np.asarray(second_samples[name])
            if one.shape != other.shape:
                raise DataError(f"{name}: {len(one)} and {len(other)} resamples; score both alike")
            values[name], samples[name] = first[name] - second[name], one - other
    return with_intervals(values, samples)
