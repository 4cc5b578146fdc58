import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.ops import affinity
from cleave.types import Size


def features(n: int, channels: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, channels)).astype(np.float32)


def random_affinity(n: int, seed: int = 0) -> np.ndarray:
    return affinity.cosine(features(n, seed=seed))


def pairs_of(matrix: np.ndarray) -> np.ndarray:
    return matrix[np.triu_indices(len(matrix), 1)]


def test_cosine_equals_the_definition():
    rows = features(37).astype(np.float64)
    expected = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a in rows] for b in rows]
    found = affinity.cosine(rows)
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array(expected), abs=1e-6)
    assert np.array_equal(found, found.T)


def test_zero_rows_stay_zero():
    rows = features(5)
    rows[2] = 0
    assert not affinity.normalise(rows)[2].any()
    found = affinity.cosine(rows)
    assert not found[2].any()
    assert not found[:, 2].any()


def test_centring_subtracts_the_mean():
    rows = features(50) + 3
    assert affinity.centre(rows) == pytest.approx(rows - rows.mean(0), abs=1e-6)


def test_centring_leaves_nothing_of_a_constant_image():
    rows = np.tile(features(1) * 7, (100, 1))
    noisy = rows * (1 + 1e-7 * features(100))
    assert not affinity.centre(rows).any()
    assert not affinity.centre(noisy).any()


@given(st.integers(2, 30), st.floats(0.001, 1), st.integers(0, 99))
@settings(deadline=None)
def test_density_threshold_joins_the_most_similar_pairs(n, density, seed):
    matrix = random_affinity(n, seed)
    descending = np.sort(pairs_of(matrix))[::-1]
    wanted = max(1, round(density * len(descending)))
    threshold = affinity.density_threshold(matrix, density)
    above = pairs_of(matrix) > threshold
    assert threshold == pytest.approx(descending[wanted - 1], abs=2e-6)
    assert above.sum() >= wanted
    assert (above & (pairs_of(matrix) < descending[wanted - 1] - 2e-6)).sum() == 0


def test_density_threshold_takes_all_ties():
    matrix = np.eye(6, dtype=np.float32)
    matrix[:3, :3] = 1 - 6e-8 * np.arange(9).reshape(3, 3)  # equal but for round-off
    joined = matrix > affinity.density_threshold(matrix, 0.1)
    assert joined[:3, :3].all()
    assert not joined[0, 3:].any()


def test_density_threshold_of_a_constant_image_joins_all():
    matrix = affinity.cosine(np.tile(features(1), (50, 1)))
    assert (matrix > affinity.density_threshold(matrix, 0.2)).all()
    assert affinity.density_threshold(np.ones((1, 1), np.float32), 0.5) < 1


def two_halves(grid: Size, noise: float) -> np.ndarray:
    """Features of an image whose left and right halves differ."""
    rng = np.random.default_rng(0)
    side = np.tile(np.arange(grid.width) >= grid.width // 2, grid.height)
    return np.eye(8)[side.astype(int)] + noise * rng.standard_normal((len(side), 8))


def naive_near_far(matrix: np.ndarray, grid: Size, near: float, far: float) -> np.ndarray:
    """The gain at each threshold from all pairs, without sampling."""
    position = np.stack(np.divmod(np.arange(grid.height * grid.width), grid.width), 1)
    distance = np.linalg.norm(position[:, None] - position, axis=2)
    near_values = matrix[(distance > 0) & (distance <= near)]
    far_values = matrix[distance >= far]
    thresholds = np.quantile(far_values, np.linspace(0.3, 0.99, 70))
    return thresholds, [np.mean(near_values > t) - np.mean(far_values > t) for t in thresholds]


@pytest.mark.parametrize("seed", range(3))
def test_near_far_threshold_against_all_pairs(seed):
    grid = Size(24, 20)
    smooth = np.random.default_rng(seed).standard_normal((30, 26, 6))
    smooth = sum(smooth[i : i + 24, j : j + 20] for i in range(7) for j in range(7))
    matrix = affinity.cosine(smooth.reshape(480, 6))
    thresholds, gain = naive_near_far(matrix, grid, 2, 10)
    found = affinity.near_far_threshold(matrix, grid, np.random.default_rng(seed))
    assert np.interp(found, thresholds, gain) > max(gain) - 0.03
    assert max(gain) > 0.3


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize(
    "grid", [Size(60, 60), Size(14, 14), Size(5, 8), Size(3, 3), Size(2, 40), Size(1, 12)]
)
def test_near_far_threshold_separates_two_halves_on_any_grid(grid, noise):
    matrix = affinity.cosine(two_halves(grid, noise))
    threshold = affinity.near_far_threshold(matrix, grid, np.random.default_rng(0))
    side = np.tile(np.arange(grid.width) >= grid.width // 2, grid.height)
    same = side[:, None] == side
    joined = matrix > threshold
    assert joined[same].mean() > joined[~same].mean() + 0.5


@pytest.mark.parametrize("grid", [Size(1, 1), Size(1, 2), Size(2, 1), Size(2, 2), Size(30, 30)])
def test_near_far_threshold_of_a_constant_image_joins_all(grid):
    n = grid.height * grid.width
    for rows in (np.tile(features(1), (n, 1)), np.zeros((n, 3))):
        matrix = affinity.cosine(rows)
        threshold = affinity.near_far_threshold(matrix, grid, np.random.default_rng(0))
        assert (matrix > threshold).all()


def test_near_far_threshold_is_deterministic():
    matrix = random_affinity(400)
    draw = [
        affinity.near_far_threshold(matrix, Size(20, 20), np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    assert draw[0] == draw[1]
    assert draw[0] != draw[2]


@given(st.integers(1, 8), st.integers(1, 8), st.floats(0.5, 4), st.floats(1, 6))
@settings(deadline=None)
def test_drawn_pairs_lie_in_the_grid_at_the_asked_distance(height, width, least, extra):
    grid = Size(height, width)
    most = least + extra
    position = np.stack(np.divmod(np.arange(height * width), width), 1)
    distance = np.linalg.norm(position[:, None] - position, axis=2)
    if not ((distance >= least) & (distance <= most)).any():
        return
    a, b = affinity._draw(grid, least, most, np.random.default_rng(0), 50)
    assert (distance[a, b] >= least - 1e-9).all()
    assert (distance[a, b] <= most + 1e-9).all()


def test_drawn_pairs_are_uniform():
    a, b = affinity._draw(Size(3, 4), 1.0, 1.5, np.random.default_rng(0), 100_000)
    _, counts = np.unique(np.minimum(a, b) * 12 + np.maximum(a, b), return_counts=True)
    assert len(counts) == 2 * 4 + 3 * 3 + 2 * 2 * 3  # vertical, horizontal, both diagonals
    assert counts.min() > 0.9 * counts.mean()
    assert counts.max() < 1.1 * counts.mean()
