"""ops.merge against the steps of ProMerge written patch by patch."""

import numpy as np
import pytest
from mask_twins import FOUR, flood

from cleave.ops import merge
from cleave.types import Size


def patches(mask):
    return {(int(r), int(c)) for r, c in np.argwhere(mask)}


def blobs(seed, count, h=9, w=11):
    """(count, h, w) bool: unions of rectangles, none empty."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, h, w), bool)
    for mask in masks:
        for _ in range(rng.integers(1, 4)):
            top, left = rng.integers(0, h), rng.integers(0, w)
            mask[top : top + rng.integers(1, 5), left : left + rng.integers(1, 5)] = True
    return masks


def unit_features(seed, n, channels=4):
    features = np.random.default_rng(seed).normal(size=(n, channels))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


def components_naive(mask):
    """Sets of patches, in row-major order of their first."""
    left, found = patches(mask), []
    while left:
        part = flood(min(left), lambda _, q, left=left: q in left, FOUR)
        found.append(part)
        left = left - part
    return found


def split_naive(mask, seed, share):
    parts = components_naive(mask)
    base = next((len(part) for part in parts if seed in part), None)
    if base is None:
        return []
    return sorted((part for part in parts if len(part) >= share * base), key=lambda p: -len(p))


def mean_naive(part, features, w):
    return np.mean([features[r * w + c].astype(float) for r, c in part], axis=0)


def keep_naive(parts, features, ground, w, most_inside, similarity):
    covered, kept = set(), []
    for i in sorted(range(len(parts)), key=lambda i: len(parts[i])):
        new = parts[i] - covered
        alike = mean_naive(parts[i], features, w) @ mean_naive(ground, features, w)
        if new and len(new & ground) / len(new) < most_inside and alike < similarity:
            kept.append(i)
            covered |= parts[i]
    return kept


def merge_naive(parts, features, w, overlap, similar_overlap, similarity):
    clusters = []
    for part in sorted(parts, key=len, reverse=True):
        joined = []
        for cluster in clusters:
            held = len(part & cluster) / len(part)
            alike = mean_naive(part, features, w) @ mean_naive(cluster, features, w)
            if held > overlap or (held > similar_overlap and alike >= similarity):
                joined.append(cluster)
        place = clusters.index(joined[0]) if joined else len(clusters)
        clusters.insert(place, part.union(*joined))
        clusters = [cluster for cluster in clusters if not any(cluster is j for j in joined)]
    return sorted(clusters, key=len, reverse=True)


@pytest.mark.parametrize(
    ("grid", "stride", "expected"),
    [
        (Size(5, 7), 4, [0, 4, 28, 32]),
        (Size(1, 1), 4, [0]),
        (Size(2, 3), 1, [0, 1, 2, 3, 4, 5]),
        (Size(3, 2), 2, [0, 4]),
    ],
)
def test_seeds_stand_at_every_stride(grid, stride, expected):
    assert merge.seed_grid(grid, stride).tolist() == expected


def test_a_side_is_covered_by_more_than_its_half():
    masks = np.zeros((5, 4, 6), bool)
    masks[1, 0, :3] = True  # half of the top
    masks[2, 0, :4] = True
    masks[3, :3, 0] = True  # and one of six at the top
    masks[4] = True
    assert merge.covered_sides(masks).tolist() == [0, 0, 1, 1, 4]
    assert merge.covered_sides(masks[:0]).shape == (0,)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, 3.0])
def test_the_parts_are_the_naive_twins(seed, share):
    masks = blobs(seed, 6)
    masks[3] = False
    rng = np.random.default_rng(seed)
    seeds = np.array([rng.choice(np.flatnonzero(m)) if m.any() else 5 for m in masks])
    seeds[0] = rng.integers(masks[0].size)  # perhaps off its mask
    expected = [
        part
        for mask, at in zip(masks, seeds, strict=True)
        for part in split_naive(mask, divmod(int(at), masks.shape[2]), share)
    ]
    found = merge.split_at_seeds(masks, seeds, share)
    assert found.shape[1:] == masks.shape[1:]
    assert [patches(part) for part in found] == expected


def test_no_masks_have_no_parts():
    nothing = np.zeros((0, 3, 4), bool)
    assert merge.split_at_seeds(nothing, np.zeros(0, int), 0.5).shape == (0, 3, 4)
    assert merge.split_at_seeds(np.zeros((2, 3, 4), bool), np.array([0, 5]), 0.5).shape == (0, 3, 4)
    options = {"overlap": 0.5, "similar_overlap": 0.1, "similarity": 0.1}
    assert merge.merge_overlapping(nothing, unit_features(0, 12), **options).shape == (0, 3, 4)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("most_inside", [0.3, 0.8, 1.1])
@pytest.mark.parametrize("similarity", [-0.1, 0.05, 2.0])
def test_the_foreground_is_the_naive_twins(seed, most_inside, similarity):
    masks, ground = blobs(seed, 12), blobs(seed + 1000, 1)[0]
    features = unit_features(seed, ground.size)
    options = {"most_inside": most_inside, "similarity": similarity}
    found = merge.keep_foreground(masks, features, ground, **options)
    parts = [patches(mask) for mask in masks]
    expected = keep_naive(parts, features, patches(ground), ground.shape[1], **options)
    assert found.tolist() == expected


def test_what_earlier_masks_hold_already_adds_nothing():
    masks = np.zeros((3, 4, 4), bool)
    masks[0, :2] = masks[1, :2] = True  # twice the same, after
    masks[2, 0] = True  # this smaller one
    ground = np.zeros((4, 4), bool)
    ground[3] = True
    options = {"most_inside": 0.8, "similarity": 2.0}
    found = merge.keep_foreground(masks, unit_features(0, 16), ground, **options)
    assert found.tolist() == [2, 0]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize(
    ("overlap", "similar_overlap", "similarity"),
    [(0.5, 0.1, 0.1), (0.9, 0.2, 0.0), (0.3, 0.0, 2.0), (0.6, 0.1, -2.0)],
)
def test_the_clusters_are_the_naive_twins(seed, overlap, similar_overlap, similarity):
    masks = blobs(seed, 10)
    features = unit_features(seed, masks[0].size)
    options = {
        "overlap": overlap,
        "similar_overlap": similar_overlap,
        "similarity": similarity,
    }
    found = merge.merge_overlapping(masks, features, **options)
    parts = [patches(mask) for mask in masks]
    assert [patches(m) for m in found] == merge_naive(parts, features, masks.shape[2], **options)


def test_one_mask_may_join_several_clusters():
    masks = np.zeros((3, 1, 12), bool)
    masks[0, 0, :5] = masks[1, 0, 7:12] = True
    masks[2, 0, 4:8] = True  # a quarter of it in each
    features = np.ones((12, 1), np.float32)
    options = {"overlap": 0.5, "similar_overlap": 0.2}
    assert len(merge.merge_overlapping(masks, features, similarity=0.5, **options)) == 1
    assert len(merge.merge_overlapping(masks, features, similarity=1.5, **options)) == 3
