import dataclasses

import numpy as np
import pytest
from hierarchy_twins import iou, merge_naive, nms_naive, parents_naive, random_features
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.masks import windows
from cleave.masks.divide_conquer import DivideConquer
from cleave.masks.windows import refine_in_windows
from cleave.ops.hierarchy import depths
from cleave.spec import ConfigError
from cleave.types import FeatureMap, Image, MaskSet, Scene, Size

PATCH = 4


def scene_of(features, masks, scores=None):
    """Patches of PATCH pixels, and given masks of pixels."""
    size = Size(features.shape[0] * PATCH, features.shape[1] * PATCH)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    masks = np.asarray(masks, bool).reshape(-1, *size)
    scores = np.ones(len(masks)) if scores is None else np.array(scores, float)
    return Scene(
        Image("twin", pixels),
        features=FeatureMap({"key": features.astype(np.float32)}, size, size, PATCH),
        masks=MaskSet(size, masks, scores),
    )


def grown(patches):
    """Patch masks to pixels."""
    return np.asarray(patches, bool).repeat(PATCH, -2).repeat(PATCH, -1)


def method(**fields):
    return DivideConquer(**{"refine": "none", "maximum_area": 1.0, **fields})


def random_scene(seed, h=7, w=8, count=2):
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, h * PATCH, w * PATCH), bool)
    for mask in masks:  # of pixels: their borders cross patches
        y, x = rng.integers(0, (h - 2) * PATCH), rng.integers(0, (w - 2) * PATCH)
        mask[y : y + rng.integers(4, h * PATCH), x : x + rng.integers(4, w * PATCH)] = True
        mask[y : y + 3, x : x + 3] = rng.random() < 0.5
        mask[y, x] = True
    return scene_of(random_features(seed, h, w), masks)


def divide_conquer_naive(scene, method):
    """divide_conquer.py:224-249 on the features of the whole image, pixel by pixel."""
    features = scene.features.facets["key"].astype(float)
    masks, found = list(scene.masks.masks), []
    for mask in masks:
        touched = mask.reshape(len(features), PATCH, -1, PATCH).any((1, 3))
        rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        inside = np.ones_like(touched[box])
        if method.within == "mask":
            inside = mask.reshape(len(features), PATCH, -1, PATCH).mean((1, 3))[box] >= 0.5
        labels, _ = merge_naive(features[box], inside, method.thresholds, method.minimum_patches)
        pool = []
        for level in labels:
            for number in range(1, level.max() + 1):
                part = np.zeros_like(touched)
                part[box] = level == number
                part = grown(part)
                if (part & mask).sum() / part.sum() > method.coverage:
                    pool.append(part)
        found += [pool[i] for i in nms_naive(pool, method.overlap, method.window)]
    masks = np.array(masks + found, bool).reshape(-1, *scene.image.size)
    return masks, parents_naive(masks, method.containment)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([(0.8, 0.4, 0.1), (0.5,)]),
    st.integers(1, 4),
    st.sampled_from(["box", "mask"]),
    st.sampled_from([0.5, 0.9]),
    st.sampled_from([2, 5, None]),
)
def test_masks_and_parents_are_the_naive_twins(seed, thresholds, minimum, within, share, window):
    scene = random_scene(seed)
    ours = method(
        thresholds=thresholds,
        minimum_patches=minimum,
        within=within,
        coverage=share,
        overlap=share,
        window=window,
    )
    found = ours(scene)
    masks, parents = divide_conquer_naive(scene, ours)
    np.testing.assert_array_equal(found.masks, masks)
    assert found.parents.tolist() == parents
    assert found.notes == {"given": 2, "parts": len(masks) - 2, "refined_away": 0}


def body():
    """A body of head and trunk, the trunk of shirt and trousers, on a ground; 12 x 12 patches."""
    base = np.eye(5)
    ground, head = base[0], base[1]
    shirt, trousers = base[2] + 0.8 * base[4], base[3] + 0.8 * base[4]  # cosine .39
    head = head + 0.35 * base[4]  # cosine with either about .2
    features = np.tile(ground, (12, 12, 1))
    features[1:4, 4:8], features[4:7, 3:9], features[7:11, 3:9] = head, shirt, trousers
    whole = np.zeros((12, 12), bool)
    whole[1:4, 4:8] = whole[4:11, 3:9] = True
    return scene_of(features, grown(whole[None])), whole


def test_parts_of_parts_of_a_whole():
    scene, whole = body()
    found = method(window=None)(scene)
    trunk = np.zeros_like(whole)
    trunk[4:11, 3:9] = True
    expected = {
        grown(part).tobytes()
        for part in (whole, trunk, trunk & (np.arange(12) < 7)[:, None], whole & ~trunk)
    } | {grown(trunk & (np.arange(12) >= 7)[:, None]).tobytes()}
    assert {mask.tobytes() for mask in found.masks} - expected == set()
    sizes = found.areas / PATCH**2
    assert sizes[0] == whole.sum()
    assert set(sizes.tolist()) >= {whole.sum(), trunk.sum(), 24, 18, 12}
    level = dict(zip(sizes.tolist(), depths(found.parents).tolist(), strict=True))
    assert (level[trunk.sum()], level[12]) == (1, 1)
    assert (level[24], level[18]) == (2, 2)


