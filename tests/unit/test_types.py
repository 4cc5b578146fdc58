"""The types between stages refuse what they must not hold, when they are made."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleave.types import DataError, DepthMap, FeatureMap, Image, MaskSet, PatchGraph, Size

SIZE = Size(6, 8)
NAN, INFINITY = float("nan"), float("inf")


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def filled(*shape, value):
    return np.full(shape, value, np.float32)


def features(**changes):
    given = {"facets": {"key": zeros(2, 3, 4)}, "size": SIZE, "input_size": SIZE, "stride": 2}
    return FeatureMap(**given | changes)


def graph(**changes):
    given = {"edges": zeros(6, 1, dtype=np.uint8), "grid": Size(2, 3), "size": SIZE}
    return PatchGraph(**given | changes)


def masks(count=2, **changes):
    given = {"size": SIZE, "masks": zeros(count, 6, 8, dtype=bool), "scores": zeros(count)}
    return MaskSet(**given | changes)


GOOD = {
    "image": lambda: Image("a", zeros(6, 8, 3, dtype=np.uint8)),
    "features": features,
    "two facets": lambda: features(facets={"key": zeros(2, 3, 4), "value": zeros(2, 3, 9)}),
    "cls": lambda: features(cls=zeros(4), attention=zeros(2, 2, 3), heads=2),
    "depth": lambda: DepthMap(zeros(6, 8)),
    "coarse depth": lambda: DepthMap(zeros(1, 1), "metre", 1.0),
    "graph": graph,
    "spectrum": lambda: graph(
        importance=zeros(2, 3), eigenvalues=zeros(2), eigenvectors=zeros(2, 6), residuals=zeros(2)
    ),
    "masks": masks,
    "no masks": lambda: masks(0),
    "all of a mask": lambda: masks(
        labels=zeros(2, dtype=np.int64), parents=np.array([-1, 0]), trust=zeros(2, 3, 4)
    ),
}

REFUSED = {
    "grey image": (lambda: Image("a/b", zeros(6, 8, dtype=np.uint8)), "image 'a/b'.*(6, 8)"),
    "alpha": (lambda: Image("a", zeros(6, 8, 4, dtype=np.uint8)), r"\(6, 8, 4\) uint8"),
    "float image": (lambda: Image("a", zeros(6, 8, 3)), "got.*float32"),
    "empty image": (lambda: Image("a", zeros(0, 8, 3, dtype=np.uint8)), "got"),
    "no facet": (lambda: features(facets={}), "at least one facet"),
    "two grids": (
        lambda: features(facets={"key": zeros(2, 3, 4), "value": zeros(3, 2, 4)}),
        "different grids",
    ),
    "flat facet": (lambda: features(facets={"key": zeros(2, 3)}), "'key'.*expected.*h, w, C"),
    "NaN facet": (lambda: features(facets={"key": filled(2, 3, 4, value=NAN)}), "'key' holds NaN"),
    "cls of an axis": (lambda: features(cls=zeros(1, 4)), "cls"),
    "attention of another grid": (
        lambda: features(attention=zeros(2, 3, 2), heads=2),
        r"attention.*\(2, 2, 3\).*\(2, 3, 2\)",
    ),
    "attention of other heads": (lambda: features(attention=zeros(3, 2, 3), heads=2), "attention"),
    "depth with channels": (lambda: DepthMap(zeros(6, 8, 1)), r"expected \(H, W\)"),
    "empty depth": (lambda: DepthMap(zeros(0, 8)), r"got \(0, 8\)"),
    "NaN depth": (lambda: DepthMap(filled(2, 2, value=NAN)), "NaN or infinity"),
    "infinite depth": (lambda: DepthMap(filled(2, 2, value=INFINITY)), "NaN or infinity"),
    "share of depth": (lambda: DepthMap(zeros(2, 2), filled=1.5), "filled"),
    "unpacked edges": (lambda: graph(edges=zeros(6, 6, dtype=np.uint8)), r"expected \(6, 1\)"),
    "edges of a type": (lambda: graph(edges=zeros(6, 1, dtype=bool)), "uint8"),
    "edges of a grid": (lambda: graph(grid=Size(3, 3)), r"expected \(9, 2\)"),
    "importance": (lambda: graph(importance=zeros(3, 2)), r"importance.*\(2, 3\).*\(3, 2\)"),
    "vectors": (lambda: graph(eigenvalues=zeros(1), eigenvectors=zeros(6)), "eigenvectors"),
    "values": (lambda: graph(eigenvalues=zeros(2), eigenvectors=zeros(1, 6)), "eigenvectors"),
    "masks of a size": (lambda: masks(masks=zeros(2, 8, 6, dtype=bool)), r"expected \(M, 6, 8\)"),
    "masks of a type": (lambda: masks(masks=zeros(2, 6, 8, dtype=np.uint8)), "uint8"),
    "one mask": (lambda: masks(masks=zeros(6, 8, dtype=bool)), r"got \(6, 8\)"),
    "scores": (lambda: masks(scores=zeros(3)), "scores: expected 2 entries, got 3"),
    "NaN scores": (lambda: masks(scores=filled(2, value=NAN)), "scores hold NaN"),
    "labels": (lambda: masks(labels=zeros(1)), "labels: expected 2 entries, got 1"),
    "parents": (lambda: masks(parents=zeros(3)), "parents: expected 2 entries"),
    "strangers": (lambda: masks(parents=np.array([-1, 2])), "parents: expected indices of 2"),
    "trust": (lambda: masks(trust=zeros(1, 3, 4)), "trust: expected 2 entries"),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
def test_good_values_are_frozen(make):
    value = make()
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.size = SIZE


@pytest.mark.parametrize(("make", "expected"), REFUSED.values(), ids=REFUSED)
def test_refused(make, expected):
    with pytest.raises(DataError, match=expected):
        make()


def test_sizes_and_grids():
    assert Image("a", zeros(6, 8, 3, dtype=np.uint8)).size == Size(height=6, width=8)
    assert features().grid == Size(2, 3)


def some_masks(seed, count):
    rng = np.random.default_rng(seed)
    drawn = rng.random((count, *SIZE)) < rng.choice([0, 0.05, 0.5], (count, 1, 1))
    return MaskSet(
        SIZE,
        drawn,
        rng.random(count),
        labels=np.arange(count),
        parents=np.arange(count) - 1,
        trust=rng.random((count, 2, 2)).astype(np.float16),
        notes={"cuts": 3.0},
    )


@given(st.integers(0, 9999), st.integers(0, 4))
def test_boxes_and_areas_as_pixels_say(seed, count):
    found = some_masks(seed, count)
    assert found.boxes.shape == (count, 4)
    for mask, box, area in zip(found.masks, found.boxes, found.areas, strict=True):
        pixels = [(y, x) for y in range(6) for x in range(8) if mask[y, x]]
        rows, columns = [y for y, _ in pixels], [x for _, x in pixels]
        if pixels:
            expected = [min(columns), min(rows), max(columns) + 1, max(rows) + 1]
        else:
            expected = [0, 0, 0, 0]
        assert box.tolist() == expected
        assert area == len(pixels)


def parents_naive(parents, picked):
    """Up the tree from each picked mask until one is picked too."""
    found = []
    for mask in picked:
        above = parents[mask]
        while above >= 0 and above not in picked:
            above = parents[above]
        found.append(picked.index(above) if above >= 0 else -1)
    return found


@given(st.integers(0, 9999), st.integers(0, 9))
def test_children_of_what_is_left_out_go_to_the_nearest_ancestor_that_stays(seed, count):
    rng = np.random.default_rng(seed)
    names = rng.permutation(count)  # a parent may come after its children
    parents = np.full(count, -1)
    for i in range(1, count):
        parents[names[i]] = rng.choice([-1, names[rng.integers(i)]])
    found = dataclasses.replace(some_masks(seed, count), parents=parents)
    picked = rng.permutation(count)[: rng.integers(count + 1)]
    expected = parents_naive(parents.tolist(), picked.tolist())
    assert found[picked].parents.tolist() == expected
    assert found[np.sort(picked)[::-1]][::-1].parents.tolist() == parents_naive(
        parents.tolist(), sorted(picked.tolist())
    )
    assert dataclasses.replace(found, parents=None)[picked].parents is None


def test_a_ring_of_parents_is_refused_where_it_is_walked():
    ring = dataclasses.replace(some_masks(0, 3), parents=np.array([1, 0, 0]))
    with pytest.raises(DataError, match="in a ring"):
        ring[2]


@pytest.mark.parametrize(
    ("index", "picked"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        ([2, 0], [2, 0]),
        (np.array([True, False, False, True]), [0, 3]),
        ([], []),
        (2, [2]),
        (-1, [3]),
        (np.argsort([0.3, 0.1, 0.4, 0.2]), [1, 3, 0, 2]),
    ],
)
def test_picking_masks(index, picked):
    found = some_masks(1, 4)
    some = found[index]
    assert len(some) == len(picked)
    for name in ("masks", "scores", "labels", "trust"):
        np.testing.assert_array_equal(getattr(some, name), getattr(found, name)[picked])
    assert some.parents.tolist() == parents_naive(found.parents.tolist(), picked)
    assert some.notes == {"cuts": 3.0}
    assert some.size == SIZE


def test_a_detectors_boxes_are_kept_beside_its_masks():
    boxes = np.array([[0.5, 1, 2, 3], [4, 5, 6.5, 7]])
    found = masks(detected=boxes)
    np.testing.assert_array_equal(found.boxes, boxes)
    np.testing.assert_array_equal(found[1:].boxes, boxes[1:])
    with pytest.raises(DataError, match=r"detected: expected \(2, 4\), got \(3, 4\)"):
        masks(detected=np.zeros((3, 4)))


def test_empty_sets():
    none = MaskSet.empty(SIZE)
    assert len(none) == len(none[:]) == 0
    assert none.boxes.shape == (0, 4)
    assert none.areas.shape == (0,)
