"""Pictures and plots of the report against naive twins and their promises."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleave.report import figures, plots
from cleave.report.figures import GREY, THUMBNAIL, diverging, feature_pca, heat, thumbnail_size
from cleave.report.overlay import outline, overlay, palette
from cleave.types import MaskSet, Size

RNG = np.random.default_rng(0)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_thumbnails_have_one_long_side_and_none_of_zero(height, width):
    size = thumbnail_size(Size(height, width))
    assert max(size) == THUMBNAIL
    assert min(size) >= 1
    if min(height, width) > 0.1 * max(height, width):
        assert size.height / size.width == pytest.approx(height / width, rel=0.05)


def test_pca_is_that_of_the_covariance():
    features = RNG.normal(size=(6, 5, 8)) * np.arange(1, 9)
    picture = feature_pca(features)
    flat = features.reshape(-1, 8) - features.reshape(-1, 8).mean(0)
    _, _, basis = np.linalg.svd(flat, full_matrices=False)
    for channel, axis in enumerate(basis[:3]):
        part = flat @ axis
        part *= np.sign(part[np.abs(part).argmax()])
        low, high = np.percentile(part, (1, 99))
        expected = 255 * np.clip((part - low) / (high - low), 0, 1)
        assert np.abs(picture[..., channel].ravel() - expected).max() <= 1


@pytest.mark.parametrize("value", [0.0, 0.1, -7e3])
@pytest.mark.parametrize("shape", [(4, 6, 5), (1, 1, 384), (3, 3, 1)])
def test_pca_of_constant_features_is_grey(shape, value):
    picture = feature_pca(np.full(shape, value, np.float32))
    assert picture.shape == (*shape[:2], 3)
    assert (picture == GREY).all()


def test_pca_does_not_show_rounding_as_colour():
    line = np.linspace(0, 1, 40, dtype=np.float16).reshape(5, 8, 1)
    picture = feature_pca(np.concatenate([line, 2 * line, -line], -1).astype(np.float32))
    assert len(np.unique(picture[..., 0])) > 20
    assert (picture[..., 1:] == GREY).all()


def test_pca_does_not_depend_on_the_sign_of_the_features():
    features = RNG.normal(size=(5, 4, 7)).astype(np.float32)
    assert (feature_pca(features) == feature_pca(-features)).all()


def test_heat_goes_from_end_to_end():
    picture = heat(np.linspace(-3, 9, 400).reshape(20, 20))
    assert picture.shape == (20, 20, 3)
    assert picture[0, 0].tolist() == [68, 1, 84]  # viridis
    assert picture[-1, -1].tolist() == [253, 231, 37]
    assert len(np.unique(heat(np.full((3, 4), 2.5)).reshape(-1, 3), axis=0)) == 1


def test_diverging_is_white_at_zero_and_coloured_by_sign():
    values = np.array([[-2.0, -1.0, 0.0, 1.0, 2.0]])
    picture = diverging(values)[0].astype(int)
    assert picture[2].tolist() == [255, 255, 255]
    assert picture[0].tolist() == list(figures.NEGATIVE)
    assert picture[4].tolist() == list(figures.POSITIVE)
    assert (picture[1] > picture[0]).all()  # paler nearer to zero
    assert (picture[3] > picture[4]).all()


def test_diverging_without_values_that_differ():
    assert (diverging(np.zeros((3, 2))) == 255).all()
    assert diverging(np.array([[-4.0]]))[0, 0].tolist() == list(figures.NEGATIVE)


def test_diverging_shows_a_single_patch_among_zeros():
    values = np.zeros((30, 30))
    values[3, 4] = -1e-3
    picture = diverging(values)
    assert picture[3, 4].tolist() == list(figures.NEGATIVE)
    assert (np.delete(picture.reshape(-1, 3), 94, 0) == 255).all()


def test_patches_stay_squares():
    picture = RNG.integers(0, 255, (3, 4, 3)).astype(np.uint8)
    grown = figures.resized(picture, Size(30, 40), smooth=False)
    assert (grown == picture.repeat(10, 0).repeat(10, 1)).all()
    assert len(np.unique(figures.resized(picture, Size(30, 40), smooth=True))) > 36


def naive_outline(mask, width):
    """Pixels with something outside the mask, or outside the frame, within city-block `width`."""
    found = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        for dy in range(-width, width + 1):
            for dx in range(-width + abs(dy), width - abs(dy) + 1):
                inside = 0 <= y + dy < mask.shape[0] and 0 <= x + dx < mask.shape[1]
                found[y, x] |= not inside or not mask[y + dy, x + dx]
    return found


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("shape", [(9, 12), (1, 1), (1, 20), (20, 1)])
def test_outline(shape, width):
    mask = RNG.random(shape) < 0.9
    assert (outline(mask, width) == naive_outline(mask, width)).all()
    assert (
        outline(np.ones(shape, bool), width) == naive_outline(np.ones(shape, bool), width)
    ).all()


def square(size, *boxes):
    masks = np.zeros((len(boxes), size, size), bool)
    for mask, (y0, y1, x0, x1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return MaskSet(Size(size, size), masks, np.ones(len(boxes)))


def test_overlay_tints_inside_and_leaves_the_rest():
    pixels = RNG.integers(0, 255, (40, 40, 3)).astype(np.uint8)
    masks = square(40, (5, 25, 8, 30))
    drawn = overlay(pixels, masks, opacity=0.5)
    colour = palette(1)[0]
    inner = masks.masks[0] & ~outline(masks.masks[0], 1)
    expected = (pixels[inner].astype(float) + colour) / 2
    assert np.abs(drawn[inner] - expected).max() <= 0.5
    assert (drawn[outline(masks.masks[0], 1)] == colour).all()
    assert (drawn[~masks.masks[0]] == pixels[~masks.masks[0]]).all()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_small_masks_lie_on_large_ones(order):
    boxes = [(0, 40, 0, 40), (10, 20, 10, 20)]
    masks = square(40, *[boxes[i] for i in order])
    colours = np.array([[200, 0, 0], [0, 0, 200]], np.uint8)[list(order)]
    drawn = overlay(np.zeros((40, 40, 3), np.uint8), masks, colours=colours)
    assert drawn[15, 15, 2] > drawn[15, 15, 0]
    assert drawn[10, 10].tolist() == [0, 0, 200]
    assert drawn[30, 30, 0] > 0


def test_hatched_masks_show_the_photo_between_stripes():
    pixels = np.full((60, 60, 3), 50, np.uint8)
    masks = square(60, (0, 60, 0, 60))
    drawn = overlay(pixels, masks, hatched=np.array([True]))
    bare = (drawn == 50).all(-1).mean()
    assert 0.2 < bare < 0.7
    assert (overlay(pixels, masks, hatched=np.array([False])) != 50).any(-1).all()


def test_overlay_of_nothing_and_of_empty_masks():
    pixels = RNG.integers(0, 255, (7, 9, 3)).astype(np.uint8)
    assert (overlay(pixels, MaskSet.empty(Size(7, 9))) == pixels).all()
    empty = MaskSet(Size(7, 9), np.zeros((2, 7, 9), bool), np.ones(2))
    assert (overlay(pixels, empty) == pixels).all()


def test_palette_colours_differ():
    colours = palette(12).astype(int)
    distance = np.abs(colours[:, None] - colours[None]).sum(-1) + 999 * np.eye(12, dtype=int)
    assert distance.min() > 40
    assert palette(0).shape == (0, 3)
    assert (palette(3) == palette(12)[:3]).all()


ROWS = [plots.Row("maskcut", "#123456"), plots.Row('a<b>&"c', "#654321")]


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def texts(svg: str, kind: str) -> list[str]:
    return [e.text for e in parsed(svg).iter("text") if e.get("class") == kind]


def test_intervals_are_well_formed_deterministic_and_escaped():
    columns = {"AP, %": [(10.0, 5.0, 20.0), None], "IoU": [(0.0, 0.0, 0.0), (99.0, 98.0, 100.0)]}
    svg = plots.intervals(ROWS, columns)
    assert svg == plots.intervals(ROWS, columns)
    assert texts(svg, "name") == ["maskcut", 'a<b>&"c']
    assert texts(svg, "title") == ["AP, %", "IoU"]
    assert texts(svg, "number") == ["10.0", "0.0", "99.0"]
    assert len(list(parsed(svg).iter("circle"))) == 3


def test_a_dot_lies_between_the_ends_of_its_interval():
    svg = plots.intervals(ROWS[:1], {"AP": [(10.0, 5.0, 20.0)]})
    x = float(next(parsed(svg).iter("circle")).get("cx"))
    whisker = next(e for e in parsed(svg).iter("path") if e.get("class") == "whisker")
    left, right = whisker.get("d")[1:].split(" 0H")
    assert float(left) == pytest.approx(x / 2, abs=0.1)
    assert float(right) == pytest.approx(x * 2, abs=0.1)


def test_plots_of_nothing_are_empty():
    assert plots.intervals([], {}) == ""
    assert plots.intervals(ROWS, {}) == ""
    assert plots.distributions(ROWS, []) == ""
    svg = plots.intervals(ROWS, {"AP": [None, None]})
    assert "circle" not in svg
    parsed(svg)


def test_distributions_have_a_median_for_each_row_with_values():
    axis = plots.logarithmic("area, %", 0.3, 100.0)
    values = [np.array([0.3, 1.0, 50.0]), np.zeros(0)]
    svg = plots.distributions(ROWS, [(axis, values)])
    medians = [e for e in parsed(svg).iter("path") if e.get("class") == "median"]
    assert len(medians) == 1
    assert svg == plots.distributions(ROWS, [(axis, values)])
    assert texts(svg, "tick") == ["0.1", "1", "10", "100"]


def test_long_names_are_cut():
    (name,) = texts(plots.intervals([plots.Row("x" * 200, "#000")], {"AP": [None]}), "name")
    assert len(name) == plots.LONGEST


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.0, 100.0, "1 2 5 10 20 50 100"),
        (12.0, 80.0, "10 20 50 100"),
        (0.001, 100.0, "0.001 0.01 0.1 1 10 100"),
        (100.0, 100.0, "100 200 500 1000"),
    ],
)
def test_logarithmic_ticks_are_plain_numbers(low, high, expected):
    assert " ".join(plots.logarithmic("", low, high).ticks.values()) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 43.2, "0 10 20 30 40 50"),
        (0, 0, "0 0.2 0.4 0.6 0.8 1"),
        (0, 100, "0 20 40 60 80 100"),
        (0.51, 0.97, "0.5 0.6 0.7 0.8 0.9 1"),
        (0, 3, "0 1 2 3"),
    ],
)
def test_linear_ticks_are_round(low, high, expected):
    ticks = plots.linear("", low, high).ticks
    assert " ".join(ticks.values()) == expected


def test_ticks_of_a_narrow_axis_differ():
    ticks = plots.linear("", 0.9999, 1.0).ticks.values()
    assert len(set(ticks)) == len(ticks) >= 2
    assert "e" not in "".join(ticks)


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e5))
def test_axes_hold_what_they_were_made_for(a, b, value):
    low, high = sorted((a, b))
    axis = plots.linear("", low, high)
    assert axis.low <= low + 1e-6 * max(1, high)
    assert axis.high >= high - 1e-6 * max(1, high)
    assert 0 <= axis.share(value) <= 1
    assert 2 <= len(axis.ticks) <= 8
    logarithmic = plots.logarithmic("", low + 1e-3, high + 1e-3)
    assert 0 <= logarithmic.share(value) <= 1
    assert logarithmic.share(low + 1e-3) <= logarithmic.share(high + 1e-3)
