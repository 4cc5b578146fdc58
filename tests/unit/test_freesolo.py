import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.masks.freesolo import FreeSOLO
from cleave.ops.free_mask import maskness, placement, similarity_maps
from cleave.spec import ConfigError
from cleave.types import FeatureMap, Image, Scene, Size


def features(seed, h, w, channels=6):
    """Rectangles of three kinds on a ground, with noise."""
    rng = np.random.default_rng(seed)
    kinds = np.zeros((h, w), int)
    for kind in (1, 2, 3):
        top, left = rng.integers(0, h), rng.integers(0, w)
        kinds[top : top + h // 3 + 1, left : left + w // 3 + 1] = kind
    clean = rng.random((4, channels))[kinds]
    return (clean + rng.normal(0, 0.05, clean.shape)).astype(np.float32)


def scene(values, size, facet="key"):
    pixels = np.zeros((*size, 3), np.uint8)
    seen = Size(values.shape[0] * 32, values.shape[1] * 32)
    return Scene(Image("twin", pixels), FeatureMap({facet: values}, size, seen, 32))


def interpolated(values, target, step):
    """Bilinear interpolation of (h, w, C) to `target` cells, written for one cell at a time."""
    h, w, _ = values.shape
    out = np.zeros((*target, values.shape[2]))
    for i, j in np.ndindex(*target):
        y = min(max((i + 0.5) * step[0] - 0.5, 0), h - 1)
        x = min(max((j + 0.5) * step[1] - 0.5, 0), w - 1)
        for row in range(int(y), min(int(y) + 2, h)):
            for column in range(int(x), min(int(x) + 2, w)):
                weight = max(1 - abs(y - row), 0) * max(1 - abs(x - column), 0)
                out[i, j] += weight * values[row, column]
    return out


def soft_masks_naive(values, scales):
    """Resizes the features, then takes every cosine."""
    h, w, channels = values.shape
    keys = values.astype(np.float64).reshape(-1, channels)
    keys = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    found = []
    for scale in scales:
        target = (int(h * scale), int(w * scale))
        for query in interpolated(values, target, (1 / scale,) * 2).reshape(-1, channels):
            row = keys @ (query / np.linalg.norm(query))
            found.append((row - row.min()) / (row.max() - row.min()))
    return np.array(found).reshape(-1, h, w)


def free_mask_naive(values, size, method):
    """The steps of the paper in their order, masks and scores."""
    soft = [
        s
        for s in soft_masks_naive(values, method.scales)
        if (s >= method.threshold).sum() >= method.least_patches
    ]
    scores = [s[s >= method.threshold].mean() for s in soft]
    order = np.argsort(-np.array(scores), kind="stable")
    soft, scores = [soft[i] for i in order], [scores[i] for i in order]
    hard = [s >= method.threshold for s in soft]

    def iou(i, j):
        return (hard[i] & hard[j]).sum() / (hard[i] | hard[j]).sum()

    worst = [max((iou(k, i) for k in range(i)), default=0) for i in range(len(soft))]
    lowered = [
        score * min([1, *(np.exp(-2 * (iou(i, j) ** 2 - worst[i] ** 2)) for i in range(j))])
        for j, score in enumerate(scores)
    ]
    masks, kept = [], []
    for i in np.argsort(-np.array(lowered), kind="stable")[: method.max_masks]:
        step = (values.shape[0] / size.height, values.shape[1] / size.width)
        full = interpolated(soft[i][..., None], size, step)[..., 0] >= method.threshold
        rows, columns = np.flatnonzero(full.any(1)), np.flatnonzero(full.any(0))
        centred = len(rows) and rows.mean() > method.top * size.height
        narrow = len(columns) < method.widest * size.width
        if centred and narrow and lowered[i] >= method.least_score:
            masks.append(full)
            kept.append(lowered[i])
    return np.array(masks).reshape(-1, *size), np.array(kept)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 9), st.integers(4, 9))
