"""The NCut stage: affinity and three cuts of 3,600 patches, beside the reference's way of it.

The twin is what CutLER's maskcut.py does (arXiv 2301.11320): for every cut the affinity of all
features again, dense float64 matrices, `scipy.linalg.eigh(D - A, D, subset_by_index=[1, 2])`. Its
eigenvector gets our sign rule, without which its masks hang on LAPACK's arbitrary sign.

The compiled products of `cleave.ops.bits` also stand beside SciPy's, their portable stand-in. What
was found when they were chosen, on one core of an EPYC with AVX-512, for 3,600 nodes with 30 % of
all edges: SciPy's gather 1.9 ms a product after 9 ms of preparation; additions masked by AVX-512,
eight lanes at a time, 1.0 ms; tables of subset sums in plain C 0.58 ms after 0.2 ms, and 0.38 ms
where words of 64 missing edges are left out. So there is no code for one machine only.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import scipy.ndimage
import scipy.sparse.linalg

from cleave.graphs.cosine import Cosine
from cleave.io.artifacts import pack_graph
from cleave.io.store import write_shard
from cleave.ops import affinity, bits, native, ncut
from cleave.types import FeatureMap, Size
from tests.bench.harness import Row, peak_memory, timed
from tests.bench.reference import FLOOR, eigenvector

GRID = Size(60, 60)
N = GRID.height * GRID.width
TWIN = "three times: cosines, then scipy.linalg.eigh(D-A, D, subset_by_index=[1, 2])"
PORTABLE = "SciPy's sparse products, what cleave does without a compiler"
# Seed of the features and threshold: about 30 % of the pairs joined as in a photo at tau .15, then
# the same images with smaller eigengaps.
CASES = ((0, 0.15), (1, 0.15), (2, 0.5), (3, 0.65))


def synthetic_features(seed: int, channels: int = 384) -> np.ndarray:
    """(N, channels) float32: regions and smooth fields through a random tanh layer, with noise."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 60, (7, 2))
    position = np.stack(np.divmod(np.arange(N), GRID.width), 1)
    region = np.argmin(np.linalg.norm(position[:, None] - centres, axis=2), axis=1)
    waves = position @ rng.uniform(-0.15, 0.15, (2, 8)) + rng.uniform(0, 6, 8)
    hidden = np.concatenate([1.5 * np.eye(7)[region], np.cos(waves)], axis=1)
    hidden += 0.3 * rng.standard_normal(hidden.shape)
    hidden -= hidden.mean(0)
    output = np.tanh(0.4 * hidden @ rng.standard_normal((15, channels)))
    return output.astype(np.float32)


