import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cleave.ops.resample import average, bilinear, upsample_nearest
from cleave.types import Size

sides = st.integers(1, 23)


@settings(max_examples=200, deadline=None)
@given(sides, sides, st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
def test_nearest_takes_the_cell_under_the_centre(h, w, height, width, seed):
    values = np.random.default_rng(seed).integers(0, 255, (h, w)).astype(np.uint8)
    got = upsample_nearest(values, Size(height, width))
    for row, column in np.ndindex(height, width):
        y, x = (2 * row + 1) * h / (2 * height), (2 * column + 1) * w / (2 * width)
        assert got[row, column] == values[int(y), int(x)]


@pytest.mark.parametrize("size", [Size(60, 60), Size(64, 96), Size(16, 128), Size(8, 16)])
def test_nearest_is_pils(size):  # at these sizes no centre falls on a border, where PIL rounds
    values = np.random.default_rng(0).integers(0, 255, (20, 28)).astype(np.uint8)
    picture = Image.fromarray(values).resize((size.width, size.height), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(upsample_nearest(values, size), np.asarray(picture))


def test_nearest_is_torchs_at_whole_factors_and_nearest_exact_elsewhere():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).random((2, 20, 28)).astype(np.float32)
    for size, mode in ((Size(160, 224), "nearest"), (Size(97, 230), "nearest-exact")):
        expected = torch.nn.functional.interpolate(torch.from_numpy(values)[None], size, mode=mode)
        np.testing.assert_array_equal(upsample_nearest(values, size), expected[0].numpy())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 9), st.integers(1, 9))
def test_average_is_that_of_the_finest_common_grid(h, w, height, width):
    values = np.random.default_rng(h * w).random((2, h, w))
    fine = values.repeat(height, 1).repeat(width, 2)  # divisible by both grids
    expected = fine.reshape(2, height, h, width, w).mean((2, 4))
    np.testing.assert_allclose(average(values, Size(height, width)), expected, atol=1e-12)


def test_average_of_a_mask_is_the_share_covered():
    mask = np.zeros((8, 8), bool)
    mask[:4, :6] = True
    np.testing.assert_array_equal(average(mask, Size(2, 2)), [[1, 0.5], [0, 0]])


@pytest.mark.parametrize("target", [Size(1, 1), Size(3, 9), Size(5, 4), Size(31, 40)])
@pytest.mark.parametrize("source", [Size(1, 1), Size(1, 7), Size(5, 4), Size(12, 9)])
def test_bilinear_is_torchs(source, target):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).random((2, *source)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None], target, mode="bilinear", align_corners=False
    )
    found = bilinear(values, target)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected[0].numpy(), atol=1e-6)


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.7, 1.0])
def test_bilinear_by_a_factor_is_torchs(scale):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).random((2, 13, 10)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None], scale_factor=scale, mode="bilinear", align_corners=False
    )[0].numpy()
    found = bilinear(values, Size(*expected.shape[1:]), (1 / scale, 1 / scale))
    np.testing.assert_allclose(found, expected, atol=1e-6)
