"""Square boolean matrices, eight entries to the byte: how a patch graph's edges are kept."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import scipy.sparse

from cleave.ops import native

# Column v holds the bits of the byte v, highest first.
_SUBSETS = np.unpackbits(np.arange(256, dtype=np.uint8)[None], axis=0).astype(np.float64)


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


def multiplier(packed: np.ndarray, n: int) -> Callable[[np.ndarray], np.ndarray]:
    """Prepares products of a packed matrix with vectors, exact to float64 round-off.

    By the method of four Russians: the eight entries of a vector that meet one byte of a row have
    256 possible sums. All are tabled, then each row adds up one table entry a byte: an eighth of
    the additions of the dense product, a fifth of its memory traffic, and no float64 matrix of
    104 MB. Compiled where `cleave.ops.native` is, else by SciPy; both have the same result but for
    the order of summation.

    Args:
        packed: (R, ceil(n/8)) uint8.
        n: columns of the unpacked matrix.

    Returns:
        A function from (n,) float64 to (R,) float64.
    """
    return _compiled(packed, n) if native.library() else portable_multiplier(packed, n)


def _compiled(packed: np.ndarray, n: int) -> Callable[[np.ndarray], np.ndarray]:
    """By 64 columns at a time, of which only rows with an entry take part (src/native/bits.c).

    Portable C is as good as it gets here: 0.38 ms for 3,600 nodes, where AVX-512's masked additions
    (one a byte, but of eight lanes) take 1.0 ms and SciPy's gather 1.9 ms.
    """
    kernel = native.library().cleave_bits_product
    rows, groups = packed.shape
    blocks = -(-groups // 8)
    padded = np.zeros((rows, 8 * blocks), np.uint8)
    padded[:, :groups] = packed
    words = padded.view("<u8").T.astype(np.uint64, order="C")
    block, row = np.nonzero(words)
    words, row = words[block, row], row.astype(np.int32)
    starts = np.searchsorted(block, np.arange(blocks + 1)).astype(np.int64)
    matrix = (native.pointer(words, np.uint64), native.pointer(row, np.int32))
    matrix += (native.pointer(starts, np.int64), ctypes.c_int64(blocks))
    entries = np.zeros(64 * blocks)

    def multiply(vector: np.ndarray, _owners: tuple = (words, row, starts)) -> np.ndarray:
        entries[:n] = vector
        product = np.zeros(rows)
        kernel(*matrix, native.pointer(entries, np.float64), native.pointer(product, np.float64))
        return product

    return multiply


def portable_multiplier(packed: np.ndarray, n: int) -> Callable[[np.ndarray], np.ndarray]:
    """`multiplier` by SciPy's sparse products, which need nothing compiled here.

    The tables (450 x 256 numbers for 3,600 nodes) stay in the cache; a sparse matrix picks from
    them. A matrix with fewer entries than bytes becomes an ordinary sparse one.
    """
    rows, groups = packed.shape
    entries = degrees(packed)
    if entries.sum() < packed.size:
        columns = np.flatnonzero(unpack(packed, n)) % n
        sparse = _ones(columns, entries, n)
        return lambda vector: sparse @ vector
    gather = _ones(packed + 256 * np.arange(groups), np.full(rows, groups), 256 * groups)
    padded = np.zeros((groups, 8))

    def multiply(vector: np.ndarray) -> np.ndarray:
        padded.reshape(-1)[:n] = vector
        return gather @ (padded @ _SUBSETS).ravel()

    return multiply


def _ones(columns: np.ndarray, entries: np.ndarray, width: int) -> scipy.sparse.csr_array:
    """The sparse matrix with ones in the given columns, `entries[r]` of them in row r."""
    ends = np.concatenate([[0], np.cumsum(entries)]).astype(np.int32)
    ones = np.ones(columns.size)
    columns = columns.ravel().astype(np.int32)
    return scipy.sparse.csr_array((ones, columns, ends), shape=(len(entries), width))


def components(packed: np.ndarray, columns: np.ndarray | None = None) -> tuple[np.ndarray, int]:
    """Connected components of a packed symmetric graph.

    Args:
        packed: (R, ceil(n/8)) uint8, one row for each node.
        columns: (R,) the column of each node; all other columns are empty. By default 0 to R - 1.

    Returns:
        Labels (R,) int64 in the order of each component's first node, and their count.
    """
    columns = np.arange(len(packed)) if columns is None else columns
    labels = np.full(len(packed), -1)
    count = 0
    for first in range(len(packed)):
        if labels[first] >= 0:
            continue
        frontier = np.array([first])
        while len(frontier):
            labels[frontier] = count
            reached = np.unpackbits(np.bitwise_or.reduce(packed[frontier], axis=0))[columns]
            frontier = np.flatnonzero(reached.view(bool) & (labels < 0))
        count += 1
    return labels, count


def diagonal(packed: np.ndarray) -> np.ndarray:
    """Which nodes are joined to themselves, (N,) bool."""
    index = np.arange(len(packed))
    return (packed[index, index // 8] >> (7 - index % 8) & 1).astype(bool)
