"""Square boolean matrices, eight entries to the byte: how a patch graph's edges are kept."""

from __future__ import annotations

import numpy as np


def pack(edges: np.ndarray) -> np.ndarray:
    """Packs a boolean matrix along its rows.

    Args:
        edges: (N, N) bool.

    Returns:
        (N, ceil(N/8)) uint8, first column in the highest bit; spare bits of the last byte are 0.
    """
    return np.packbits(edges, axis=1)


def unpack(packed: np.ndarray, n: int) -> np.ndarray:
    """The (N, n) bool matrix that `pack` was given."""
    return np.unpackbits(packed, axis=1, count=n).view(bool)


def clear(packed: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Cuts nodes off: their rows, their columns and their diagonal entries become 0.

    This is what zeroing a node's features does to a binarised cosine affinity (threshold >= 0):
    the node stays in the graph, joined to all others, itself included, by the floor weight alone.

    Args:
        packed: (N, ceil(N/8)) uint8, not changed.
        nodes: (N,) bool, True where to cut off.

    Returns:
        A new (N, ceil(N/8)) uint8.
    """
    cleared = packed & ~np.packbits(nodes)
    cleared[nodes] = 0
    return cleared


def degrees(packed: np.ndarray) -> np.ndarray:
    """Set entries of each row, (N,) int64."""
    return np.bitwise_count(packed).sum(axis=1, dtype=np.int64)