def test_features_may_be_centred():
    """An offset that all patches share makes them one region, unless it is taken away."""
    scene, _ = body()
    moved = scene_of(scene.features.facets["key"] + 5.0, scene.masks.masks)
    assert len(method()(moved)) == 1
    plain, shifted = (method(centre=True)(shown) for shown in (scene, moved))
    assert len(plain) > 1
    np.testing.assert_array_equal(plain.masks, shifted.masks)


def test_given_masks_come_first_and_their_scores_are_handed_down():
    scene, whole = body()
    corner = np.zeros_like(whole)
    corner[:1, :1] = True
    scene = scene_of(scene.features.facets["key"], grown([corner, whole]), scores=[0.2, 0.7])
    one = method()(scene)
    assert one.scores.tolist() == [1.0] * len(one)
    handed = method(score="divide")(scene)
    assert handed.scores.tolist() == [0.2] + [0.7] * (len(one) - 1)
    np.testing.assert_array_equal(handed.masks[:2], scene.masks.masks)
    sure = method(score="divide", minimum_score=0.3)(scene)
    np.testing.assert_array_equal(sure.masks, handed.masks[1:])
    assert sure.notes["given"] == 1


def test_nothing_given_nothing_found():
    scene, _ = body()
    none = method()(dataclasses.replace(scene, masks=MaskSet.empty(scene.image.size)))
    assert (len(none), none.parents.tolist()) == (0, [])


def test_parts_that_fill_the_image_are_dropped():
    features = np.tile(np.eye(2)[0], (5, 5, 1))
    features[0, :] = np.eye(2)[1]
    everything = np.ones((1, 20, 20), bool)
    scene = scene_of(features, everything)
    assert len(method(maximum_area=0.79, window=None)(scene)) == 2  # the row remains
    assert len(method(maximum_area=0.8, window=None)(scene)) == 3


def test_a_part_that_outlasts_all_thresholds_stays_twice_as_in_the_code():
    """Its sixth copy is beyond the window of the first one, which alone is left to compare."""
    scene, _ = body()
    six = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    sizes = {w: method(window=w, thresholds=six)(scene).areas.tolist() for w in (5, None)}
    head = 12 * PATCH**2
    assert (sizes[5].count(head), sizes[None].count(head)) == (2, 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"thresholds": (0.1, 0.5)}, "falling"),
        ({"thresholds": (0.5, 0.5)}, "falling"),
        ({"window_sides": (200, 100)}, "least, most"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        DivideConquer(**fields)


def test_windows_lie_around_their_masks(monkeypatch):
    """cascadepsp.py:32-36: within the longer side of the centre, inside the image."""
    seen = []

    def remember(pixels, masks, how, *, size):
        seen.append((pixels.shape[:2], masks.shape[1:], tuple(size), masks[0].sum()))
        return masks, masks.any((1, 2))

    monkeypatch.setattr(windows, "refine", remember)
    masks = np.zeros((3, 100, 200), bool)
    masks[0, 40:50, 100:120] = True  # centre (45, 110), reach 20
    masks[1, 0:10, 0:5] = True  # centre (5, 2.5), reach 10, cut at the border
    pixels = np.zeros((100, 200, 3), np.uint8)
    result = refine_in_windows(pixels, masks, "guided", sides=(20, 30))
    np.testing.assert_array_equal(result, masks)  # the empty one was not looked at
    assert seen == [((30, 30), (40, 40), (40, 40), 200), ((20, 16), (15, 12), (15, 12), 50)]


def test_refinement_snaps_to_edges_and_rejects_what_it_changes_too_much():
    pixels = np.full((120, 160, 3), 60, np.uint8)
    pixels[30:70, 50:110] = (200, 60, 40)
    coarse = np.zeros((2, 120, 160), bool)
    coarse[0, 32:72, 46:106] = True
    coarse[1, 0:100:14, 0:150:14] = True  # dust
    refined = refine_in_windows(pixels, coarse, "guided")
    truth = pixels[..., 0] == 200
    assert iou(refined[0], truth) > iou(coarse[0], truth)
    assert not refined[1].any()
    np.testing.assert_array_equal(refine_in_windows(pixels, coarse, "none"), coarse)


def test_parts_lost_in_refinement_are_counted(monkeypatch):
    scene, _ = body()
    everything = method()(scene)

    def lose_the_first(pixels, masks, how, *, sides):
        lost = masks.copy()
        lost[0] = False
        return lost

    monkeypatch.setattr("cleave.masks.divide_conquer.refine_in_windows", lose_the_first)
    found = method()(scene)
    kept = [0, *range(2, len(everything))]
    np.testing.assert_array_equal(found.masks, everything.masks[kept])
    assert found.notes["refined_away"] == 1
    assert found.parents.tolist() == parents_naive(everything.masks[kept], 0.9)