def paint(vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bipartition as CutLER has it, and the component of its seed."""
    cut = ncut.orient(vector, GRID)
    labels, _ = scipy.ndimage.label(cut.foreground.reshape(GRID))
    return vector > vector.mean(), (labels == labels.flat[cut.seed]).reshape(-1)


Cut = tuple[np.ndarray, np.ndarray]


def our_cuts(features: np.ndarray, threshold: float, cuts: int = 3) -> list[Cut]:
    """(bipartition, mask) of each cut."""
    return cuts_of(bits.pack(affinity.cosine(features) > threshold), cuts)


def cuts_of(edges: np.ndarray, cuts: int = 3) -> list[Cut]:
    """The same of a graph."""
    found = []
    for _ in range(cuts):
        found.append(paint(ncut.spectrum(edges, N, FLOOR).vectors[0]))
        edges = bits.clear(edges, found[-1][1])
    return found


def naive_cuts(features: np.ndarray, threshold: float, cuts: int = 3) -> list[Cut]:
    """The same, as the reference computes it."""
    features = features.copy()
    found = []
    for _ in range(cuts):
        found.append(paint(eigenvector(features, threshold)))
        features[found[-1][1]] = 0
    return found


def agreement(ours: list[Cut], theirs: list[Cut]) -> str:
    equal = sum(np.array_equal(a[0], b[0]) for a, b in zip(ours, theirs, strict=True))
    masks = sum(np.array_equal(a[1], b[1]) for a, b in zip(ours, theirs, strict=True))
    return f"bipartitions {equal}/{len(ours)}, masks {masks}/{len(ours)}"


def eigsh(edges: np.ndarray) -> np.ndarray:
    """The strongest solver among the reference codes, as Deep Spectral Methods call it."""
    weights = np.where(bits.unpack(edges, N), 1.0, FLOOR)
    root = np.sqrt(weights.sum(1))
    operator = weights / root[:, None] / root
    start = np.random.default_rng(0).standard_normal(N)
    _, vectors = scipy.sparse.linalg.eigsh(operator, k=2, which="LA", tol=1e-10, v0=start)
    return ncut.with_sign(vectors[:, 0] / root)


def first_cut(edges: np.ndarray) -> np.ndarray:
    return ncut.spectrum(edges, N, FLOOR).vectors[0]


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """As on a machine where cleave was installed without a compiler."""
    with mock.patch.object(native, "library", return_value=None):
        yield


def memory_of_ours() -> None:
    our_cuts(synthetic_features(0), 0.15)


def memory_of_twin() -> None:
    naive_cuts(synthetic_features(0), 0.15, cuts=1)


def rows() -> Iterator[Row]:
    for seed, threshold in CASES:
        features = synthetic_features(seed)
        edges = bits.pack(affinity.cosine(features) > threshold)
        joined = bits.degrees(edges).mean() / N
        case = f"image {seed}, {joined:.0%} joined"
        yield stage(f"NCut, affinity and three cuts, {case}", features, threshold)
        yield solver(f"first eigenvector alone, {case}", edges)
        yield from kernels(edges, case)
    features = synthetic_features(0)
    for name, rule in rules():
        seconds, _ = timed(lambda rule=rule: rule(affinity.cosine(features)), 5)
        yield Row(f"cosines and {name}", "CPU ms", 1e3 * seconds)
    yield Row(
        "NCut, peak memory of the process", "MB", peak_memory(memory_of_ours),
        peak_memory(memory_of_twin), twin=TWIN,
    )  # fmt: skip
    yield Row("graph of one image", "MB", stored_megabytes(features), 4e-6 * N * N, twin="float32")


def stored_megabytes(features: np.ndarray) -> float:
    """Size of the shard of one image's graph."""
    facet = features.reshape(*GRID, -1)
    graph = Cosine()(FeatureMap({"key": facet}, GRID, GRID, 1), None, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.h5"
        with write_shard(path, spec={}, version=1) as writer:
            writer.add("a", *pack_graph(graph), compress=frozenset({"edges"}))
        return path.stat().st_size / 1e6


def stage(name: str, features: np.ndarray, threshold: float) -> Row:
    ours, found = timed(lambda: our_cuts(features, threshold), 5)
    naive, expected = timed(lambda: naive_cuts(features, threshold))
    return Row(name, "CPU s", ours, naive, agreement(found, expected), TWIN)


def solver(name: str, edges: np.ndarray) -> Row:
    ours, vector = timed(lambda: first_cut(edges), 5)
    naive, expected = timed(lambda: eigsh(edges), 3)
    same = np.count_nonzero(ncut.bipartition(vector) == ncut.bipartition(expected))
    return Row(
        name, "CPU ms", 1e3 * ours, 1e3 * naive, f"patches {same}/{N}", "scipy eigsh, dense f64"
    )


def kernels(edges: np.ndarray, case: str) -> Iterator[Row]:
    """The compiled products, beside cleave itself without them."""
    if native.library() is None:
        return
    for cuts, name in ((1, "first eigenvector"), (3, "three cuts of a graph")):
        ours, found = timed(lambda cuts=cuts: cuts_of(edges, cuts), 5)
        with portable():
            theirs, expected = timed(lambda cuts=cuts: cuts_of(edges, cuts), 5)
        same = agreement(found, expected)
        stage = f"compiled products, {name}, {case}"
        yield Row(stage, "CPU ms", 1e3 * ours, 1e3 * theirs, same, PORTABLE)


def rules() -> list[tuple[str, Callable[[np.ndarray], float]]]:
    rng = np.random.default_rng(0)
    return [
        ("density threshold", lambda a: affinity.density_threshold(a, 0.2)),
        ("near/far threshold", lambda a: affinity.near_far_threshold(a, GRID, rng)),
    ]
