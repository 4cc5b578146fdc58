"""Regions that hold regions: patches merged step by step, and which mask lies in which."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from cleave.ops.boxes import bounds
from cleave.ops.nms import greedy_nms
from cleave.types import Array, DataError

_ALONE = 1e-12  # length below which a feature has no direction (torch's normalize)


class Merges(NamedTuple):
    """The merges of N patches in their order; merge m makes the region N + m of two others."""

    patches: Array  # (N,) int64 row-major index of each patch that takes part
    grid: tuple[int, int]
    pairs: Array  # (K, 2) int64 regions, the older first; regions below N are the patches
    similarities: Array  # (K,) float64, of each pair when it was merged; need not fall


def merge_regions(features: Array, *, inside: Array | None = None, lowest: float = -1.0) -> Merges:
    """Merges the two most similar neighbouring regions, again and again (UnSAM, arXiv 2406.20081).

    Algorithm 1 of the paper, its conquer stage. The regions are at first the patches, joined to
    their 4 neighbours; the similarity of two regions is the cosine of their mean features, which
    is that of their sums (iterative_merging.py:5-13). Equal similarities go by place, where the
    code takes the pair that came first (:52).

    60 x 60 patches take .1 to .2 s with 384 channels.

    Args:
        features: (h, w, C) number; a patch whose feature is zero has similarity 0 to all others.
        inside: (h, w) bool, the patches that take part; all by default.
        lowest: similarity below which nothing is merged.

    Returns:
        At most N - 1 merges.
    """
    height, width, channels = features.shape
    nodes = np.flatnonzero(np.ones((height, width), bool) if inside is None else inside)
    regions = _Regions(features.reshape(-1, channels)[nodes], *_edges(features, nodes))
    names, pairs, values = list(range(len(nodes))), [], []
    while (found := regions.nearest(lowest)) is not None:
        similarity, a, b = found
        pairs.append(sorted((names[a], names[b])))
        values.append(similarity)
        names[a] = len(nodes) + len(pairs) - 1
        regions.join(a, b)
    return Merges(
        nodes, (height, width), np.array(pairs, np.int64).reshape(-1, 2), np.array(values, float)
    )


class _Regions:
    """Regions and their neighbours; what two of them become goes on in the place of one.

    A similarity is kept by the younger of the two regions. A new region is the youngest of all,
    so it keeps all of its own, which are one product of arrays; and those that others keep of what
    is gone are found by its version when they come up, and dropped. One heap of all pairs would
    fill with what is gone: where a ground takes in its hundreds of neighbours one by one, that
    takes 4.5 s for 60 x 60 patches, and this .16 s.
    """

    def __init__(self, features: Array, ends: Array, similarities: Array):
        """`ends` (E, 2) neighbours, the older first, by the younger; `similarities` (E,)."""
        n = len(features)
        self._sums = features.astype(np.float64)
        self._units = _unit(self._sums)
        self._around: list[set[int]] = [set() for _ in range(n)]
        for i, j in ends.tolist():
            self._around[i].add(j)
            self._around[j].add(i)
        places = np.searchsorted(ends[:, 1], np.arange(1, n))
        self._older = np.split(ends[:, 0], places)
        self._kept = np.split(similarities, places)
        self._version = np.zeros(n, np.int64)  # of each place: how often it has changed
        self._seen = [self._version[older] for older in self._older]
        self._best = np.array([kept.max(initial=-np.inf) for kept in self._kept[:n]])

    def nearest(self, lowest: float) -> tuple[float, int, int] | None:
        """The largest similarity and its pair, first the one with more neighbours.

        None where there is none, or none of at least `lowest`.
        """
        while len(self._best):
            young = int(self._best.argmax())
            similarity = float(self._best[young])
            if similarity < lowest:
                break
            at = int(self._kept[young].argmax())
            old = int(self._older[young][at])
            if self._version[old] == self._seen[young][at]:
                more = len(self._around[young]) >= len(self._around[old])
                return similarity, *((young, old) if more else (old, young))
            self._kept[young][at] = -np.inf
            self._best[young] = self._kept[young].max()
        return None

    def join(self, a: int, b: int) -> None:
        """Makes one region of two, in the place of the first."""
        for other in self._around[b] - {a}:
            self._around[other].remove(b)
            self._around[other].add(a)
        self._around[a] |= self._around[b]
        self._around[a] -= {a, b}
        self._around[b] = set()
        self._version[[a, b]] += 1
        self._best[b] = -np.inf
        self._sums[a] += self._sums[b]
        self._units[a] = _unit(self._sums[a])
        others = np.sort(np.fromiter(self._around[a], np.int64, len(self._around[a])))
        self._older[a], self._seen[a] = others, self._version[others]
        self._kept[a] = np.einsum("kc,c->k", self._units[others], self._units[a])
        self._best[a] = self._kept[a].max(initial=-np.inf)


def _unit(vectors: Array) -> Array:
    length = np.sqrt(np.einsum("...c,...c->...", vectors, vectors))[..., None]
    return vectors / np.maximum(length, _ALONE)


def _edges(features: Array, nodes: Array) -> tuple[Array, Array]:
    """Pairs of 4-neighbours among the nodes, the earlier first, ordered by the later.

    Returns:
        (E, 2) places in `nodes`, and (E,) cosines.
    """
    grid = features.shape[:2]
    units = _unit(features.astype(np.float64))
    numbers = np.full(features[..., 0].size, -1)
    numbers[nodes] = np.arange(len(nodes))
    numbers = numbers.reshape(grid)
    ends, similarities = [], []
    for here, there in (((slice(None), slice(-1)), (slice(None), slice(1, None))),
                        ((slice(-1),), (slice(1, None),))):  # fmt: skip
        ends.append(np.stack([numbers[here], numbers[there]], -1).reshape(-1, 2))
        similarities.append(np.einsum("hwc,hwc->hw", units[here], units[there]).ravel())
    ends, similarities = np.concatenate(ends), np.concatenate(similarities)
    order = np.lexsort((ends[:, 0], ends[:, 1]))
    order = order[(ends[order] >= 0).all(1)]
    return ends[order], similarities[order]


def levels(merges: Merges, thresholds: Sequence[float], minimum: int = 4) -> Array:
    """The regions that are left when all pairs of at least a threshold's similarity are merged.

    A region of fewer than `minimum` patches is off, and so is one of all patches: it says nothing
    (iterative_merging.py:75-84).

    Args:
        thresholds: (T,) falling, none below the `lowest` of the merges; each goes on where the one
            before it stopped.

    Returns:
        (T, h, w) int32: regions are numbered 1.. in the row-major order of their first patch.

    Raises:
        ValueError: thresholds that do not fall.
    """
    if any(a <= b for a, b in pairwise(thresholds)):
        raise ValueError(f"thresholds: expected falling ones, got {list(thresholds)}")
    n, pairs = len(merges.patches), merges.pairs.tolist()
    found = np.zeros((len(thresholds), merges.grid[0] * merges.grid[1]), np.int32)
    for labels, threshold in zip(found, thresholds, strict=True):
        below = np.flatnonzero(merges.similarities < threshold)
        done = int(below[0]) if len(below) else len(pairs)
        region = list(range(n + done))
        for m in range(done - 1, -1, -1):
            i, j = pairs[m]
            region[i] = region[j] = region[n + m]
        labels[merges.patches] = _numbered(np.array(region[:n], np.int64), minimum)
    return found.reshape(len(thresholds), *merges.grid)


def _numbered(regions: Array, minimum: int) -> Array:
    """Numbers regions 1.. by their first patch, 0 for those that do not count."""
    _, first, inverse, sizes = np.unique(
        regions, return_index=True, return_inverse=True, return_counts=True
    )
    kept = np.flatnonzero((sizes >= minimum) & (sizes < len(regions)))
    kept = kept[np.argsort(first[kept])]
    numbers = np.zeros(len(sizes), np.int32)
    numbers[kept] = np.arange(1, len(kept) + 1)
    return numbers[inverse]


def window_nms(masks: Array, overlap: float, window: int | None) -> Array:
    """Drops masks that resemble a larger one near them in the order of their areas.

    A mask is compared with the `window` - 1 masks that follow it, largest first and earlier first
    on equal areas: UnSAM's NMS (divide_conquer.py:103-114), where a window of 5 lets a mask
    that comes again further down stay.

    Args:
        masks: (M, h, w) bool.
        overlap: IoU above which the later mask of a pair is dropped, if the earlier one stays.
        window: None compares all masks with each other.

    Returns:
        Indices of what is kept, the largest first.
    """
    order = np.argsort(-masks.sum((1, 2), dtype=np.int64), kind="stable")
    return order[greedy_nms(masks[order], overlap, window)]


def parents_of(masks: Array, coverage: float = 0.9) -> Array:
    """For each mask the smallest larger one that holds more than `coverage` of it, or -1. Ours.

    Equal areas hold each other never, so there is no ring, and of two equal masks neither is the
    other's part. An empty mask has no parent. Only the box of a mask is looked at: 300 masks of
    480 x 640 take .05 s, a tenth of what all pairs take.

    Args:
        masks: (M, H, W) bool.

    Returns:
        (M,) int64; on equal areas the earlier mask is the parent.
    """
    words, areas = _rows_of_words(masks), masks.sum((1, 2), dtype=np.int64)
    order = np.argsort(areas, kind="stable")  # so the first that holds a mask is the smallest
    words, parents = words[order], np.full(len(masks), -1, np.int64)
    for place, index in enumerate(order):
        larger = np.searchsorted(areas[order], areas[index], side="right")
        if not areas[index]:
            continue
        box = bounds(words[place])
        shared = np.bitwise_count(words[(slice(larger, None), *box)] & words[(place, *box)])
        holds = shared.sum((1, 2), dtype=np.int64) > coverage * areas[index]
        if holds.any():
            parents[index] = order[larger + holds.argmax()]
    return parents


def _rows_of_words(masks: Array) -> Array:
    """(M, H, W) bool to (M, H, ceil(W / 64)) uint64, one bit a pixel."""
    packed = np.packbits(masks, axis=2)
    words = np.zeros((*masks.shape[:2], -(-packed.shape[2] // 8)), np.uint64)
    words.view(np.uint8)[..., : packed.shape[2]] = packed
    return words


def depths(parents: Array) -> Array:
    """How many masks each mask lies in: (M,) indices or -1 to (M,) int64, 0 for roots.

    Raises:
        DataError: an index that is none of theirs, or a ring.
    """
    parents = np.asarray(parents, np.int64)
    if ((parents < -1) | (parents >= len(parents))).any():
        wrong = parents[(parents < -1) | (parents >= len(parents))][0]
        raise DataError(f"parents: {wrong} is none of {len(parents)} masks, nor -1")
    found, above = np.zeros(len(parents), np.int64), parents
    for _ in range(len(parents) + 1):
        if not (above >= 0).any():
            return found
        found += above >= 0
        above = np.where(above >= 0, parents[above], -1)
    raise DataError("parents: some masks lie in each other, in a ring")
