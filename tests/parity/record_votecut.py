"""Runs CuVLER's VoteCut and records what it answers, for the parity tests.

`goldens/README.md` has the command, the commit and what was patched.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import numpy as np
from recording import GOLDENS, main

from cleave.masks.votecut import VoteCut
from cleave.ops import bits
from cleave.ops.ncut import with_sign
from cleave.types import Image, MaskSet, PatchGraph, Scene, Size

SIDE, CHANNELS, TAU = 24, 32, 0.15
GRIDS = (24, 12, 24, 12)  # patches a side, one graph a backbone
SIZE = Size(96, 120)
SEEDS = (*(0, 1, 2, 3, 4), 8)
SETTINGS = {"one": (1, (2, 3)), "three": (3, (2, 3, 4))}  # eigenvectors and k


def shapes(seed: int, height: int, width: int) -> np.ndarray:
    """(h, w) int: discs of three classes on a ground, the same on every grid."""
    rng = np.random.default_rng(seed)
    row, column = (np.mgrid[:height, :width].T + 0.5).T / np.array([height, width])[:, None, None]
    classes = np.zeros((height, width), int)
    for _ in range(rng.integers(2, 6)):
        y, x, radius = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.3)
        disc = (row - y) ** 2 + ((column - x) * rng.uniform(0.7, 1.4)) ** 2 < radius**2
        classes[disc] = rng.integers(1, 4)
    return classes


def features(seed: int) -> list[np.ndarray]:
    """One (h, w, C) int8 of +1 and -1 a graph.

    Cosines of such vectors are multiples of 1/16: every machine gets the same graphs.
    """
    found = []
    for number, grid in enumerate(GRIDS):
        rng = np.random.default_rng([seed, number])
        content = rng.standard_normal((4, 12))[shapes(seed, grid, grid)]
        content = content + rng.uniform(0.2, 0.8) * rng.standard_normal(content.shape)
        signs = content @ rng.standard_normal((12, CHANNELS)) > 0
        found.append(np.where(signs, 1, -1).astype(np.int8))
    return found


def picture(seed: int) -> np.ndarray:
    """(H, W, 3) uint8: the shapes in shades that grow to the lower right."""
    colours = np.array([[90, 120, 60], [200, 60, 50], [40, 60, 190], [150, 40, 160]])
    row, column = np.mgrid[: SIZE.height, : SIZE.width]
    shade = (row // 8 + column // 8)[..., None]
    return (colours[shapes(seed, *SIZE)] + shade).astype(np.uint8)


def scene_of(signs: list[np.ndarray], pixels: np.ndarray) -> Scene:
    graphs = []
    for one in signs:
        flat = one.reshape(-1, CHANNELS).astype(int)
        edges = bits.pack(flat @ flat.T > TAU * CHANNELS)
        graphs.append(PatchGraph(edges, Size(*one.shape[:2]), Size(*pixels.shape[:2])))
    return Scene(Image("parity", pixels), graphs=tuple(graphs))


def ours(signs: list[np.ndarray], setting: str, pixels: np.ndarray | None = None) -> MaskSet:
    """cleave's masks: at the size of the vote, or refined on an image."""
    eigenvectors, clusters = SETTINGS[setting]
    plain = np.zeros((SIDE, SIDE, 3), np.uint8)
    method = VoteCut(
        eigenvectors=eigenvectors,
        clusters=clusters,
        side=SIDE,
        refine="none" if pixels is None else "crf",
    )
    return method(scene_of(signs, plain if pixels is None else pixels))


class ExactKMeans:
    """The optimum that scikit-learn's k-means looks for, by trying all places to cut; 1-D only.

    Clusters are numbered by ascending value.
    """

    def __init__(self, n_clusters: int, **_):
        self._k = n_clusters

    def fit(self, samples: np.ndarray) -> ExactKMeans:
        values, inverse, counts = np.unique(samples, return_inverse=True, return_counts=True)
        weight, total, square = (
            np.concatenate([[0], np.cumsum(counts * values**power)]) for power in (0, 1, 2)
        )
        n, k = len(values), min(self._k, len(values))
        cost, cuts = np.full((k + 1, n + 1), np.inf), np.zeros((k + 1, n + 1), int)
        cost[0, 0] = 0
        for clusters in range(1, k + 1):
            for end in range(clusters, n + 1):
                sizes, sums = weight[end] - weight[:end], total[end] - total[:end]
                tried = cost[clusters - 1, :end] + square[end] - square[:end] - sums**2 / sizes
                cuts[clusters, end] = np.argmin(tried)
                cost[clusters, end] = tried[cuts[clusters, end]]
        labels, end = np.zeros(n, int), n
        for clusters in range(k, 0, -1):
            labels[cuts[clusters, end] : end], end = clusters - 1, cuts[clusters, end]
        self.labels_ = labels[inverse.ravel()]
        return self


