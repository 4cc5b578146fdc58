import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_twins import bipartition_naive, random_scene

from cleave.masks import common
from cleave.masks.common import Bisector, disjoint, eigenvector, finish
from cleave.ops import ncut
from cleave.ops.resample import upsample_nearest
from cleave.types import Image, Scene, Size


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 0.6))
def test_cuts_are_the_naive_twins(seed, share):
    scene = random_scene(seed)
    painted = np.random.default_rng(seed).random(scene.graph.grid) < share
    cut = Bisector(scene.graph)(painted)
    vector, foreground = bipartition_naive(scene, painted)
    np.testing.assert_array_equal(cut.foreground.reshape(7, 7), foreground)
    ours = cut.vector.reshape(7, 7) / np.abs(cut.vector).max()
    np.testing.assert_allclose(ours, vector, atol=1e-6)  # the twin's peak is 1


def test_the_first_cut_is_the_one_that_the_graph_brings(monkeypatch):
    scene = random_scene(3)
    n = scene.graph.edges.shape[0]
    spectrum = ncut.spectrum(scene.graph.edges, n, scene.graph.floor)
    graph = dataclasses.replace(scene.graph, eigenvectors=spectrum.vectors)
    monkeypatch.setattr(ncut, "spectrum", None)  # not to be called
    np.testing.assert_array_equal(eigenvector(graph), spectrum.vectors[0])
    nothing = np.zeros(graph.grid, bool)
    expected = ncut.orient(spectrum.vectors[0], graph.grid)
    np.testing.assert_array_equal(Bisector(graph)(nothing).foreground, expected.foreground)


def test_one_painting_is_solved_once(monkeypatch):
    scene, calls, spectrum = random_scene(3), [], ncut.spectrum
    monkeypatch.setattr(ncut, "spectrum", lambda *a, **k: calls.append(1) or spectrum(*a, **k))
    bisect = Bisector(scene.graph)
    painted = np.zeros(scene.graph.grid, bool)
    assert bisect(painted) is bisect(painted.ravel())
    painted[0, 0] = True
    assert bisect(painted) is bisect(painted.copy())
    assert len(calls) == 2


def test_there_is_no_cut_of_a_painted_grid():
    scene = random_scene(3)
    assert Bisector(scene.graph)(np.ones(scene.graph.grid, bool)) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 99))
def test_a_patch_belongs_to_the_first_mask_that_has_it(count, seed):
    masks = np.random.default_rng(seed).random((count, 5, 6)) < 0.4
    total = np.zeros((5, 6), int)
    for mask, left in zip(masks, disjoint(masks), strict=True):
        np.testing.assert_array_equal(left, np.clip(mask - total, 0, 1))  # CutLER, step 10
        total += left


def scene_of_size(height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Scene(Image("wide", pixels))


def squares():
    masks = np.zeros((3, 6, 6), bool)
    masks[0, :3, :3] = masks[1, :3, :3] = masks[2, 2:5, 2:5] = True
    return masks


def test_empty_masks_are_left_out_with_their_scores_and_trust():
    trust = np.stack([np.full((6, 6), value) for value in (0.25, 0.5, 0.75)])
    result = finish(
        scene_of_size(30, 50), squares(), [3, 2, 1], trust=trust, refine="none", notes={"cuts": 3}
    )
    expected = upsample_nearest(squares()[[0, 2]], Size(30, 50))
    expected[1] &= ~expected[0]
    np.testing.assert_array_equal(result.masks, expected)
    assert result.scores.tolist() == [3, 1]
    assert result.trust[:, 0, 0].tolist() == [0.25, 0.75]
    assert result.notes == {"cuts": 3, "refined_away": 0}


def test_earlier_masks_may_stay():
    result = finish(
        scene_of_size(12, 12), squares(), np.ones(3), refine="none", subtract_earlier=False
    )
    np.testing.assert_array_equal(result.masks, upsample_nearest(squares(), Size(12, 12)))


def test_the_refinement_works_on_a_square_and_its_losses_are_counted(monkeypatch):
    seen = []

    def refuse_the_first(pixels, masks, how, *, size):
        seen.append((pixels.shape, how))
        refined = upsample_nearest(masks, size)
        refined[0] = False
        return refined, refined.any((1, 2))

    monkeypatch.setattr(common, "refine", refuse_the_first)
    result = finish(scene_of_size(30, 50), squares(), [3, 2, 1], refine="crf", working_size=24)
    assert seen == [((24, 24, 3), "crf")]
    assert result.scores.tolist() == [1]
    assert result.notes == {"refined_away": 1}


def test_no_masks_make_an_empty_set_with_its_notes():
    result = finish(scene_of_size(30, 50), [], [], trust=[], notes={"cuts": 1})
    assert len(result) == 0
    assert result.size == Size(30, 50)
    assert result.notes == {"cuts": 1}