def test_the_maps_are_those_of_resized_features(seed, h, w):
    values = features(seed, h, w)
    scales = (1.0, 0.5, 0.25, 0.7)
    expected = soft_masks_naive(values, scales)
    np.testing.assert_allclose(similarity_maps(values, scales), expected, atol=1e-4)


@pytest.mark.parametrize("seed", [0, 3, 4])
@pytest.mark.parametrize("least_score", [0.3, 0.7])
def test_the_masks_are_the_naive_twins(seed, least_score):
    method = FreeSOLO(least_score=least_score, max_masks=5)
    values, size = features(seed, 8, 9), Size(15, 20)
    found = method(scene(values, size))
    masks, scores = free_mask_naive(values, size, method)
    assert len(masks) > 0
    np.testing.assert_array_equal(found.masks, masks)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-4)


def block(h=8, w=8, rows=slice(3, 7), columns=slice(2, 6)):
    values = np.zeros((h, w, 2), np.float32)
    values[..., 0] = 1
    values[rows, columns] = 0, 1
    return values


def test_an_object_is_found_and_the_ground_is_not():
    found = FreeSOLO(scales=(1.0,))(scene(block(), Size(8, 8)))
    expected = np.zeros((1, 8, 8), bool)
    expected[0, 3:7, 2:6] = True
    np.testing.assert_array_equal(found.masks, expected)
    np.testing.assert_allclose(found.scores, 1)
    assert found.notes["misplaced"] == 1


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"top": 0.5}, {"rows": slice(1, 4)}),
        ({"widest": 0.5}, {}),
        ({"least_patches": 17}, {}),
    ],
)
def test_what_is_no_object_is_left_out(fields, where):
    shown = scene(block(**where), Size(16, 16))
    kept = FreeSOLO(scales=(1.0,), widest=1.0)(shown)
    left = FreeSOLO(scales=(1.0,), **{"widest": 1.0, **fields})(shown)
    assert len(left) == len(kept) - 1 == 0


def test_a_repetition_loses_score_and_the_best_are_kept():
    """All queries inside the block ask for the same mask: one of them is worth its score."""
    shown = scene(features(3, 9, 9), Size(36, 36))
    every = FreeSOLO(least_score=0.0, max_masks=1000, top=0.0, widest=2.0)(shown)
    few = FreeSOLO(least_score=0.0, max_masks=4, top=0.0, widest=2.0)(shown)
    assert len(every) > 10
    assert (np.diff(every.scores) <= 0).all()
    np.testing.assert_array_equal(few.masks, every.masks[:4])


def test_zero_features_resemble_nothing():
    values = block()
    values[0, 0] = 0
    maps = similarity_maps(values, (1.0, 0.5, 0.25))
    assert np.isfinite(maps).all()
    assert len(maps) == 63 + 16 + 4  # the cell of zeros asks for nothing


def test_a_scale_that_leaves_no_cell_gives_no_query():
    values = features(0, 3, 2)
    assert len(similarity_maps(values, (0.25,))) == 0
    assert len(similarity_maps(values, (1.0, 0.5))) == 7


def test_queries_that_all_cells_resemble_alike_are_left_out():
    values = np.full((5, 6, 40), 0.1, np.float32) + np.float32(1e-8)
    assert len(similarity_maps(values, (1.0, 0.5))) == 0


def test_maskness_and_placement_by_hand():
    soft = np.array([[[0.5, 0.9], [0.1, 1.0]]], np.float32)
    masks = soft >= 0.5
    np.testing.assert_allclose(maskness(soft, masks), [0.8], rtol=1e-6)
    masks = np.zeros((2, 6, 5), bool)
    masks[0, 1:3, 4] = masks[0, 5, 0] = True
    centre, across = placement(masks)
    np.testing.assert_allclose(centre, [(1 + 2 + 5) / 3, 0])
    np.testing.assert_array_equal(across, [2, 0])


def test_another_facet_is_refused_by_name():
    with pytest.raises(ConfigError, match="no 'key'; valid: token"):
        FreeSOLO()(scene(block(), Size(8, 8), facet="token"))
