import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.backbones import colour
from cleave.backbones.colour import Colour
from cleave.backbones.inputs import input_size
from cleave.registry import make
from cleave.spec import ConfigError
from cleave.types import Image, Size


def photo(seed=0, height=61, width=83):
    rng = np.random.default_rng(seed)
    return Image("photo", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_lab_knows_the_textbook_colours():
    """Published values of the sRGB primaries under D65 (to two decimals)."""
    pixels = np.array(
        [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [119, 119, 119]],
        np.uint8,
    )
    expected = [
        [0, 0, 0],
        [100, 0, 0],
        [53.24, 80.09, 67.20],
        [87.73, -86.18, 83.18],
        [32.30, 79.19, -107.86],
        [50.03, 0, 0],
    ]
    np.testing.assert_allclose(colour.lab(pixels), expected, atol=0.02)


def test_lab_agrees_with_opencv():
    cv2 = pytest.importorskip("cv2")
    pixels = photo(3).pixels
    other = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    np.testing.assert_allclose(colour.lab(pixels), other, atol=0.6)  # its tables are coarse
    assert np.abs(colour.lab(pixels) - other).mean() < 0.1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_moments_and_neighbourhoods_equal_their_loops(height, width, stride, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(height * stride, width * stride, 3)).astype(np.float32)
    mean, square = colour.patch_moments(values, stride)
    wide = colour.neighbourhood_mean(mean)
    spread = colour.deviation(mean, square)
    for i in range(height):
        for j in range(width):
            rows, columns = (slice(k * stride, (k + 1) * stride) for k in (i, j))
            patch = values[rows, columns].reshape(-1, 3).astype(float)
            np.testing.assert_allclose(mean[i, j], patch.mean(0), atol=1e-9)
            np.testing.assert_allclose(spread[i, j], patch.std(0), atol=1e-6)
            around = mean[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].reshape(-1, 3)
            np.testing.assert_allclose(wide[i, j], around.mean(0), atol=1e-9)


def test_position_is_standardised_and_runs_down_and_right():
    code = colour.position(30, 40)
    np.testing.assert_allclose(code.reshape(-1, 2).mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(code.reshape(-1, 2).std(0), 1, atol=2e-3)
    assert (np.diff(code[:, 0, 0]) > 0).all()
    assert (np.diff(code[0, :, 1]) > 0).all()


@pytest.mark.parametrize(
    ("weights", "channels"),
    [({}, 5), ({"colour_weight": 0}, 2), ({"position_weight": 0}, 3), ({"texture_weight": 1}, 14)],
)
def test_weights_choose_the_channels(weights, channels):
    features = make("features", {"kind": "colour", "size": 64, **weights})([photo()])[0]
    assert features.facets["key"].shape == (8, 8, channels)
    assert features.facets["key"].dtype == np.float32
    assert (features.size, features.input_size) == (Size(61, 83), Size(64, 64))


def test_a_weight_scales_its_channels_alone():
    one, three = (Colour(size=64, colour_weight=w)([photo()])[0].facets["key"] for w in (1.0, 3.0))
    np.testing.assert_allclose(three[..., :3], 3 * one[..., :3], rtol=1e-5)
    np.testing.assert_array_equal(three[..., 3:], one[..., 3:])


def test_all_weights_zero_is_refused():
    with pytest.raises(ConfigError, match="all 0"):
        make("features", {"kind": "colour", "colour_weight": 0, "position_weight": 0})


def test_flat_colour_with_texture_is_finite():
    """E[x^2] - E[x]^2 of a constant is round-off of either sign: its root must not be NaN."""
    for level in (0, 1, 77, 200, 255):
        image = Image("flat", np.full((40, 50, 3), level, np.uint8))
        features = Colour(size=64, texture_weight=1.0)([image])[0]
        assert np.isfinite(features.facets["key"]).all()


def test_two_halves_differ_only_in_the_half_that_differs():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = [255, 0, 0]
    key = Colour(size=64, position_weight=0.0)([Image("halves", pixels)])[0].facets["key"]
    np.testing.assert_allclose(key[:, :4], key[:1, :1].repeat(8, 0).repeat(4, 1), atol=1e-6)
    assert np.abs(key[:, 4:] - key[:, :4]).max() > 2


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(1, 900),
    st.sampled_from([1, 8, 14, 16]),
    st.integers(1, 1400),
)
def test_input_sizes_are_whole_patches_and_bounded(height, width, size, multiple, max_side):
    for keep_aspect in (False, True):
        seen = input_size(
            Size(height, width),
            size=size,
            multiple=multiple,
            keep_aspect=keep_aspect,
            max_side=max_side,
        )
        assert all(side % multiple == 0 and side >= multiple for side in seen)
        assert max(seen) <= max(multiple, max_side if keep_aspect else size)
        assert min(seen) <= max(multiple, size)


@pytest.mark.parametrize(
    ("image", "multiple", "expected"),
    [
        (Size(480, 640), 16, Size(480, 640)),
        (Size(640, 480), 14, Size(630, 476)),
        (Size(300, 300), 8, Size(480, 480)),
        (Size(400, 1600), 8, Size(200, 800)),  # the long side decides
        (Size(1, 5000), 8, Size(8, 800)),
    ],
)
def test_input_size_that_keeps_the_aspect(image, multiple, expected):
    seen = input_size(image, size=480, multiple=multiple, keep_aspect=True, max_side=800)
    assert seen == expected
