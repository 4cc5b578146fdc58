import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import ndimage

from cleave.ops.bilateral import (
    bilateral_grid,
    bilateral_solver,
    bilateral_system,
    bistochastise,
    solve,
)
from cleave.ops.components import fill_holes
from cleave.ops.refine import refine
from cleave.types import Size

ROWS = [
    (Fraction(299, 1000), Fraction(587, 1000), Fraction(114, 1000), 0),
    (Fraction(-168736, 10**6), Fraction(-331264, 10**6), Fraction(1, 2), 128),
    (Fraction(1, 2), Fraction(-418688, 10**6), Fraction(-81312, 10**6), 128),
]


def cells_naive(pixels, spatial, luma, chroma):
    """The cell of each pixel as five whole numbers, in exact fractions."""
    found = {}
    for row, column in np.ndindex(*pixels.shape[:2]):
        r, g, b = (int(v) for v in pixels[row, column])
        yuv = [a * r + c * g + d * b + offset for a, c, d, offset in ROWS]
        sides = (spatial, spatial, luma, chroma, chroma)
        values = (Fraction(row), Fraction(column), *yuv)
        found[row, column] = tuple(
            math.floor(value / Fraction(side)) for value, side in zip(values, sides, strict=True)
        )
    return found


def dense_naive(pixels, spatial, luma, chroma):
    """S, (V, H W), and the blur, (V, V), as full matrices."""
    found = cells_naive(pixels, spatial, luma, chroma)
    cells = sorted(set(found.values()))
    splat = np.zeros((len(cells), len(found)))
    for column, place in enumerate(sorted(found)):
        splat[cells.index(found[place]), column] = 1
    blur = np.zeros((len(cells), len(cells)))
    for (i, a), (j, b) in itertools.product(enumerate(cells), repeat=2):
        steps = sum(abs(p - q) for p, q in zip(a, b, strict=True))
        blur[i, j] = {0: 10.0, 1: 1.0}.get(steps, 0.0)
    return splat, blur


def solver_naive(pixels, mask, spatial, luma, chroma, smoothness, confidence):
    """The soft mask by the dense system, (H, W)."""
    splat, blur = dense_naive(pixels, spatial, luma, chroma)
    counts, scale = splat.sum(1), np.ones(len(splat))
    for _ in range(10):
        scale = np.sqrt(scale * counts / (blur @ scale))
    mass = scale * (blur @ scale)
    smooth = np.diag(mass) - np.diag(scale) @ blur @ np.diag(scale)
    system = smoothness * smooth + np.diag(splat @ np.full(mask.size, confidence))
    y = np.linalg.solve(system, splat @ (confidence * mask.ravel()))
    return (splat.T @ y).reshape(mask.shape)


def example(seed):
    """A tiny image of few colours, so that cells have neighbours, a mask, and sides of cells."""
    rng = np.random.default_rng(seed)
    h, w = rng.integers(1, 9, 2)
    palette = rng.integers(0, 256, (4, 3)) // rng.choice([1, 8, 64])
    pixels = palette[rng.integers(0, 4, (h, w))] + rng.integers(0, 9, (h, w, 3))
    mask = rng.random((h, w)) < 0.5
    sides = (float(rng.choice([1, 2, 3.5])), float(rng.choice([4, 10])), float(rng.choice([3, 8])))
    return np.clip(pixels, 0, 255).astype(np.uint8), mask, sides


@pytest.mark.parametrize("seed", range(30))
def test_the_grid_is_the_dense_twins(seed):
    pixels, mask, sides = example(seed)
    splat, blur = dense_naive(pixels, *sides)
    grid = bilateral_grid(pixels, *sides)
    np.testing.assert_array_equal(grid.pixels, splat.sum(1))
    order = [np.flatnonzero(splat[:, column])[0] for column in range(mask.size)]
    ours, theirs = grid.cells.ravel(), np.array(order)
    same = ours[:, None] == ours[None]
    np.testing.assert_array_equal(same, theirs[:, None] == theirs[None])
    place = np.empty(len(blur), int)
    place[theirs] = ours
    np.testing.assert_array_equal(grid.blur.toarray()[np.ix_(place, place)], blur)
    np.testing.assert_array_equal(grid.splat(mask * 1.0)[place], splat @ mask.ravel())
    sums = grid.slice(grid.splat(mask * 1.0))
    np.testing.assert_array_equal(sums.ravel(), splat.T @ splat @ mask.ravel())


