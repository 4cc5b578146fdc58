"""VoteCut gives the masks and scores of CuVLER's code (goldens/README.md says how)."""

import dataclasses

import numpy as np
import pytest
from record_votecut import CHANNELS, GRIDS, SETTINGS, SIDE, SIZE, ours, scene_of
from recording import GOLDENS

from cleave.masks.votecut import VoteCut
from cleave.ops.cluster import kmeans_1d

GOLDEN = np.load(GOLDENS / "votecut.npz")


def signs_of(case):
    flat = np.unpackbits(GOLDEN["signs"][case], axis=-1, count=CHANNELS).astype(np.int8) * 2 - 1
    ends = np.cumsum([grid * grid for grid in GRIDS])
    return [
        part.reshape(grid, grid, CHANNELS)
        for part, grid in zip(np.split(flat, ends[:-1]), GRIDS, strict=True)
    ]


def unpack(packed, size):
    bits = np.unpackbits(packed, axis=1, count=size[0] * size[1])
    return bits.reshape(-1, *size).astype(bool)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("case", range(len(GOLDEN["signs"])))
def test_masks_and_scores_are_cuvlers(case, setting):
    found = ours(signs_of(case), setting)
    np.testing.assert_array_equal(
        found.masks, unpack(GOLDEN[f"{setting}_{case}_masks"], (SIDE, SIDE))
    )
    sizes = GOLDEN[f"{setting}_{case}_sizes"]
    np.testing.assert_allclose(found.scores, sizes / sizes.max())


def test_masks_refined_on_their_crops_are_cuvlers():
    pytest.importorskip("pydensecrf", reason="the CRF is an extra: pip install pydensecrf2")
    found = ours(signs_of(1), "three", GOLDEN["pixels"])
    np.testing.assert_array_equal(found.masks, unpack(GOLDEN["refined"], SIZE))
    assert found.notes["refinement_failed"] == (~GOLDEN["success"]).sum()


def test_clusters_of_numbers_are_no_worse_than_scikit_learns_and_nearly_the_same():
    method = VoteCut(eigenvectors=3, refine="none")
    graph = scene_of(signs_of(0), np.zeros((SIDE, SIDE, 3), np.uint8)).graphs[0]
    for vector, by_k in zip(method._vectors(graph), GOLDEN["kmeans"], strict=True):
        for k, theirs in zip((2, 3, 4), by_k, strict=True):
            labels = kmeans_1d(vector, k)
            means = [vector[theirs.ravel() == number].mean() for number in range(k)]
            theirs = np.argsort(np.argsort(means))[theirs.ravel()]
            assert (labels != theirs).mean() < 0.01
            assert _cost(vector, labels) <= _cost(vector, theirs) + 1e-9


def _cost(values, labels):
    parts = (values[labels == number] for number in np.unique(labels))
    return sum(np.square(part - part.mean()).sum() for part in parts)


@pytest.mark.parametrize(
    "changed",
    [
        {"problem": "generalised"},
        {"clusters": (2,)},
        {"corners": 3},
        {"smallest_side": 3},
        {"overlap": 0.7},
        {"share": 0.4},
        {"max_masks": 3},
        {"pivot_updates": 1},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_goldens_would_notice_a_changed_rule(changed):
    count, clusters = SETTINGS["three"]
    method = VoteCut(eigenvectors=count, clusters=clusters, side=SIDE, refine="none")
    changed_method = dataclasses.replace(method, **changed)
    assert not all(_as_recorded(changed_method, case) for case in range(len(GOLDEN["signs"])))


def _as_recorded(method, case):
    found = method(scene_of(signs_of(case), np.zeros((SIDE, SIDE, 3), np.uint8)))
    sizes = GOLDEN[f"three_{case}_sizes"]
    masks = unpack(GOLDEN[f"three_{case}_masks"], (SIDE, SIDE))
    return np.array_equal(found.masks, masks) and np.allclose(found.scores, sizes / sizes.max())
