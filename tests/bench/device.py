"""Affinities, eigenproblems and cuts of many images at a time on a GPU, beside the CPU's path.

Without a GPU there are no rows. Times are of the clock on the wall, arrays from and to the CPU's
memory included; the CPU's are of one image after the other in this process. The roofline is what
this device reached here: bytes a second of a copy, FLOPs a second of a large float32 product.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from cleave.graphs.cosine import Cosine
from cleave.io.device import device, inference
from cleave.ops import affinity, bits
from cleave.ops.batched import affinity as on_device
from cleave.ops.batched import ncut as batched
from cleave.stages.together import TOGETHER
from cleave.types import FeatureMap
from tests.bench.harness import Row, timed
from tests.bench.ncut import GRID, N, agreement, our_cuts, paint, synthetic_features

THRESHOLD = 0.15
CHANNELS = 384
CUTS = 3
TWIN = "the CPU's path"


def rows() -> Iterator[Row]:
    if device() == "cpu":
        print("device: torch finds no GPU here, so there is nothing to measure")
        return
    yield from measured(device(), TOGETHER, 13)


def measured(where: str, images: int, scale: int) -> Iterator[Row]:
    """All rows; `scale` is the logarithm of the side of the matrices that the roofline is of."""
    features = [synthetic_features(seed, CHANNELS) for seed in range(images)]
    with inference():
        copied, product = copy_rate(where, scale), product_rate(where, scale)
        yield Row("device, copy", "GB/s", copied / 1e9)
        yield Row("device, float32 product", "TFLOP/s", product / 1e12)
        yield affinities(where, features, product)
        yield solver(where, features, copied)
        yield cuts(where, features)
        yield graphs(where, features)


def wall(where: str, function: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """`timed` by the wall's clock; what the device still works on counts."""

    def finished() -> Any:
        found = function()
        if where != "cpu":
            torch.cuda.synchronize()
        return found

    return timed(finished, repeats, time.perf_counter)


def copy_rate(where: str, scale: int) -> float:
    """Bytes a second, read and written ones."""
    source = torch.ones(4**scale, dtype=torch.float64, device=where)
    target = torch.empty_like(source)
    seconds, _ = wall(where, lambda: target.copy_(source), 9)
    return 2 * source.nbytes / seconds


def product_rate(where: str, scale: int) -> float:
    """FLOPs a second."""
    matrix = torch.ones(2**scale, 2**scale, device=where)
    seconds, _ = wall(where, lambda: matrix @ matrix, 9)
    return 2 * len(matrix) ** 3 / seconds


def affinities(where: str, features: list[np.ndarray], rate: float) -> Row:
    def ours() -> list[np.ndarray]:
        units = [on_device.unit_rows(torch.as_tensor(f).to(where), False) for f in features]
        return [on_device.edges(on_device.cosine(unit), THRESHOLD, unit) for unit in units]

    count = len(features)
    fast, found = wall(where, ours)
    slow, expected = wall("cpu", lambda: [joined(f) for f in features[:4]])
    flipped = sum(np.bitwise_count(a ^ b).sum() for a, b in zip(found, expected, strict=False))
    share = count * 2 * N * N * CHANNELS / fast / rate
    same = f"{flipped} of {4 * N * N} edges differ; {share:.1%} of the product's FLOPs a second"
    return Row(
        f"device, affinity and edges, one of {count}", "ms", 1e3 * fast / count, 250 * slow, same,
        TWIN,
    )  # fmt: skip


def joined(features: np.ndarray) -> np.ndarray:
    return bits.pack(affinity.cosine(features) > THRESHOLD)


def solver(where: str, features: list[np.ndarray], rate: float) -> Row:
    """The first eigenvectors; the roofline is of reading each float64 matrix at each product."""
    edges, count = [joined(f) for f in features], len(features)
    products = []
    plain = batched._Graphs.multiply

    def counted(graphs: Any, block: torch.Tensor) -> torch.Tensor:
        products.append(graphs.edges.nbytes)
        return plain(graphs, block)

    with patch.object(batched._Graphs, "multiply", counted):
        batched.Solver(where).spectra(edges, N)
    fast, found = wall(where, lambda: batched.Solver(where).spectra(edges, N))
    slow, expected = wall("cpu", lambda: [batched.ncut.spectrum(e, N) for e in edges])
    same = sum(
        np.array_equal(*(batched.ncut.bipartition(s.vectors[0]) for s in pair))
        for pair in zip(found, expected, strict=True)
    )
    share = sum(products) / fast / rate
    return Row(
        f"device, first eigenvector, one of {count}", "ms", 1e3 * fast / count, 1e3 * slow / count,
        f"bipartitions {same}/{count}; {len(products)} products, {share:.1%} of the copy's bytes "
        "a second", TWIN,
    )  # fmt: skip


def cuts(where: str, features: list[np.ndarray]) -> Row:
    """Affinity and three cuts, each of all images together."""

    def ours() -> list[list[Any]]:
        units = [on_device.unit_rows(torch.as_tensor(f).to(where), False) for f in features]
        edges = [on_device.edges(on_device.cosine(unit), THRESHOLD, unit) for unit in units]
        found: list[list[Any]] = [[] for _ in features]
        solve = batched.Solver(where)
        for _ in range(CUTS):
            for k, spectrum in enumerate(solve.spectra(edges, N)):
                found[k].append(paint(spectrum.vectors[0]))
                edges[k] = bits.clear(edges[k], found[k][-1][1])
        return found

    count = len(features)
    fast, found = wall(where, ours)
    slow, expected = wall("cpu", lambda: [our_cuts(f, THRESHOLD, CUTS) for f in features[:4]])
    pairs = [[cut for image in cut_images[:4] for cut in image] for cut_images in (found, expected)]
    same = agreement(*pairs)
    return Row(
        f"device, affinity and {CUTS} cuts, one of {count}", "ms", 1e3 * fast / count, 250 * slow,
        same, TWIN,
    )  # fmt: skip


def graphs(where: str, features: list[np.ndarray]) -> Row:
    """What the stage has made of each image but reading and writing: `Cosine.batch`."""
    maker, count = Cosine(rule="near_far", centre=True), len(features)
    maps = [FeatureMap({"key": f.reshape(*GRID, -1)}, GRID, GRID, 1) for f in features]

    def inputs() -> list[tuple[Any, ...]]:
        return [(each, None, np.random.default_rng(0)) for each in maps]

    fast, found = wall(where, lambda: maker.batch(inputs(), batched.Solver(where)))
    slow, expected = wall("cpu", lambda: [maker(*each) for each in inputs()[:4]])
    same = sum(
        np.array_equal(*(batched.ncut.bipartition(graph.eigenvectors[0]) for graph in pair))
        for pair in zip(found, expected, strict=False)
    )
    return Row(
        f"device, graph, near/far threshold, one of {count}", "ms", 1e3 * fast / count, 250 * slow,
        f"bipartitions {same}/4", TWIN,
    )  # fmt: skip
