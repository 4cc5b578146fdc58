"""FeatureMap, DepthMap and PatchGraph to and from the arrays and attributes of a shard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cleave.types import DataError, DepthMap, FeatureMap, PatchGraph, Size

Arrays = dict[str, np.ndarray]
Attributes = dict[str, Any]
_OPTIONAL = ("cls", "attention", "cls_query")
_FLOAT16_PEAK = float(np.finfo(np.float16).max)


def pack_features(features: FeatureMap) -> tuple[Arrays, Attributes]:
    """float16: 2.8 MB for the keys of ViT-S/8 at 480 px.

    Raises:
        DataError: a value beyond what float16 holds.
    """
    arrays = {f"facet_{name}": _halved(name, facet) for name, facet in features.facets.items()}
    for name in _OPTIONAL:
        if (value := getattr(features, name)) is not None:
            arrays[name] = _halved(name, value)
    return arrays, {
        "size": features.size,
        "input_size": features.input_size,
        "stride": features.stride,
        "heads": features.heads,
    }


def _halved(name: str, values: np.ndarray) -> np.ndarray:
    peak = float(np.abs(values).max(initial=0))
    if peak > _FLOAT16_PEAK:
        raise DataError(f"{name}: reaches {peak:g}, more than the {_FLOAT16_PEAK:g} of float16")
    return values.astype(np.float16)


def unpack_features(arrays: Mapping[str, np.ndarray], attributes: Attributes) -> FeatureMap:
    prefix = "facet_"
    facets = {
        name.removeprefix(prefix): array.astype(np.float32)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    optional = {n: arrays[n].astype(np.float32) for n in _OPTIONAL if n in arrays}
    return FeatureMap(
        facets,
        Size(*attributes["size"]),
        Size(*attributes["input_size"]),
        attributes["stride"],
        heads=attributes["heads"],
        **optional,
    )


def pack_depth(depth: DepthMap) -> tuple[Arrays, Attributes]:
    """float16 keeps 11 bits of values in its range; others are scaled, and the factor is kept.

    Between 1 and 60,000 a peak leaves room for 16,000 times nearer values at all bits. The factor
    is a power of two, so that scaling itself rounds nothing.
    """
    peak = float(np.abs(depth.values).max())
    fits = peak == 0 or 1 <= peak <= 60000
    scale = 1.0 if fits else 2.0 ** math.ceil(math.log2(peak / 60000))
    values = (depth.values / np.float32(scale)).astype(np.float16)
    return {"values": values}, {"unit": depth.unit, "filled": depth.filled, "scale": scale}


def unpack_depth(arrays: Mapping[str, np.ndarray], attributes: Attributes) -> DepthMap:
    values = arrays["values"].astype(np.float32) * np.float32(attributes["scale"])
    return DepthMap(values, attributes["unit"], attributes["filled"])


_GRAPH_ARRAYS = ("importance", "eigenvalues", "eigenvectors", "residuals")


def pack_graph(graph: PatchGraph) -> tuple[Arrays, Attributes]:
    """Keeps half of the edges, which are symmetric: 0.81 MB at 3,600 patches before compression.

    Byte (g, j) holds what patches 8 g to 8 g + 7 are to patch j, and stays if j >= 8 g. Whole bytes
    of one column compress a fifth better than the bits of the upper triangle row by row.
    """
    arrays = {"edges": graph.edges.T[_kept(len(graph.edges))]}
    for name in _GRAPH_ARRAYS:
        if (value := getattr(graph, name)) is not None:
            arrays[name] = value
    return arrays, {
        "grid": graph.grid,
        "size": graph.size,
        "floor": graph.floor,
        "threshold": graph.threshold,
    }


def _kept(n: int) -> np.ndarray:
    """(ceil(n/8), n) bool: the bytes that `pack_graph` keeps."""
    return np.arange(n) >= 8 * np.arange((n + 7) // 8)[:, None]


def _mirrored(half: np.ndarray, n: int) -> np.ndarray:
    """The packed rows that `pack_graph` was given.

    Byte (g, j), if kept, is byte (j, g) of the rows as it stands, for the edges are symmetric. The
    other bytes of row j come from bit j % 8 of the bytes (j // 8, ...), a bit at a time. No matrix
    of n x n bytes is made or transposed, which took nine times as long.
    """
    kept = _kept(n)
    columns = np.zeros(kept.shape, np.uint8)
    columns[kept] = half
    rows = np.empty((8 * len(kept), len(kept)), np.uint8)
    for bit in range(8):
        rows[bit::8] = np.packbits(columns & np.uint8(128 >> bit), axis=1)
    return np.where(kept.T, columns.T, rows[:n])


def unpack_graph(arrays: Mapping[str, np.ndarray], attributes: Attributes) -> PatchGraph:
    grid = Size(*attributes["grid"])
    n = grid.height * grid.width
    return PatchGraph(
        _mirrored(arrays["edges"], n),
        grid,
        Size(*attributes["size"]),
        attributes["floor"],
        attributes["threshold"],
        **{name: arrays[name] for name in _GRAPH_ARRAYS if name in arrays},
    )
