"""Cosine affinities between patches, and the rules that say which cosine joins two of them."""

from __future__ import annotations

import numpy as np

from cleave.types import Size

MARGIN = 1e-6  # cosines closer than this are equal but for float32 round-off
NEAR, FAR = 2.0, 10.0  # patches; our study of features
QUANTILES = np.linspace(0.3, 0.99, 70)  # of the far cosines, the thresholds tried; the same place
Pairs = tuple[np.ndarray, np.ndarray]  # of patches: the one and the other of each, (P,) int64


def normalise(features: np.ndarray) -> np.ndarray:
    """Rows of unit length, (N, C) float32; a row of zeros stays zero."""
    features = np.asarray(features, np.float32)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return np.divide(features, norms, out=np.zeros_like(features), where=norms > 0)


def centre(features: np.ndarray) -> np.ndarray:
    """Subtracts the image's mean feature, (N, C) float32.

    A row that is the mean but for round-off becomes exactly zero: of a constant image nothing is
    left, and not noise that `normalise` would blow up to full length.
    """
    features = np.asarray(features, np.float64)
    centred = features - features.mean(axis=0)
    scale = np.sqrt(np.square(features).sum(axis=1).mean())
    centred[np.linalg.norm(centred, axis=1) <= 1e-5 * scale] = 0
    return centred.astype(np.float32)


def cosine(features: np.ndarray) -> np.ndarray:
    """Cosine similarity of every pair of patches.

    Args:
        features: (N, C) float; rows of zeros are allowed, their cosines are 0.

    Returns:
        (N, N) float32, exactly symmetric.
    """
    unit = normalise(features)
    return unit @ unit.T  # numpy calls BLAS syrk for this: half the work, exactly symmetric


def density_threshold(affinity: np.ndarray, density: float) -> float:
    """The threshold above which lies the given share of all pairs of two different patches.

    The exact order statistic, less a margin so that pairs tied with it but for round-off are
    above: a constant image gives the complete graph.

    Args:
        affinity: (N, N) float32, symmetric.
        density: share of pairs, in (0, 1]; at least one pair is above.
    """
    pairs = np.concatenate([row[i + 1 :] for i, row in enumerate(affinity)])
    if not len(pairs):
        return -1.0
    wanted = max(1, round(density * len(pairs)))
    return float(np.partition(pairs, len(pairs) - wanted)[-wanted]) - MARGIN


def near_far_threshold(
    affinity: np.ndarray, grid: Size, rng: np.random.Generator, pairs: int = 20_000
) -> float:
    """The threshold that best separates pairs of near patches from pairs of far ones.

    argmax over t of P(affinity > t | near) - P(affinity > t | far), as in a Kolmogorov-Smirnov
    test: the equal-prior Bayes threshold between the two, near and far standing in for same and
    other object (our study of features). For features of other origin than DINO's keys, for
    which the papers' constant is meant.

    Near is at most 2 patches apart, far at least 10, by Euclidean distance; on a grid less than 20
    across, far is half its diagonal, and near at most half of that, but neighbours are always near.
    Where no t separates (a constant image), or a grid has no far pair, every pair is above.

    Args:
        affinity: (N, N) float32, symmetric.
        grid: h and w with h * w = N.
        rng: draws the pairs.
        pairs: of each kind, drawn uniformly with replacement.
    """
    drawn = near_far_pairs(grid, rng, pairs)
    if drawn is None:
        return -1.0 - MARGIN
    return separating_threshold(*(affinity[pair] for pair in drawn))


def near_far_pairs(
    grid: Size, rng: np.random.Generator, pairs: int = 20_000
) -> tuple[Pairs, Pairs] | None:
    """The near and the far pairs of `near_far_threshold`; None where there are no two kinds."""
    if grid.height * grid.width < 3:
        return None
    far = min(FAR, 0.5 * np.hypot(grid.height - 1, grid.width - 1))
    near = min(NEAR, max(1.0, 0.5 * far))
    close = _draw(grid, 1.0, near, rng, pairs)
    return close, _draw(grid, max(far, near + 1e-6), np.inf, rng, pairs)


def separating_threshold(near_values: np.ndarray, far_values: np.ndarray) -> float:
    """The rest of `near_far_threshold`, from the cosines of the pairs, (P,) float32 each."""
    thresholds = np.quantile(far_values, QUANTILES).astype(np.float64) + MARGIN
    gain = [np.mean(near_values > t) - np.mean(far_values > t) for t in thresholds]
    if max(gain) <= 0:
        return float(min(near_values.min(), far_values.min())) - MARGIN
    return float(thresholds[np.argmax(gain)])


def _draw(grid: Size, least: float, most: float, rng: np.random.Generator, count: int) -> Pairs:
    """Pairs of patches from `least` to `most` apart, uniform among all such pairs.

    An offset is drawn by the number of places it fits in, then one of the places.
    """
    height, width = grid
    rows, columns = np.mgrid[0:height, 1 - width : width].reshape(2, -1)
    distance = np.hypot(rows, columns)
    fits = (distance >= least) & (distance <= most) & ((rows > 0) | (columns > 0))
    rows, columns = rows[fits], columns[fits]
    places = (height - rows) * (width - np.abs(columns))
    pick = rng.choice(len(rows), size=count, p=places / places.sum())
    down, right = rows[pick], columns[pick]
    row = rng.integers(0, height - down)
    column = rng.integers(np.maximum(0, -right), width - np.maximum(0, right))
    return row * width + column, (row + down) * width + column + right
