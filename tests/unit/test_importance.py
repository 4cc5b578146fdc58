import numpy as np
import pytest

from cleave.ops.importance import LOWEST, sharpen, spatial_importance


def naive_blur(depth: np.ndarray, sigma: float) -> np.ndarray:
    radius = int(3 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(depth, radius, mode="symmetric")
    blurred = np.zeros_like(depth)
    for i, a in enumerate(kernel):
        for j, b in enumerate(kernel):
            blurred += a * b * padded[i : i + depth.shape[0], j : j + depth.shape[1]]
    return blurred


def test_equations_one_and_two():
    depth = np.random.default_rng(0).random((12, 15)) * 5 + 2
    change = np.abs(naive_blur(depth, 1.5) - depth)
    expected = 0.55 * (change - change.min()) / (change.max() - change.min()) + 0.45
    found = spatial_importance(depth, 1.5, 0.45)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=1e-5)


def test_highest_at_a_step_of_depth():
    depth = np.ones((20, 20))
    depth[:, 10:] = 2
    found = spatial_importance(depth, 3.0, 0.45)
    assert set(np.argmax(found, axis=1)) <= {9, 10}
    assert found.max() == pytest.approx(1)
    assert found.min() == pytest.approx(0.45)
    assert found[:, 0] == pytest.approx(0.45, abs=0.02)


@pytest.mark.parametrize("level", [0.0, 0.1, 1234.5])
@pytest.mark.parametrize("shape", [(1, 1), (8, 9)])
def test_flat_depth_gives_beta(level, shape):
    assert (spatial_importance(np.full(shape, level), 3.0, 0.3) == np.float32(0.3)).all()


@pytest.mark.parametrize(
    ("indexing", "combine"),
    [
        ("symmetric", lambda d, i, j: (d[i] + d[j]) / 2),
        ("product", lambda d, i, j: d[i] * d[j]),
        ("min", lambda d, i, j: min(d[i], d[j])),
        ("max", lambda d, i, j: max(d[i], d[j])),
        ("row", lambda d, i, j: d[max(i, j)]),
    ],
)
def test_equation_three_element_by_element(indexing, combine):
    n = 300  # more than one block of rows
    rng = np.random.default_rng(0)
    matrix = rng.uniform(-0.5, 1, (n, n)).astype(np.float32)
    matrix = np.maximum(matrix, matrix.T)
    before = matrix.copy()
    d = rng.uniform(0.45, 1, n).astype(np.float32)
    found = sharpen(matrix, d.reshape(15, 20), indexing)
    assert found.dtype == np.float32
    assert np.array_equal(matrix, before)
    assert np.array_equal(found, found.T)
    for i, j in rng.integers(0, n, (2000, 2)):
        expected = max(float(matrix[i, j]), LOWEST) ** (1 - combine(d.astype(float), i, j))
        assert found[i, j] == pytest.approx(expected, rel=1e-5)


def test_unknown_indexing():
    with pytest.raises(ValueError, match="column"):
        sharpen(np.eye(4, dtype=np.float32), np.ones((2, 2)), "column")
