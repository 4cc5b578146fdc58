"""The patch dictionary: each step against a loop, k-means against what it promises."""

import numpy as np
import pytest

from cleave.ops import dictionary


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def learned():
    patches = dictionary.normalised(dictionary.draw(noise(64, 64), 300, np.random.default_rng(0)))
    mean, whitening = dictionary.zca(patches, 0.1)
    points = (patches - mean) @ whitening
    *_, (centroids, _) = dictionary.lloyd(points, 10, 5, np.random.default_rng(1))
    return mean, whitening, centroids


def test_drawn_patches_are_windows_of_the_image():
    pixels = noise(9, 11)
    every = {w.tobytes() for w in dictionary.windows(pixels, 1).reshape(-1, 192)}
    assert {p.tobytes() for p in dictionary.draw(pixels, 50, np.random.default_rng(0))} <= every
    first = dictionary.windows(pixels, 1)[0, 0].reshape(8, 8, 3)
    np.testing.assert_array_equal(first, pixels[:8, :8])


def test_contrast_does_not_count_and_flat_patches_are_zero():
    patch = noise(8, 8).reshape(1, -1) // 2
    brighter = dictionary.normalised(2 * patch)
    darker = dictionary.normalised(patch)
    np.testing.assert_allclose(dictionary.normalised(patch + 100), darker, atol=1e-5)
    np.testing.assert_allclose(brighter, darker, atol=0.01)
    assert not dictionary.normalised(np.full((1, 192), 77, np.uint8)).any()


def test_whitened_values_have_no_correlations():
    values = np.random.default_rng(0).normal(size=(2000, 6)).astype(np.float32)
    values[:, 1] += 3 * values[:, 0]
    mean, matrix = dictionary.zca(values, 1e-6)
    np.testing.assert_allclose(np.cov(((values - mean) @ matrix).T, ddof=0), np.eye(6), atol=1e-3)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)


def test_kmeans_finds_blobs_and_never_gets_worse():
    rng = np.random.default_rng(5)
    centres = rng.normal(0, 20, size=(4, 3))
    points = (np.repeat(centres, 50, 0) + rng.normal(0, 0.1, size=(200, 3))).astype(np.float32)
    steps = list(dictionary.lloyd(points, 16, 12, rng))
    distances = np.array([distance for _, distance in steps])
    assert (np.diff(distances) < 1e-3).all()  # squares of 20 in float32
    nearest = np.linalg.norm(centres[:, None] - steps[-1][0], axis=2).min(1)
    assert distances[-1] < 0.1
    assert (nearest < 0.2).all()


def test_kmeans_equals_lloyds_loop():
    rng = np.random.default_rng(6)
    points = rng.normal(size=(60, 5)).astype(np.float32)
    first = points[np.sort(np.random.default_rng(7).choice(60, 6, replace=False))]
    (found, distance), *_ = dictionary.lloyd(points, 6, 1, np.random.default_rng(7))
    squares = np.square(points[:, None] - first).sum(2)
    nearest = squares.argmin(1)
    expected = [points[nearest == k].mean(0) for k in range(6)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert distance == pytest.approx(squares.min(1).mean(), rel=1e-4)


def test_a_centroid_left_alone_takes_the_farthest_point():
    points = np.array([[0.0], [0.0], [0.0], [9.0]], np.float32)
    for seed in range(20):  # some draws have two centroids at 0, of which the second is left alone
        *_, (centroids, _) = dictionary.lloyd(points, 2, 3, np.random.default_rng(seed))
        assert sorted(centroids.ravel()) == [0, 9]


def test_features_equal_their_loop(learned):
    mean, whitening, centroids = learned
    pixels = noise(24, 32, seed=9)
    found = dictionary.encode(pixels, mean, whitening, centroids)
    assert found.shape == (3, 4, 10)
    for i, j in np.ndindex(3, 4):
        active = []
        for top in (8 * i - 4, 8 * i, 8 * i + 4):
            for left in (8 * j - 4, 8 * j, 8 * j + 4):
                if 0 <= top <= 16 and 0 <= left <= 24:
                    patch = pixels[top : top + 8, left : left + 8].reshape(-1).astype(float)
                    patch = (patch - patch.mean()) / np.sqrt(patch.var() + dictionary.CONTRAST)
                    distance = np.linalg.norm((patch - mean) @ whitening - centroids, axis=1)
                    active.append(np.maximum(distance.mean() - distance, 0))
        np.testing.assert_allclose(found[i, j], np.mean(active, 0), atol=2e-4)


def test_one_patch_has_features(learned):
    assert dictionary.encode(noise(8, 8), *learned).shape == (1, 1, 10)
