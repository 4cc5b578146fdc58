import sys

import numpy as np
import pytest
from scipy.special import expit, logit

from cleave.ops import crf, native
from cleave.ops.crf import dense_crf
from cleave.types import CleaveError

DEFAULTS = {"iterations": 10, "gaussian": (3, 7), "bilateral": (50, 5, 10)}
SIZES = [(48, 64), (1, 1), (1, 9), (7, 1), (3, 90), (61, 40)]


@pytest.fixture
def kernels():
    if native.library() is None:
        pytest.skip("the kernels were not compiled at installation")


@pytest.fixture
def pydensecrf():
    return pytest.importorskip("pydensecrf.densecrf", reason="an extra: pip install pydensecrf2")


def picture(height, width, seed=0, noise=6, count=3):
    """A disc and a box on a slope of colours, with noise, and masks that are a little off."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:height, :width]
    disc = np.hypot(row - 0.4 * height, column - 0.3 * width) < 0.27 * height
    box = (abs(row - 0.6 * height) < 0.2 * height) & (abs(column - 0.75 * width) < 0.16 * width)
    pixels = np.stack([row * 90 // height, 60 + column * 90 // width, 70 + 0 * row], -1)
    pixels[disc], pixels[box] = (210, 60, 50), (40, 60, 200)
    pixels = np.clip(pixels + rng.integers(-noise, noise + 1, pixels.shape), 0, 255)
    masks = [np.roll(m, rng.integers(-3, 4, 2), (0, 1)) for m in (disc, box, disc | box)]
    masks += [rng.random((height, width)) < 0.5 for _ in range(count - 3)]
    return pixels.astype(np.uint8), np.array(masks[:count])


def naive(module, pixels, mask):
    """CutLER (maskcut.py:374-405), one step after the other, with a lattice of its own."""
    logits = np.stack([1.0 - mask, mask])
    probability = np.exp(logits) / np.exp(logits).sum(0)
    assert np.isin(probability.round(2), [0.27, 0.73]).all()
    field = module.DenseCRF2D(mask.shape[1], mask.shape[0], 2)
    field.setUnaryEnergy(-np.log(probability).reshape(2, -1).astype(np.float32))
    field.addPairwiseGaussian(sxy=3, compat=7)
    field.addPairwiseBilateral(sxy=50, srgb=5, rgbim=pixels, compat=10)
    return np.array(field.inference(10))[1].reshape(mask.shape)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("noise", [0, 6, 60])
def test_compiled_beliefs_are_those_of_pydensecrf(kernels, pydensecrf, size, noise):
    pixels, masks = picture(*size, noise=noise, count=4)
    ours = expit(crf.logits(pixels, **DEFAULTS)(masks))
    expected = np.array([naive(pydensecrf, pixels, mask) for mask in masks])
    # Where neither label wins, each of the ten steps multiplies float32's round-off by 2 or 3.
    np.testing.assert_allclose(ours, expected, atol=2e-3)
    assert np.abs(ours - expected).mean() < 1e-6
    apart = (ours > 0.5) != (expected > 0.5)
    assert (np.abs(expected[apart] - 0.5) < 1e-4).all()


@pytest.mark.parametrize("available", ["kernels", "pydensecrf"])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_masks_that_share_lattices_are_those_with_lattices_of_their_own(
    monkeypatch, request, available, count
):
    request.getfixturevalue(available)
    if available == "pydensecrf":
        monkeypatch.setattr(native, "library", lambda: None)
    pixels, masks = picture(48, 64, count=count)
    pixels.flags.writeable = False
    shared = dense_crf(pixels)
    expected = [dense_crf(pixels)(mask) for mask in masks]
    np.testing.assert_array_equal(shared(masks), np.reshape(expected, masks.shape))
    np.testing.assert_array_equal(shared(masks[::-1])[::-1], shared(masks))


@pytest.mark.parametrize(
    "parameters", [{}, {"iterations": 3, "gaussian": (1.5, 2), "bilateral": (20, 13, 4)}]
)
def test_kernels_and_pydensecrf_give_the_same_masks(monkeypatch, kernels, pydensecrf, parameters):
    pixels, masks = picture(96, 120, noise=12, count=5)
    ours = dense_crf(pixels, **parameters)(masks)
    monkeypatch.setattr(native, "library", lambda: None)
    np.testing.assert_array_equal(dense_crf(pixels, **parameters)(masks), ours)
    assert (ours != masks).any((1, 2)).all()


def test_the_lattice_approximates_the_dense_kernels(kernels):
    """The filters of the lattice are not exact, and ten steps of feedback sharpen what differs."""
    pixels, masks = picture(12, 12, noise=3)
    ours = expit(crf.logits(pixels, **DEFAULTS)(masks))
    exact = np.array([dense_mean_field(pixels, mask) for mask in masks])
    assert np.mean((ours > 0.5) == (exact > 0.5)) > 0.97
    assert np.abs(ours - exact).mean() < 0.05


def test_one_step_is_near_the_dense_one(kernels):
    """Without the feedback of ten steps the error of the filters themselves shows."""
    pixels, masks = picture(12, 12, noise=3)
    step = DEFAULTS | {"iterations": 1}
    ours = crf.logits(pixels, **step)(masks)
    exact = logit([dense_mean_field(pixels, mask, 1) for mask in masks])
    assert np.abs(ours - exact).mean() < 0.05 * np.abs(exact).mean()


def dense_mean_field(pixels, mask, iterations=10):
    """arXiv 1210.5644, algorithm 1, every pair of pixels, two labels, kernels normalised."""
    row, column = np.mgrid[: mask.shape[0], : mask.shape[1]]
    place = np.stack([row, column], -1).reshape(-1, 2)
    colour = pixels.reshape(-1, 3).astype(float)
    unary = np.where(np.stack([~mask, mask]).reshape(2, -1), 1.0, 0.0)
    kernel = 0
    for features, weight in ((place / 3, 7), (np.hstack([place / 50, colour / 5]), 10)):
        distance = np.square(features[:, None] - features).sum(-1)
        near = np.exp(-0.5 * distance)
        norm = 1 / np.sqrt(near.sum(1))
        kernel = kernel + weight * norm[:, None] * near * norm
    belief = np.exp(unary) / np.exp(unary).sum(0)
    for _ in range(iterations):
        belief = np.exp(unary + belief @ kernel)
        belief /= belief.sum(0)
    return belief[1].reshape(mask.shape)


def test_masks_of_another_size_or_too_many_are_refused(kernels):
    pixels, masks = picture(9, 11, count=5)
    beliefs = crf.logits(pixels, **DEFAULTS)
    for wrong in (masks, masks[:2, :8], masks[0]):
        with pytest.raises(ValueError, match="at most 4 masks of 9 x 11"):
            beliefs(wrong)


def test_no_step_gives_what_went_in(kernels):
    pixels, masks = picture(9, 11)
    found = crf.logits(pixels, **DEFAULTS | {"iterations": 0})(masks)
    np.testing.assert_array_equal(found, np.where(masks, 1.0, -1.0))


@pytest.mark.parametrize("value", [0, 255])
def test_masks_of_a_constant_image(kernels, pydensecrf, value):
    pixels = np.full((40, 50, 3), value, np.uint8)
    masks = np.zeros((3, 40, 50), bool)
    masks[1], masks[2, 8:30, 8:40] = True, True
    found = dense_crf(pixels)(masks)
    assert not found[0].any()
    assert found[1].all()
    expected = naive(pydensecrf, pixels, masks[2]) > 0.5
    np.testing.assert_array_equal(found[2], expected)


def test_where_nothing_computes_it_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(native, "library", lambda: None)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(CleaveError, match=r"C compiler.*pip install pydensecrf2.*refine: guided"):
        dense_crf(np.zeros((4, 4, 3), np.uint8))
