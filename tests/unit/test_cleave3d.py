"""masks.cleave3d against its definition, written step by step."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from mask_twins import bipartition_naive, flood, patches_of, random_scene, two_blocks

from cleave.masks.cleave3d import Cleave3D, _core
from cleave.masks.maskcut import MaskCut
from cleave.types import DepthMap, Scene

EIGHT = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)]


def parts_naive(active, z, tau):
    """Patch to part: a flood over 8 neighbours with |dz| <= tau."""
    inside = {tuple(p) for p in np.argwhere(active)}
    labels, count = {}, 0
    for p in sorted(inside):
        if p not in labels:
            found = flood(p, lambda a, b: b in inside and abs(z[a] - z[b]) <= tau, EIGHT)
            labels |= dict.fromkeys(found, count)
            count += 1
    return labels


def merged_naive(active, z, tau, fragment):
    """Parts of fewer than `fragment` patches join a neighbour across the smallest |dz| first."""
    labels = parts_naive(active, z, tau)
    while True:
        sizes = Counter(labels.values())
        seams = []
        for p in sorted(labels):
            for q in sorted((p[0] + r, p[1] + c) for r, c in EIGHT):
                if not (p < q and q in labels) or labels[p] == labels[q]:
                    continue
                if min(sizes[labels[p]], sizes[labels[q]]) < fragment:
                    seams.append((abs(z[p] - z[q]), p, q))
        if not seams:
            return labels
        _, p, q = min(seams)
        keep, lost = labels[p], labels[q]
        labels = {place: keep if label == lost else label for place, label in labels.items()}


def core_naive(part, grid):
    """The patch whose nearest patch outside the part, the grid's rim included, is farthest."""
    h, w = grid
    outside = [(r, c) for r in range(-1, h + 1) for c in range(-1, w + 1) if (r, c) not in part]
    reach = {p: min((p[0] - r) ** 2 + (p[1] - c) ** 2 for r, c in outside) for p in part}
    return min(p for p in part if reach[p] == max(reach.values()))


def cleave3d_naive(scene, method):
    """(part, score, trust of each of its patches) for every mask, cut after cut."""
    h, w = scene.graph.grid
    patch = scene.depth.values.shape[0] // h
    z = scene.depth.values.astype(float).reshape(h, patch, w, patch).min((1, 3))
    z = (z - z.min()) / (z.max() - z.min())
    painted, result = np.zeros((h, w), bool), []
    for _ in range(method.max_cuts):
        _, foreground = bipartition_naive(scene, painted)
        active = foreground & ~painted
        if not active.any():
            break
        labels = merged_naive(active, z, method.tau_depth, method.fragment)
        taus = [method.tau_depth * 2 ** (-1 + 2 * i / 5) for i in range(6)]
        others = [merged_naive(active, z, tau, method.fragment) for tau in taus]
        for label in dict.fromkeys(labels.values()):
            part = {p for p in labels if labels[p] == label}
            if len(part) <= method.small * h * w:
                continue
            core = core_naive(part, (h, w))
            again = [{p for p in other if other[p] == other[core]} for other in others]
            score = sum(len(a & part) / len(a | part) for a in again) / 6
            result.append((part, score, {p: sum(p in a for a in again) / 6 for p in part}))
        painted = painted | foreground
    return result


@pytest.mark.parametrize("fragment", [1, 3, 5])
@pytest.mark.parametrize("seed", range(8))
def test_the_whole_method_equals_its_definition(seed, fragment):
    """Noise above the threshold makes fragments and masks that are not stable."""
    scene = random_scene(seed, 11, 12, depth_noise=0.04, likeness=0.3)
    method = Cleave3D(refine="none", fragment=fragment)
    found = method(scene)
    expected = cleave3d_naive(scene, method)
    assert len(found) == len(expected)
    masks = patches_of(found, scene.graph.grid)
    got = {frozenset(map(tuple, np.argwhere(m).tolist())): i for i, m in enumerate(masks)}
    assert set(got) == {frozenset(part) for part, _, _ in expected}
    for part, score, trust in expected:
        i = got[frozenset(part)]
        assert found.scores[i] == pytest.approx(score)
        for place in part:
            assert found.trust[i][place] == pytest.approx(trust[place], abs=1e-3)


