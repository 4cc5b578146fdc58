"""Connected components of patch masks, on the grid alone and on the grid cut by depth."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_FORWARD = {  # row and column steps that visit every neighbour pair once
    4: ((0, 1), (1, 0)),
    8: ((0, 1), (1, -1), (1, 0), (1, 1)),
}


def label(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """4-connected components, numbered 1.. in the row-major order of their first patch; 0 is off.

    Args:
        mask: (h, w) bool.

    Returns:
        labels (h, w) int32 and the number of components.
    """
    labels, count = ndimage.label(mask)
    return labels.astype(np.int32, copy=False), int(count)


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """The mask with every hole that does not touch the border of the grid.

    Holes are 4-connected, as in `scipy.ndimage.binary_fill_holes`, which dilates step by step: on
    480 x 480 one labelling takes a third of its time.

    Args:
        mask: (h, w) bool.
    """
    labels, count = ndimage.label(~mask)
    outside = np.zeros(count + 1, bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outside[side] = True
    outside[0] = False
    return ~outside[labels]


def border_label(labels: np.ndarray) -> int:
    """The label with the most patches on the four borders, the lowest on ties.

    Corners count twice, as in Deep Spectral Methods (extract_utils.py, get_border_fraction).

    Args:
        labels: (h, w) int, not negative.
    """
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return int(np.argmax(np.bincount(border)))


def component_of(mask: np.ndarray, seed: int) -> np.ndarray:
    """The 4-connected component of `mask` that holds patch `seed` (CutLER's MaskCut, step 7).

    Args:
        mask: (h, w) bool.
        seed: row-major index of a patch.

    Returns:
        (h, w) bool; all False when the seed is off the mask.
    """
    labels, _ = label(mask)
    number = labels.flat[seed]
    return (labels == number) if number else np.zeros_like(mask)


def select(labels: np.ndarray, count: int, minimum: float) -> np.ndarray:
    """The components of at least `minimum` patches: larger first, then the lower number.

    Args:
        labels: (h, w) int, 0 is off, components are 1..count.
        count: number of components.
        minimum: least number of patches.

    Returns:
        (M, h, w) bool, disjoint.
    """
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] >= minimum]
    return labels[None] == (order + 1)[:, None, None]


def components(mask: np.ndarray, minimum: float = 1) -> np.ndarray:
    """Every 4-connected component of at least `minimum` patches, larger first.

    Args:
        mask: (h, w) bool.
        minimum: least number of patches.

    Returns:
        (M, h, w) bool, disjoint.
    """
    return select(*label(mask), minimum)


def depth_components(
    mask: np.ndarray,
    depth: np.ndarray,
    threshold: float,
    minimum: int = 1,
    connectivity: int = 8,
) -> tuple[np.ndarray, int]:
    """Components of a mask cut wherever the depth jumps by more than `threshold`. Ours.

    Patches are joined to their neighbours inside the mask across |dz| <= threshold. A component
    of fewer than `minimum` patches then joins the neighbour across its smallest |dz|, and so does
    the result while it stays too small; a component without a neighbour in the mask stays as it
    is. All such joins together are one pass of Kruskal's algorithm over the cut edges by
    ascending |dz| in which an edge counts only while one of its sides is too small, because every
    smaller edge of that side has been spent by then. Equal |dz| go by the edge's first patch in
    row-major order, then by its second.

    Args:
        mask: (h, w) bool.
        depth: (h, w) float.
        threshold: largest step of depth inside a component, in the unit of `depth`.
        minimum: smallest size of a component that has neighbours, in patches.
        connectivity: 4 or 8 neighbours.

    Returns:
        labels (h, w) int32, numbered 1.. in row-major order of the first patch with 0 off the
        mask, and the number of components.
    """
    edges, jumps = _grid_edges(mask, depth, connectivity)
    joined = jumps <= threshold
    labels = _components_of_edges(mask.size, edges[joined])
    if minimum > 1:
        labels = _absorb(labels, mask.ravel(), edges[~joined], jumps[~joined], minimum)
    return _renumber(labels, mask)


def _grid_edges(mask, depth, connectivity):
    """Neighbour pairs inside the mask, (E, 2) with first < second, and their |dz|, (E,)."""
    h, w = mask.shape
    index = np.arange(h * w).reshape(h, w)
    pairs = []
    for down, right in _FORWARD[connectivity]:
        here = (slice(0, h - down), slice(max(0, -right), w - max(0, right)))
        there = (slice(down, h), slice(max(0, right), w + min(0, right)))
        both = mask[here] & mask[there]
        pairs.append(np.stack([index[here][both], index[there][both]], 1))
    edges = np.concatenate(pairs)
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    z = depth.ravel().astype(np.float64)
    return edges, np.abs(z[edges[:, 0]] - z[edges[:, 1]])


def _components_of_edges(n, edges):
    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _absorb(labels, inside, edges, jumps, minimum):
    """Joins components that are too small to a neighbour; see `depth_components`."""
    sizes = np.bincount(labels[inside], minlength=labels.max() + 1)
    ends = labels[edges]
    useful = (sizes[ends] < minimum).any(1) & (ends[:, 0] != ends[:, 1])
    ends, jumps = ends[useful], jumps[useful]
    parent, sizes = list(range(len(sizes))), sizes.tolist()

    def root(i):
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for a, b in ends[np.argsort(jumps, kind="stable")].tolist():
        a, b = root(a), root(b)
        if a != b and min(sizes[a], sizes[b]) < minimum:
            parent[b] = a
            sizes[a] += sizes[b]
    return np.array([root(i) for i in range(len(parent))])[labels]


def _renumber(labels, mask):
    """Numbers the labels inside the mask 1.. by their first patch; zero elsewhere."""
    inside = mask.ravel()
    _, first, inverse = np.unique(labels[inside], return_index=True, return_inverse=True)
    numbers = np.empty(len(first), np.int32)
    numbers[np.argsort(first)] = np.arange(1, len(first) + 1)
    out = np.zeros(mask.size, np.int32)
    out[inside] = numbers[inverse]
    return out.reshape(mask.shape), len(first)
