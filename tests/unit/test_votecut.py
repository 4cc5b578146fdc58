import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_twins import FOUR, exact_ties, flood, random_scene

from cleave.masks.votecut import VoteCut
from cleave.ops import ncut, vote
from cleave.ops.cluster import kmeans_1d
from cleave.ops.iou import mask_iou
from cleave.types import Image, Scene


def group_naive(iou, threshold, updates):
    """Clusters around pivots with sets: [(pivot, members)]."""
    count = len(iou)
    like = {i: {j for j in range(count) if iou[i, j] > threshold} for i in range(count)}
    waiting = sorted((i for i in range(count) if like[i]), key=lambda i: (-len(like[i]), -i))
    used, groups = set(), []
    while waiting:
        pivot = waiting.pop(0)
        members = {pivot}
        for _ in range(updates):
            if like[pivot] <= members:
                break
            members |= like[pivot]
            sums = {i: round(sum(iou[i, j] for j in members), 9) for i in sorted(members)}
            pivot = max(sums, key=sums.get)
        if pivot not in used:
            groups.append((pivot, sorted(members - used)))
        used |= members
        waiting = [i for i in waiting if i not in used]
    return groups


def random_masks(seed, count):
    """Rectangles near a few places, so that many are alike."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, 12, 12), bool)
    places = rng.integers(0, 7, (3, 2))
    for mask in masks:
        top, left = places[rng.integers(3)] + rng.integers(0, 2, 2)
        mask[top : top + rng.integers(3, 6), left : left + rng.integers(3, 6)] = True
    return masks


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 30),
    st.sampled_from([0.3, 0.5, 0.6]),
    st.integers(1, 5),
)
def test_groups_are_the_naive_twins(seed, count, threshold, updates):
    masks = random_masks(seed, count)
    iou = mask_iou(masks, masks)
    found = [(pivot, list(members)) for pivot, members in vote.group(iou, threshold, updates)]
    assert found == group_naive(iou, threshold, updates)


def test_groups_are_disjoint_and_the_larger_neighbourhoods_come_first():
    masks = random_masks(1, 40)
    groups = vote.group(mask_iou(masks, masks))
    members = np.concatenate([members for _, members in groups])
    assert len(np.unique(members)) == len(members)


def test_a_share_is_a_mean():
    masks = random_masks(0, 6)
    groups = [vote.Group(0, np.array([0, 2, 3])), vote.Group(5, np.array([5]))]
    shares = vote.shares(masks, groups)
    np.testing.assert_allclose(shares[0], (masks[0] * 1.0 + masks[2] + masks[3]) / 3)
    np.testing.assert_array_equal(shares[1], masks[5])
    assert vote.shares(masks, []).shape == (0, 12, 12)


def proposals_naive(labels, corners, most, side):
    """Labels ascending; components by flooding from the first patch that is left."""
    height, width = labels.shape
    found = []
    for number in sorted(set(labels.ravel().tolist())):
        inside = {(r, c) for r in range(height) for c in range(width) if labels[r, c] == number}
        of_corners = [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)]
        if sum(corner in inside for corner in of_corners) >= corners:
            continue
        parts, left = [], set(inside)
        while left:
            part = flood(min(left), lambda _, patch, left=left: patch in left, FOUR)
            parts.append(part)
            left -= part
        if len(parts) > most:
            continue
        for part in parts:
            rows, columns = [r for r, _ in part], [c for _, c in part]
            if max(max(rows) - min(rows), max(columns) - min(columns)) + 1 >= side:
                mask = np.zeros(labels.shape, bool)
                mask[tuple(zip(*part, strict=True))] = True
                found.append(mask)
    return found


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))
def test_proposals_are_the_naive_twins(seed, corners, most, side):
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 3, (3, 4)), np.ones((2, 2), int))
    labels[rng.random(labels.shape) < 0.1] = 1
    found = vote.proposals(labels, corners=corners, most=most, side=side)
    expected = proposals_naive(labels, corners, most, side)
    np.testing.assert_array_equal(np.reshape(found, (-1, 6, 8)), np.reshape(expected, (-1, 6, 8)))


def ensemble(seed):
    """Three graphs of the same image, one on a coarser grid."""
    scenes = [random_scene(seed, 12, 12, noise) for noise in (0.2, 0.3)]
    return Scene(
        Image("twin", np.zeros((48, 48, 3), np.uint8)),
        graphs=(*(scene.graph for scene in scenes), random_scene(seed + 1, 6, 6).graph),
    )


@pytest.mark.parametrize("seed", range(6))
def test_masks_are_the_steps_one_after_the_other(seed):
    scene = ensemble(seed)
    found = []
    for graph in scene.graphs:
        n = len(graph.edges)
        dense = ncut.dense_spectrum(graph.edges, n, graph.floor, 2).vectors
        weights = np.where(np.unpackbits(graph.edges, axis=1, count=n), 1, graph.floor)
        for vector in dense:
            scaled = exact_ties(vector * np.sqrt(weights.sum(1)))
            for k in (2, 3):
                labels = kmeans_1d(ncut.with_sign(scaled), k).reshape(graph.grid)
                for mask in proposals_naive(labels, 2, 30, 3):
                    times = 12 // len(labels)
                    found.append(np.kron(mask, np.ones((times, times), bool)))
    found = np.array(found)
    groups = group_naive(mask_iou(found, found), 0.6, 5)[:4]
    groups.sort(key=lambda one: -len(one[1]))
    expected = [found[members].mean(0) > 0.2 for _, members in groups]
    sizes = np.array([len(members) for _, members in groups])
    method = VoteCut(eigenvectors=2, smallest_side=3, side=None, max_masks=4, refine="none")
    masks = method(scene)
    np.testing.assert_array_equal(masks.masks, np.kron(expected, np.ones((1, 4, 4), bool)))
    np.testing.assert_allclose(masks.scores, sizes / sizes.max())
    assert masks.notes["proposals"] == len(found)


def test_one_more_graph_that_agrees_raises_only_its_own_mask():
    scene = ensemble(3)
    method = VoteCut(smallest_side=2, side=12, refine="none")
    one = method(Scene(scene.image, graphs=scene.graphs[:1]))
    again = method(Scene(scene.image, graphs=scene.graphs[:1] * 3))
    np.testing.assert_array_equal(one.masks, again.masks)
    np.testing.assert_array_equal(one.scores, again.scores)
    assert again.notes["proposals"] == 3 * one.notes["proposals"]


def test_scores_are_in_the_unit_interval_and_sorted():
    masks = VoteCut(smallest_side=1, side=12, eigenvectors=3, refine="none")(ensemble(0))
    assert 0 < len(masks) <= 10
    assert masks.scores[0] == 1
    assert (np.diff(masks.scores) <= 0).all()
    assert (masks.scores > 0).all()


def test_the_vote_is_above_the_share_and_not_at_it():
    scene = ensemble(2)
    settings_ = {"smallest_side": 2, "side": 12, "refine": "none", "eigenvectors": 3}
    half = VoteCut(share=0.5, **settings_)(scene)
    few = VoteCut(share=0.0, **settings_)(scene)
    assert few.areas.sum() > half.areas.sum()


def test_stored_vectors_are_used_and_missing_ones_computed(monkeypatch):
    scene = ensemble(1)
    wanted = VoteCut(eigenvectors=2, side=12, smallest_side=2, refine="none")
    expected = wanted(scene)
    graphs = []
    for graph in scene.graphs:
        cuts = ncut.spectrum(graph.edges, len(graph.edges), graph.floor, 3)
        parts = {"eigenvalues": cuts.values, "eigenvectors": cuts.vectors}
        graphs.append(type(graph)(**{**vars(graph), **parts, "residuals": cuts.residuals}))
    calls = []
    monkeypatch.setattr(ncut, "spectrum", lambda *args: calls.append(args))
    stored = wanted(Scene(scene.image, graphs=tuple(graphs)))
    assert not calls
    np.testing.assert_array_equal(stored.masks, expected.masks)


class TestRefinement:
    """`guided` needs nothing more; the CRF is compared in the parity tests."""

    def scene(self):
        shown = ensemble(0)
        pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8)
        return Scene(Image("noise", pixels), graphs=shown.graphs)

    def test_masks_whose_refinement_fails_stay_or_go(self):
        settings_ = {"side": 12, "smallest_side": 2, "minimum_iou": 1.0}
        plain = VoteCut(refine="none", side=12, smallest_side=2)(self.scene())
        kept = VoteCut(refine="guided", **settings_)(self.scene())
        strict = VoteCut(refine="guided", keep_unrefined=False, **settings_)(self.scene())
        failed = kept.notes["refinement_failed"]
        assert failed > 0
        assert len(kept) == len(plain)
        assert len(strict) == len(plain) - failed
        same = (kept.masks == plain.masks).all((1, 2))
        assert same.sum() >= failed

    def test_outside_its_crop_a_mask_holds_nothing(self):
        plain = VoteCut(refine="none", side=12, smallest_side=2)(self.scene())
        refined = VoteCut(
            refine="guided", side=12, smallest_side=2, margin=0.0, minimum_iou=0.0
        )(self.scene())  # fmt: skip
        for mask, (x0, y0, x1, y1) in zip(refined.masks, plain.boxes.astype(int), strict=True):
            mask[y0:y1, x0:x1] = False
            assert not mask.any()

    def test_without_a_margin_the_whole_image_is_refined(self):
        found = VoteCut(refine="guided", margin=None, side=12, smallest_side=2, working_size=96)(
            self.scene()
        )
        assert "refined_away" in found.notes
