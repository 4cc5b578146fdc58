"""Texture against loops over pixels, and edges that point in a known direction."""

import numpy as np
import pytest

from cleave.backbones.texture import Texture
from cleave.ops import texture as ops
from cleave.ops.colour import lab, neighbourhood_mean
from cleave.types import Image


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_texture_equals_its_loop():
    pixels, stride = noise(20, 28), 4
    found = ops.texture(pixels, stride)
    values, strength = lab(pixels).astype(float), ops.edges(lab(pixels)[..., 0]).astype(float)
    assert found.shape == (5, 7, ops.CHANNELS)
    for i, j in [(0, 0), (2, 3), (4, 6)]:
        for k, radius in enumerate(ops.RADII):
            rows, columns = (slice(max(0, c - radius) * 4, (c + radius + 1) * 4) for c in (i, j))
            window = values[rows, columns].reshape(-1, 3)
            expected = [window.mean(0), window.std(0), strength[rows, columns].mean((0, 1))]
            got = found[i, j, 10 * k : 10 * k + 10]
            np.testing.assert_allclose(got, np.concatenate(expected), atol=1e-5)


def test_neighbourhood_of_any_radius_equals_its_loop():
    values = np.random.default_rng(1).normal(size=(4, 6, 2))
    for radius in (0, 1, 2, 5):
        found = neighbourhood_mean(values, radius)
        for i, j in np.ndindex(4, 6):
            near = values[max(0, i - radius) : i + radius + 1, max(0, j - radius) : j + radius + 1]
            np.testing.assert_allclose(found[i, j], near.mean((0, 1)), atol=1e-12)


@pytest.mark.parametrize(("angle", "bin_"), [(0, 0), (45, 1), (90, 2), (135, 3)])
def test_a_ramp_feeds_the_bin_of_its_direction_alone(angle, bin_):
    rows, columns = np.mgrid[0:16, 0:16]
    slope = np.cos(np.radians(angle)) * columns + np.sin(np.radians(angle)) * rows
    found = ops.edges(2 * slope.astype(np.float32))[1:-1, 1:-1]
    np.testing.assert_allclose(found, np.broadcast_to(2 * np.eye(4)[bin_], found.shape), atol=1e-4)


def test_the_backbone_standardises():
    found = Texture(size=64)([Image("a", noise(50, 70))])[0]
    assert found.facets["key"].shape == (8, 8, ops.CHANNELS)
    mean = Image("b", np.full((64, 64, 3), 120, np.uint8))
    key = Texture(size=64)([mean])[0].facets["key"]
    np.testing.assert_allclose(
        key[..., 3:10], np.broadcast_to(-ops.MEAN / ops.SCALE, (8, 8, 30))[..., 3:10], atol=1e-3
    )
