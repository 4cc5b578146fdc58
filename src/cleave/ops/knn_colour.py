"""Neighbours in colour and place: the second affinity of Deep Spectral Methods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def colour_neighbours(
    pixels: np.ndarray,
    neighbours: Sequence[int] = (20, 10),
    position: Sequence[float] = (2.0, 0.1),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The symmetric graph of nearest neighbours in colour and place, as its non-zero entries.

    KNN matting's graph as Deep Spectral Methods uses it (arXiv 2205.07839; extract_utils.py,
    knn_affinity): for each pair of k and w every node is joined to the k nodes nearest to it in
    (r, g, b, w x, w y), itself included, with colours and places in [0, 1]; a large w looks nearby,
    a small one all over the image. An entry counts how often either node chose the other, so it
    goes to 4, and the diagonal is 4. Of neighbours at the same distance, as on a flat
    ground, the search tree takes any, but always the same ones.

    Args:
        pixels: (h, w, 3) uint8 RGB, one pixel a patch.
        neighbours: k of each graph; all nodes where there are fewer.
        position: w of each graph.

    Returns:
        rows (E,), columns (E,) int64, each pair once, and counts (E,) float32.
    """
    from scipy.sparse import coo_array
    from scipy.spatial import cKDTree

    h, w = pixels.shape[:2]
    n = h * w
    y, x = np.meshgrid(np.linspace(0, 1, h), np.linspace(0, 1, w), indexing="ij")
    colours = pixels.reshape(n, 3) / 255.0
    ends = []
    for k, weight in zip(neighbours, position, strict=True):
        nodes = np.column_stack([colours, weight * x.ravel(), weight * y.ravel()])
        nodes = nodes.astype(np.float32)
        nearest = cKDTree(nodes).query(nodes, k=np.arange(1, min(k, n) + 1))[1]
        ends.append(np.stack([np.repeat(np.arange(n), nearest.shape[1]), nearest.ravel()]))
    chosen = np.concatenate(ends, 1)
    graph = coo_array((np.ones(chosen.shape[1], np.float32), tuple(chosen)), shape=(n, n)).tocsr()
    graph = (graph + graph.T).tocoo()
    return graph.row.astype(np.int64), graph.col.astype(np.int64), graph.data