def test_those_scenes_hold_fragments_and_unstable_masks():
    """Guards the comparison above against scenes on which every answer is the same."""
    scenes = [random_scene(seed, 11, 12, depth_noise=0.04, likeness=0.3) for seed in range(8)]
    kept, raw = ([Cleave3D(refine="none", fragment=f)(s) for s in scenes] for f in (5, 1))
    assert sum(r.notes["parts"] for r in raw) > 2 * sum(k.notes["parts"] for k in kept)
    scores = np.concatenate([k.scores for k in kept])
    once = [Cleave3D(refine="none", max_cuts=1)(s) for s in scenes]
    assert sum(map(len, kept)) >= sum(map(len, once)) + 8
    assert 0 < (scores < 0.9).mean() < 1


def test_one_cut_gives_every_depth_component():
    scene, classes = two_blocks(0.5)
    found = Cleave3D(refine="none", max_cuts=1)(scene)
    masks = patches_of(found, scene.graph.grid)
    assert len(masks) == 2
    np.testing.assert_array_equal(masks.any(0), classes == 1)
    assert found.notes["bipartitions"] == 1
    assert found.scores.tolist() == [1.0, 1.0]
    assert (found.trust[masks] == 1).all()


def test_a_step_near_the_threshold_is_less_stable_than_a_large_one():
    near, _ = two_blocks(0.05)  # apart at .035 but not at .07
    far, _ = two_blocks(0.5)
    method = Cleave3D(refine="none", max_cuts=1)
    assert method(near).scores.max() < 0.95
    assert method(far).scores.min() == 1.0


@pytest.mark.parametrize("seed", range(6))
def test_components_equal_a_flood_where_no_fragment_is_merged(seed):
    scene = random_scene(seed)
    method = Cleave3D(refine="none", max_cuts=1, fragment=1, small=0.0, pooling="area", score="one")
    found = method(scene)
    h, w = scene.graph.grid
    patch = scene.depth.values.shape[0] // h
    z = scene.depth.values.astype(float).reshape(h, patch, w, patch).mean((1, 3))
    z = (z - z.min()) / (z.max() - z.min())
    active = bipartition_naive(scene, np.zeros((h, w), bool))[1].reshape(h, w)
    labels = parts_naive(active, z, method.tau_depth)
    expected = {}
    for place, label in labels.items():
        expected.setdefault(label, set()).add(place)
    masks = patches_of(found, scene.graph.grid)
    got = {frozenset(map(tuple, np.argwhere(mask).tolist())) for mask in masks}
    assert got == {frozenset(part) for part in expected.values()}


@pytest.mark.parametrize("seed", range(4))
def test_flat_depth_makes_it_maskcut_with_all_components(seed):
    scene = random_scene(seed, 16, 18)
    flat = Scene(scene.image, graph=scene.graph, depth=DepthMap(np.ones((4, 4), np.float32)))
    ours = Cleave3D(refine="none", connectivity=4, fragment=1)(flat)
    theirs = MaskCut(refine="none", all_components=True)(flat)
    as_sets = [sorted(np.packbits(m).tobytes() for m in found.masks) for found in (ours, theirs)]
    assert as_sets[0] == as_sets[1]


def test_trust_is_the_share_of_thresholds_that_keep_a_patch_with_the_core():
    scene = random_scene(1, 16, 18)
    found = Cleave3D(refine="none")(scene)
    masks = patches_of(found, scene.graph.grid)
    assert len(found)
    assert not found.trust[~masks].any()
    steps = found.trust.astype(float) * 6
    np.testing.assert_allclose(steps, np.rint(steps), atol=0.01)


@pytest.mark.parametrize("score", ["stability", "one", "area"])
def test_scores(score):
    scene, _ = two_blocks(0.05)
    found = Cleave3D(refine="none", max_cuts=1, score=score)(scene)
    if score == "area":
        np.testing.assert_allclose(found.scores, [m.mean() for m in found.masks])
    elif score == "one":
        assert found.scores.tolist() == [1.0, 1.0]
    else:
        assert (found.scores < 1).any()


def test_the_core_is_farthest_from_the_outside():
    mask = np.zeros((7, 9), bool)
    mask[1:6, 1:6] = True
    mask[3, 6:9] = True
    assert _core(mask) == (3, 3)
    assert _core(np.ones((1, 1), bool)) == (0, 0)
