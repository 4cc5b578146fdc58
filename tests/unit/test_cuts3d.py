"""masks.cuts3d against LocalCut and its loop written step by step from the text."""

import itertools
from collections import deque

import numpy as np
import pytest
from mask_twins import FOUR, PATCH, bipartition_naive, flood, patches_of, random_scene, two_blocks

from cleave.masks.cuts3d import CutS3D, Terminals, _terminals
from cleave.ops.points import pool_depth
from cleave.registry import make
from cleave.spec import ConfigError
from cleave.types import DepthMap, Scene, Size

LITERAL = {
    "coordinate_scale": 1.0,
    "clip_percent": 0.0,
    "pooling": "area",
    "capacity": "distance",
    "seed_radius": 0,
    "keep_2d_component": False,
    "fallback": False,
    "score": "one",
}


def max_flow_source_side(points, pairs, capacity, sources, sinks):
    """Augmenting paths by breadth-first search; then what the sources still reach."""
    whole = {}
    for p, q in pairs:
        whole[p, q] = whole[q, p] = max(1, round(capacity(p, q) * 10_000))
    around = {p: [q for q in points if (p, q) in whole] for p in points}
    flow = dict.fromkeys(whole, 0)
    while True:
        came = dict.fromkeys(sources)
        queue = deque(sources)
        while queue:
            p = queue.popleft()
            for q in around[p]:
                if q not in came and flow[p, q] < whole[p, q]:
                    came[q] = p
                    queue.append(q)
        ends = [t for t in sinks if t in came]
        if not ends:
            return set(came)
        path, node = [], ends[0]
        while came[node] is not None:
            path.append((came[node], node))
            node = came[node]
        room = min(whole[e] - flow[e] for e in path)
        for p, q in path:
            flow[p, q] += room
            flow[q, p] -= room


def extremes_naive(x, inside):
    """argmax |x| and argmin |x|; patches alike in the graph tie but for round-off: the first."""
    top, low = max(abs(x[p]) for p in inside), min(abs(x[p]) for p in inside)
    s = next(p for p in inside if abs(x[p]) > top - 1e-6 * top)
    t = next(p for p in inside if abs(x[p]) < low + 1e-6 * top)
    return s, t


def local_cut_naive(x, active, cloud, tau, method):
    """LocalCut: points, k-NN union, threshold, terminals, min-cut, 2D component."""
    inside = [tuple(p) for p in np.argwhere(active)]
    s, t = extremes_naive(x, inside)
    position = {p: np.array(cloud[p]) for p in inside}
    if method.outside == "push_back":
        for p in map(tuple, np.argwhere(~active)):
            position[p] = np.array([*cloud[p][:2], cloud.shape_scale])
    points = sorted(position)
    distance = {
        (p, q): np.linalg.norm(position[p] - position[q])
        for p, q in itertools.permutations(points, 2)
    }
    pairs = set()
    for p in points:
        nearest = sorted(distance[p, q] for q in points if q != p)
        reach = nearest[min(method.neighbours, len(nearest)) - 1] * (1 + 1e-9)
        pairs |= {(min(p, q), max(p, q)) for q in points if q != p and distance[p, q] <= reach}
    pairs = [(p, q) for p, q in sorted(pairs) if distance[p, q] <= tau]
    capacity = {
        "distance": lambda p, q: distance[p, q],
        "unit": lambda p, q: 1.0,
        "hinge": lambda p, q: max(0.0, method.tau_knn - distance[p, q]),
        "exp": lambda p, q: np.exp(-((distance[p, q] / (method.tau_knn / 2)) ** 2)),
    }[method.capacity]

    def ball(centre, radius):
        return [p for p in inside if np.hypot(p[0] - centre[0], p[1] - centre[1]) <= radius]

    radius = method.seed_radius
    while set(ball(s, radius)) & set(ball(t, radius)) and radius:
        radius -= 1
    if method.sink == "none" or s == t:
        linked = {(p, q) for pair in pairs for p, q in (pair, pair[::-1])}
        side, new = {s}, {s}
        while new:
            new = {q for p in new for q in points if (p, q) in linked} - side
            side |= new
    else:
        side = max_flow_source_side(points, pairs, capacity, ball(s, radius), ball(t, radius))
    side &= set(inside)
    if method.keep_2d_component:
        side = flood(s, lambda p, q: q in side, FOUR)
    mask = np.zeros(active.shape, bool)
    for p in side:
        mask[p] = True
    return mask


class Cloud(dict):
    """Patch -> its point; knows the far end of the scene."""


