import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from cleave.ops import native
from cleave.ops import refine as module
from cleave.ops.refine import guided_filter, refine, resize_mask
from cleave.ops.resample import upsample_nearest
from cleave.types import Size


def picture(height=48, width=64):
    """Two flat shapes on a ground with a little noise, and their exact masks."""
    row, column = np.mgrid[:height, :width]
    disc = (row - 20) ** 2 + (column - 20) ** 2 < 13**2
    box = (abs(row - 30) < 9) & (abs(column - 48) < 10)
    pixels = np.full((height, width, 3), (90, 130, 70))
    pixels[disc], pixels[box] = (210, 60, 50), (40, 60, 200)
    pixels = pixels + np.random.default_rng(0).integers(-5, 6, pixels.shape)
    return pixels.astype(np.uint8), np.stack([disc, box])


def coarse(masks, patch=4):
    """Patch masks that are two pixels off."""
    return np.roll(masks, (2, -2), (1, 2))[:, patch // 2 :: patch, patch // 2 :: patch]


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("how", ["crf", "guided"])
def test_masks_come_closer_to_the_shapes(how):
    if how == "crf" and native.library() is None:
        pytest.importorskip("pydensecrf", reason="an extra: pip install pydensecrf2")
    pixels, truth = picture()
    refined, keep = refine(pixels, coarse(truth), how)
    assert keep.all()
    for mask, before, exact in zip(refined, coarse(truth), truth, strict=True):
        assert iou(mask, exact) > iou(upsample_nearest(before, Size(48, 64)), exact)


def test_guided_filter_is_a_regression_on_colour_in_every_window():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (9, 11, 3)).astype(np.uint8)
    mask = rng.random((9, 11)) < 0.5
    ours = guided_filter(pixels, radius=2, epsilon=0.01)(mask)
    np.testing.assert_array_equal(ours, guided_filter_naive(pixels, mask, 2, 0.01))


def guided_filter_naive(pixels, mask, radius, epsilon):
    """He et al., TPAMI 2013, eq. 19 to 21, window by window, edges mirrored."""
    pad = ((2 * radius, 2 * radius), (2 * radius, 2 * radius))
    guide = np.pad(pixels / 255.0, (*pad, (0, 0)), mode="symmetric")
    target = np.pad(mask.astype(float), pad, mode="symmetric")
    height, width = mask.shape
    slopes, offsets = np.zeros((*mask.shape, 3)), np.zeros(mask.shape)
    for row, column in np.ndindex(height, width):
        window = (
            slice(row + radius, row + 3 * radius + 1),
            slice(column + radius, column + 3 * radius + 1),
        )
        colours, values = guide[window].reshape(-1, 3), target[window].ravel()
        covariance = np.cov(colours.T, bias=True) + epsilon * np.eye(3)
        shared = (colours * values[:, None]).mean(0) - colours.mean(0) * values.mean()
        slopes[row, column] = np.linalg.solve(covariance, shared)
        offsets[row, column] = values.mean() - slopes[row, column] @ colours.mean(0)
    slopes = np.pad(slopes, ((radius,) * 2, (radius,) * 2, (0, 0)), mode="symmetric")
    offsets = np.pad(offsets, radius, mode="symmetric")
    result = np.zeros(mask.shape)
    for row, column in np.ndindex(height, width):
        window = (slice(row, row + 2 * radius + 1), slice(column, column + 2 * radius + 1))
        slope, offset = slopes[window].mean((0, 1)), offsets[window].mean()
        result[row, column] = slope @ (pixels[row, column] / 255.0) + offset
    return result > 0.5


def stub(monkeypatch, answer):
    """Replaces the guided filter; the masks that it is shown are listed."""
    seen = []

    def make(pixels):
        def filtered(mask):
            seen.append(mask)
            return answer(mask)

        return filtered

    monkeypatch.setattr(module, "guided_filter", make)
    return seen


def test_holes_are_filled(monkeypatch):
    ring = np.zeros((1, 12, 12), bool)
    ring[0, 2:10, 2:10] = True
    stub(monkeypatch, lambda mask: mask & ~np.pad(np.ones((2, 2), bool), 5))
    refined, _ = refine(np.zeros((12, 12, 3), np.uint8), ring, "guided")
    np.testing.assert_array_equal(refined, ring)
    assert not np.array_equal(ring[0] & ~np.pad(np.ones((2, 2), bool), 5), ring[0])


@pytest.mark.parametrize(("rows", "kept"), [(4, True), (3, False)])
def test_a_mask_is_dropped_when_less_than_half_of_it_is_left(monkeypatch, rows, kept):
    before = np.zeros((1, 12, 12), bool)
    before[0, :8, :6] = True
    stub(monkeypatch, lambda mask: mask & (np.arange(12) < rows)[:, None])
    refined, keep = refine(np.zeros((12, 12, 3), np.uint8), before, "guided")
    assert keep.tolist() == [kept]
    assert refined.any() == kept


def test_empty_masks_are_not_filtered(monkeypatch):
    masks = np.zeros((3, 4, 4), bool)
    masks[1, 1:3, 1:3] = True
    seen = stub(monkeypatch, lambda mask: mask)
    refined, keep = refine(np.zeros((8, 8, 3), np.uint8), masks, "guided")
    assert len(seen) == 1
    assert keep.tolist() == [False, True, False]
    assert refined.any((1, 2)).tolist() == keep.tolist()


def test_no_mask_needs_no_filter(monkeypatch):
    monkeypatch.setattr(module, "dense_crf", lambda pixels: pytest.fail("a lattice was built"))
    pixels = np.zeros((8, 8, 3), np.uint8)
    refined, keep = refine(pixels, np.zeros((2, 4, 4), bool), "crf", size=Size(5, 6))
    assert refined.shape == (2, 5, 6)
    assert not keep.any()


def test_none_goes_straight_to_the_size():
    masks = coarse(picture()[1])
    refined, keep = refine(np.zeros((8, 8, 3), np.uint8), masks, "none", size=Size(33, 50))
    np.testing.assert_array_equal(refined, upsample_nearest(masks, Size(33, 50)))
    assert keep.all()


@pytest.mark.parametrize("size", [Size(97, 61), Size(20, 90), Size(5, 3), Size(48, 64)])
def test_resized_masks_are_cutlers(size):
    mask = ndimage.binary_dilation(picture()[1][0])
    grey = Image.fromarray(np.uint8(mask * 255)).resize((size.width, size.height))
    values = np.asarray(grey).astype(int)
    np.testing.assert_array_equal(resize_mask(mask, size), values > values.max() / 2)
