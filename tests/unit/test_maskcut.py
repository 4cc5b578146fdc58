import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_twins import (
    FOUR,
    bipartition_naive,
    flood,
    patches_of,
    peak_naive,
    random_scene,
    scene_of,
)

from cleave.masks.maskcut import MaskCut
from cleave.ops import ncut


def component_naive(mask, start):
    found = np.zeros_like(mask)
    if mask[start]:
        height, width = mask.shape

        def inside(_, patch):
            return 0 <= patch[0] < height and 0 <= patch[1] < width and mask[patch]

        for patch in flood(start, inside, FOUR):
            found[patch] = True
    return found


def iou_naive(a, b):
    return (a & b).sum() / (a | b).sum() if (a | b).any() else 0.0


def maskcut_naive(scene, count, small, overlap, compare_all):
    """The loop of maskcut.py:111-149 without stopping early: the masks that are not empty."""
    painted, earlier, masks = np.zeros(scene.graph.grid, bool), [], []
    for i in range(count):
        x, b = bipartition_naive(scene, painted)
        mask = component_naive(b, np.unravel_index(peak_naive(x), x.shape))
        if i >= 1:
            others = earlier if compare_all else earlier[-1:]
            alike = any(iou_naive(mask, other) > overlap for other in others)
            if alike or mask.sum() / mask.size <= small:
                mask = np.zeros_like(mask)
        earlier.append(mask)
        masks.append(mask & ~painted)
        painted = painted | mask
    return [mask for mask in masks if mask.any()]


def all_components_naive(scene, count, small):
    painted, masks = np.zeros(scene.graph.grid, bool), []
    for _ in range(count):
        if painted.all():
            break
        _, b = bipartition_naive(scene, painted)
        new, parts = b & ~painted, []
        while new.any():
            part = component_naive(new, tuple(np.argwhere(new)[0]))
            parts.append(part)
            new = new & ~part
        parts = [part for part in parts if part.mean() > small]
        masks += sorted(parts, key=lambda part: -part.sum())  # stable: row-major on ties
        painted = painted | b
    return masks


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.03, 0.1]),
    st.sampled_from([0.2, 0.5, 1.0]),
    st.booleans(),
)
def test_masks_are_the_naive_twins(seed, count, small, overlap, compare_all):
    scene = random_scene(seed, 8, 9)
    method = MaskCut(
        max_masks=count,
        small=small,
        overlap=overlap,
        compare="all" if compare_all else "previous",
        refine="none",
    )
    expected = maskcut_naive(scene, count, small, overlap, compare_all)
    np.testing.assert_array_equal(
        patches_of(method(scene), scene.graph.grid), np.reshape(expected, (-1, 8, 9))
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([0.0, 0.03, 0.1]))
def test_all_components_are_the_naive_twins(seed, count, small):
    scene = random_scene(seed, 8, 9)
    method = MaskCut(max_masks=count, small=small, all_components=True, refine="none")
    expected = all_components_naive(scene, count, small)
    np.testing.assert_array_equal(
        patches_of(method(scene), scene.graph.grid), np.reshape(expected, (-1, 8, 9))
    )


def two_classes():
    """On a 12 x 12 grid: two squares of one class and one of another."""
    classes = np.zeros((12, 12), int)
    classes[1:5, 1:5] = classes[7:11, 7:11] = 1
    classes[2:4, 8:11] = 2
    features = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])[classes] + 0.0
    return scene_of(features, np.zeros((12, 12))), classes


def test_one_component_a_cut_or_all():
    scene, classes = two_classes()
    single = patches_of(MaskCut(max_masks=1, refine="none")(scene), (12, 12))
    every = patches_of(MaskCut(max_masks=1, refine="none", all_components=True)(scene), (12, 12))
    assert len(single) == 1
    assert len(every) > 1
    union = every.any(0)
    for number in range(3):
        assert len(np.unique(union[classes == number])) == 1  # no class was cut apart
    assert any(np.array_equal(single[0], mask) for mask in every)


@pytest.fixture
def problems(monkeypatch):
    """The eigenproblems that are solved, as edge sets."""
    solved, spectrum = [], ncut.spectrum

    def counted(edges, *args, **kwargs):
        solved.append(edges.tobytes())
        return spectrum(edges, *args, **kwargs)

    monkeypatch.setattr(ncut, "spectrum", counted)
    return solved


def test_no_mask_where_all_patches_are_alike():
    uniform = scene_of(np.ones((6, 6, 2)), np.zeros((6, 6)))
    masks = MaskCut(refine="none")(uniform)
    assert len(masks) == 0
    assert masks.notes["cuts"] == 0


def test_no_eigenproblem_is_solved_twice(problems):
    for seed in range(30):
        problems.clear()
        MaskCut(max_masks=6, refine="none")(random_scene(seed, 8, 9))
        assert len(problems) == len(set(problems))


def test_a_cut_of_what_is_painted_ends_the_loop(problems):
    scene, _ = two_classes()
    masks = MaskCut(max_masks=50, refine="none", all_components=True)(scene)
    assert len(problems) <= masks.notes["cuts"] + 1 < 50


def test_an_overlapping_mask_comes_back_only_if_the_previous_is_compared():
    differing = 0
    for seed in range(60):
        scene = random_scene(seed, 8, 9)
        found = {}
        for compare in ("previous", "all"):
            method = MaskCut(max_masks=4, overlap=0.3, compare=compare, refine="none")
            found[compare] = method(scene).masks
        naive = maskcut_naive(scene, 4, 0.01, 0.3, False)
        differing += len(found["all"]) != len(found["previous"])
        assert len(naive) == len(found["previous"]) >= len(found["all"])
    assert differing