def cloud_naive(scene, method):
    h, w = scene.graph.grid
    cells = scene.depth.values.astype(float).reshape(h, PATCH, w, PATCH)
    reduce = {"median": np.median, "area": np.mean, "min": np.min}[method.pooling]
    z = np.array([[reduce(cells[r, :, c]) for c in range(w)] for r in range(h)])
    low, high = np.percentile(z, [method.clip_percent, 100 - method.clip_percent])
    z = np.clip((z - low) / (high - low), 0, 1)
    a = method.coordinate_scale
    side = max(h, w) - 1
    cloud = Cloud(
        {(r, c): (c / side * a, r / side * a, z[r, c] * a) for r in range(h) for c in range(w)}
    )
    cloud.shape_scale = a
    return cloud


def cuts3d_naive(scene, method):
    """Sections 2 to 4: the loop, its stop rules, rejection, and Spatial Confidence."""
    grid = scene.graph.grid
    cloud = cloud_naive(scene, method)
    painted = np.zeros(grid, bool)
    masks, trusts, scores = [], [], []
    for i in range(method.max_masks):
        x, b = bipartition_naive(scene, painted)
        active = b & ~painted
        if not active.any():
            break
        rest = ~painted
        if i >= 1 and (b & rest).sum() / (b | rest).sum() >= method.stop_iou:
            break
        counts = []
        taus = np.linspace(
            method.tau_knn * method.confidence_range, method.tau_knn, method.confidence_cuts
        )
        inside = [tuple(p) for p in np.argwhere(active)]
        s, _ = extremes_naive(x, inside)
        piece = flood(s, lambda p, q, patches=inside: q in patches, FOUR)
        fallback = np.array([[(r, c) in piece for c in range(grid[1])] for r in range(grid[0])])
        if active.sum() < method.neighbours + 1:
            mask = fallback
        else:
            counts = [local_cut_naive(x, active, cloud, tau, method) for tau in taus]
            mask = counts.pop()
        if method.fallback and mask.sum() <= method.small * mask.size:
            mask = fallback
        if mask.sum() <= method.small * mask.size:
            break
        confidence = sum(m.astype(float) for m in [*counts, mask]) / (len(counts) + 1)
        trust = np.where(mask, np.maximum(confidence, method.confidence_floor), 0)
        masks.append(mask)
        trusts.append(trust)
        scores.append(
            {"confidence": trust[mask].mean(), "area": mask.mean(), "one": 1}[method.score]
        )
        painted = painted | mask
    return masks, trusts, scores