class Reference:
    """CuVLER's functions; `patches` say which of its arbitrary choices are pinned down."""

    def __init__(self, checkout: Path, patches: set[str]):
        sys.path.insert(0, str(checkout))
        from votecut import ncut, votecut

        self._ncut, self._votecut, self._patches = ncut.ncut, votecut, patches

    def eigenvectors(self, signs: np.ndarray, count: int) -> np.ndarray:
        import torch

        flat = torch.from_numpy(signs.reshape(1, -1, CHANNELS).astype(np.float32))
        found = self._ncut(flat, TAU, 1e-5, count)[0][0].T.numpy()
        if "sign" in self._patches:
            found = np.stack([with_sign(vector) for vector in found])
        if "ties" in self._patches:
            found = np.round(found / np.abs(found).max(1, keepdims=True), 8)
        return found.reshape(count, *signs.shape[:2])

    def labels(self, vector: np.ndarray, k: int) -> np.ndarray:
        """(h, w) what CuVLER's k-means makes of a vector, with scikit-learn as it is."""
        found = self._votecut.kmeans_labeling({"0": {"eigenvectors": vector[None]}}, Ks=(k,))
        return found[0]["labels"]

    def __call__(
        self, signs: list[np.ndarray], setting: str, pixels: np.ndarray | None = None
    ) -> list[dict]:
        """The masks of one image: `bit_mask`, `cluster_size`, `mask`, `crf_success`."""
        import PIL.Image

        count, clusters = SETTINGS[setting]
        groups = {
            str(i): {"eigenvectors": self.eigenvectors(one, count)} for i, one in enumerate(signs)
        }
        plain = np.zeros((SIDE, SIDE, 3), np.uint8)
        image = PIL.Image.fromarray(plain if pixels is None else pixels)
        theirs, patches = self._votecut, {}
        if "exact" in self._patches:
            patches["KMeans"] = ExactKMeans
        if pixels is None:
            patches["mask_post_processing"] = lambda mask, *_, **__: (mask, True)
        argsort = np.argsort
        kind = "stable" if "order" in self._patches else None
        with (
            mock.patch.multiple(theirs, **patches),
            mock.patch.object(np, "argsort", lambda a: argsort(a, kind=kind)),
        ):
            labels = theirs.kmeans_labeling_list(theirs.kmeans_labeling(groups, Ks=clusters))
            proposals = theirs.instances_from_semantic_labels(labels)
            return theirs.iou_clustering(proposals, image, patches_shape=(SIDE, SIDE))


def pack(found: list[dict], name: str) -> np.ndarray:
    masks = np.stack([one[name] for one in found]) > 0
    return np.packbits(masks.reshape(len(masks), -1), axis=1)


def record(reference: Reference) -> None:
    signs = [features(seed) for seed in SEEDS]
    flat = [np.concatenate([one.reshape(-1, CHANNELS) for one in case]) for case in signs]
    arrays = {"signs": np.packbits(np.stack(flat) > 0, axis=-1)}
    for setting in SETTINGS:
        for number, case in enumerate(signs):
            found = reference(case, setting)
            arrays[f"{setting}_{number}_masks"] = pack(found, "bit_mask")
            sizes = [one["cluster_size"] for one in found]
            arrays[f"{setting}_{number}_sizes"] = np.array(sizes, np.uint8)
    vectors = reference.eigenvectors(signs[0][0], 3)
    arrays["kmeans"] = np.stack(
        [[reference.labels(vector, k) for k in (2, 3, 4)] for vector in vectors]
    ).astype(np.uint8)
    arrays["pixels"] = picture(SEEDS[1])
    refined = reference(signs[1], "three", arrays["pixels"])
    arrays["refined"] = pack(refined, "mask")
    arrays["success"] = np.array([one["crf_success"] for one in refined])
    np.savez_compressed(GOLDENS / "votecut.npz", **arrays)


def agreement(reference: Reference, count: int) -> str:
    """On how many of `count` random images cleave and the reference give the same masks."""
    same = dict.fromkeys(SETTINGS, 0)
    for seed in range(count):
        signs = features(seed)
        for setting in SETTINGS:
            found, mine = reference(signs, setting), ours(signs, setting)
            masks = np.stack([one["bit_mask"] for one in found]) > 0
            sizes = np.array([one["cluster_size"] for one in found])
            same[setting] += np.array_equal(masks, mine.masks) and np.allclose(
                sizes / sizes.max(), mine.scores
            )
    return f"identical on {same} of {count}"


if __name__ == "__main__":
    main(Reference, record, agreement, ["cuvler"], ["sign", "ties", "exact", "order"])