@pytest.mark.parametrize("seed", range(30))
def test_the_soft_mask_solves_the_dense_system(seed):
    pixels, mask, sides = example(seed)
    grid = bilateral_grid(pixels, *sides)
    for smoothness, confidence in ((256.0, 0.999), (2.0, 0.5)):
        system = bilateral_system(grid, smoothness, confidence)
        soft = solve(grid, system, confidence * mask, confidence, 500, 1e-12)
        expected = solver_naive(pixels, mask, *sides, smoothness, confidence)
        np.testing.assert_allclose(soft, expected, atol=1e-8)


def test_two_neighbouring_cells_by_hand():
    """Three dark pixels beside a bright one a step of luma away: the kernel is [[10 1] [1 10]]."""
    pixels = np.array([[[8] * 3, [8] * 3, [8] * 3, [24] * 3]], np.uint8)
    grid = bilateral_grid(pixels, spatial=4, luma=16, chroma=8)
    assert grid.cells.tolist() == [[0, 0, 0, 1]]
    assert grid.pixels.tolist() == [3, 1]
    assert grid.blur.toarray().tolist() == [[10, 1], [1, 10]]
    scale, mass = bistochastise(grid, iterations=60)
    np.testing.assert_allclose(mass, [3, 1], rtol=1e-9)
    across = scale[0] * scale[1]
    system = bilateral_system(grid, smoothness=0.0, confidence=0.5).toarray()
    np.testing.assert_allclose(system, [[1.5, 0], [0, 0.5]])
    system = bilateral_system(grid, smoothness=2.0, confidence=0.5).toarray()
    assert across > 0
    np.testing.assert_allclose(
        system, [[1.5 + 2 * across, -2 * across], [-2 * across, 0.5 + 2 * across]], rtol=1e-3
    )


def test_greys_of_all_levels_share_their_chroma():
    """Their chroma is 128, a border between two cells, which round-off could put on either side."""
    pixels = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, 2)
    grid = bilateral_grid(pixels, spatial=256, luma=16, chroma=8)
    np.testing.assert_array_equal(grid.cells.ravel(), np.arange(256) // 16)


def test_far_ends_of_an_axis_are_no_neighbours():
    pixels = np.zeros((3, 4, 3), np.uint8)
    grid = bilateral_grid(pixels, spatial=1)
    apart = np.abs(np.subtract.outer(np.arange(12) // 4, np.arange(12) // 4))
    aside = np.abs(np.subtract.outer(np.arange(12) % 4, np.arange(12) % 4))
    np.testing.assert_array_equal(grid.blur.toarray() == 1, apart + aside == 1)


def shapes(height=96, width=128):
    row, column = np.mgrid[:height, :width]
    disc = (row - 40) ** 2 + (column - 44) ** 2 < 26**2
    pixels = np.full((height, width, 3), (90, 130, 70))
    pixels[disc] = 210, 60, 50
    return (pixels + np.random.default_rng(0).integers(-5, 6, pixels.shape)).astype(np.uint8), disc


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_a_coarse_mask_comes_closer_to_the_shape():
    pixels, disc = shapes()
    coarse = np.roll(disc, (4, -4), (0, 1))[4::8, 4::8]
    refined, keep = refine(pixels, coarse[None], "bilateral")
    assert keep.tolist() == [True]
    assert iou(refined[0], disc) > 0.98 > 0.9 > iou(np.kron(coarse, np.ones((8, 8), bool)), disc)


def test_masks_share_the_grid_and_specks_go():
    pixels, disc = shapes()
    filtered = bilateral_solver(pixels)
    speck = disc.copy()
    speck[80:88, 100:110] = True
    np.testing.assert_array_equal(filtered(speck), filtered(disc))
    np.testing.assert_array_equal(filtered(disc), bilateral_solver(pixels)(disc))


def test_where_nothing_is_above_half_nothing_is_left():
    pixels = np.full((40, 40, 3), 100, np.uint8)
    mask = np.zeros((40, 40), bool)
    mask[20, 20] = True
    assert not bilateral_solver(pixels)(mask).any()
    refined, keep = refine(pixels, mask[None], "bilateral", size=Size(20, 20))
    assert not keep.any()
    assert not refined.any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 200), (90, 1)])
def test_the_smallest_images(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    np.testing.assert_array_equal(
        bilateral_solver(pixels)(np.ones(shape, bool)), np.ones(shape, bool)
    )


@pytest.mark.parametrize("seed", range(20))
def test_holes_are_filled_as_scipy_does(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 12, 2)) < rng.choice([0.3, 0.6, 0.8])
    np.testing.assert_array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))