VARIANTS = {
    "defaults": {"tau_knn": 0.6},
    "literal": {**LITERAL, "tau_knn": 0.4, "small": 0.0},
    "exp": {"capacity": "exp", "tau_knn": 0.8, "seed_radius": 2, "score": "area"},
    "unit": {"capacity": "unit", "tau_knn": 0.7, "keep_2d_component": False},
    "no sink": {"sink": "none", "tau_knn": 0.6, "small": 0.1},
    "push back": {"outside": "push_back", "tau_knn": 0.7, "fallback": False, "pooling": "min"},
    "dinic": {"solver": "dinic", "tau_knn": 0.6, "confidence_cuts": 3},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_text_step_by_step(variant, seed):
    method = CutS3D(refine="none", neighbours=6, **VARIANTS[variant])
    scene = random_scene(seed)
    masks, trust, scores = cuts3d_naive(scene, method)
    found = method(scene)
    assert len(found) == len(masks)
    if masks:
        np.testing.assert_array_equal(patches_of(found, scene.graph.grid), np.array(masks))
        np.testing.assert_allclose(found.trust, np.array(trust), atol=1e-3)
        np.testing.assert_allclose(found.scores, scores)


def test_the_twin_sees_instances_and_degenerate_cuts():
    """Guards the comparison above: its scenes must not be empty or trivial throughout."""
    method = CutS3D(refine="none", neighbours=6, **VARIANTS["defaults"])
    results = [method(random_scene(seed)) for seed in range(6)]
    assert sum(len(r) for r in results) >= 9
    assert sum(r.notes["connected"] for r in results) >= 3
    assert max(r.scores.max() for r in results) > min(r.scores.min() for r in results)


def test_touching_objects_come_apart_in_3d_and_their_masks_are_disjoint():
    scene, classes = two_blocks()
    found = CutS3D(refine="none", coordinate_scale=None, tau_steps=2.9, max_masks=2)(scene)
    masks = patches_of(found, scene.graph.grid)
    assert len(masks) == 2
    assert not (masks[0] & masks[1]).any()
    assert sorted(int(np.flatnonzero(m.any(0))[0]) for m in masks) == [4, 10]
    np.testing.assert_array_equal(masks.any(0), classes == 1)
    assert found.scores.tolist() == [1.0, 1.0]
    assert found.notes["tau_steps"] == pytest.approx(2.9)
    assert found.notes["connected"] == 0


def test_flat_depth_keeps_them_together():
    scene, classes = two_blocks()
    flat = Scene(scene.image, graph=scene.graph, depth=DepthMap(np.ones((5, 5), np.float32)))
    method = CutS3D(refine="none", sink="none", coordinate_scale=None, tau_steps=2.0, max_masks=1)
    np.testing.assert_array_equal(patches_of(method(flat), scene.graph.grid)[0], classes == 1)


def test_both_solvers_give_the_same_masks_and_trust():
    for seed in range(5):
        scene = random_scene(seed, 20, 24)
        a, b = (CutS3D(refine="none", solver=s)(scene) for s in ("boykov_kolmogorov", "dinic"))
        assert len(a) == len(b)
        np.testing.assert_array_equal(a.masks, b.masks)
        if len(a):
            np.testing.assert_array_equal(a.trust, b.trust)


def test_trust_is_at_least_the_floor_inside_and_zero_outside():
    scene = random_scene(3, 20, 24)
    found = CutS3D(refine="none")(scene)
    assert len(found)
    masks = patches_of(found, scene.graph.grid)
    assert (found.trust[masks] >= 0.5).all()
    assert not found.trust[~masks].any()


def test_terminals_are_the_extremes_of_salience_inside_and_their_regions_disjoint():
    vector = np.array([[0.9, -0.1, 0.3], [-5.0, 0.2, 0.4], [0.0, -0.6, 0.5]]).ravel()
    active = np.ones((3, 3), bool)
    active[1, 0] = active[2, 0] = False
    ends = _terminals(vector, active, 0, True)
    assert ends[:2] == (0, 1)
    assert ends.sources.tolist() == [0]
    near = _terminals(vector, active, 1, True)  # neighbours: any radius above 0 would overlap
    assert (near.sources.tolist(), near.sinks.tolist()) == ([0], [1])
    assert _terminals(vector, active, 1, False).sinks.size == 0


def toy_discs(gap, seed):
    """Two discs that touch, seen at 480 px and averaged to 60 x 60 patches.

    Averaging makes patches between the two depths along the seam: the bridges of the k-NN graph.
    """
    rows, columns = np.indices((480, 480))
    first = (rows - 240) ** 2 + (columns - 159) ** 2 <= 110**2
    second = ((rows - 240) ** 2 + (columns - 324) ** 2 <= 110**2) & ~first
    depth = np.where(first, 0.3, np.where(second, 0.3 + gap, 1.0))
    maps = (depth, first.astype(float), second.astype(float))
    z, one, two = (pool_depth(values, Size(60, 60), "area") for values in maps)
    inside = one + two > 0.5
    z = np.where(inside, z + np.random.default_rng(seed).normal(0, 0.005, z.shape), 1.0)
    cloud = np.stack([*np.indices((60, 60))[::-1] / 59, z], 2).reshape(-1, 3)
    return inside & (one > two), inside & (one <= two), cloud


def toy_iou(gap, seed, radius, **fields):
    first, second, cloud = toy_discs(gap, seed)
    active = first | second
    method = CutS3D(coordinate_scale=1.0, keep_2d_component=False, **fields)
    s, t = 30 * 60 + 20, 30 * 60 + 41
    rows, columns = np.divmod(np.flatnonzero(active), 60)

    def ball(node):
        near = (rows - node // 60) ** 2 + (columns - node % 60) ** 2 <= radius**2
        return np.flatnonzero(active)[near]

    graph = method._graph(active, cloud)
    mask = method._cut(graph, method.tau_knn, Terminals(s, t, ball(s), ball(t)), active)
    return (mask & first).sum() / (mask | first).sum()


@pytest.mark.parametrize("outside", ["drop", "push_back"])
@pytest.mark.parametrize("capacity", ["distance", "unit", "hinge", "exp"])
def test_toy_discs_far_apart_need_no_cut(capacity, outside):
    assert toy_iou(0.5, 0, 0, capacity=capacity, outside=outside) >= 0.93


@pytest.mark.parametrize("gap", [0.2, 0.1])
def test_toy_discs_single_seeds_collapse_and_seed_regions_do_not(gap):
    """The finding of the toy test: the literal cut parts off one patch wherever a bridge holds."""
    for capacity in ("distance", "unit"):
        single = [toy_iou(gap, seed, 0, capacity=capacity) for seed in range(4)]
        tied = [toy_iou(gap, seed, 4, capacity=capacity) for seed in range(4)]
        assert np.mean(single) < 0.6 < 0.9 < np.mean(tied)


def test_unknown_choices_are_refused_with_what_is_valid():
    with pytest.raises(ConfigError, match="one of coordinate_scale and tau_steps"):
        make("masks", {"kind": "cuts3d", "tau_steps": 2.0})
    with pytest.raises(ConfigError, match="capacity"):
        make("masks", {"kind": "cuts3d", "capacity": "area"})
    section = {"kind": "cuts3d", "tau_steps": 2.0, "coordinate_scale": None}
    assert make("masks", section).tau_steps == 2.0
