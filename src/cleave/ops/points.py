"""Depth maps as point clouds on the patch grid, and their k-nearest-neighbour graphs."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

from cleave.ops.resample import average, upsample_nearest
from cleave.types import Size

Pooling = Literal["area", "median", "min", "nearest"]

_TIE = 1e-9  # two distances closer than this share are one distance: grids are full of ties
_FLAT = 1e-6  # a range of depth below this share of its magnitude is rounding, not shape


def pool_depth(depth: np.ndarray, grid: Size, how: Pooling) -> np.ndarray:
    """One depth per patch; both grids cover the same image, whatever their sizes.

    "area" is the exact mean over the patch, pixels on its border counted by the share that lies
    inside. "median" and "min" look at the pixels found by an even sampling of the patch that is
    at least as fine as the pixels, so none is missed; "nearest" takes the pixel under the centre.
    Area averaging makes patches that float between two objects and bridge them; "min", the
    nearest surface, does not, and suits monocular depth, whose edges are blurred
    (our study).

    Args:
        depth: (H, W) float, finite; may be coarser than the grid.
        grid: patches (h, w).
        how: the rule.

    Returns:
        (h, w) float32.
    """
    if how == "area":
        return average(depth, grid).astype(np.float32)
    if how == "nearest":
        return upsample_nearest(depth, grid).astype(np.float32)
    h, w = grid
    a, b = -(-depth.shape[0] // h), -(-depth.shape[1] // w)
    cells = upsample_nearest(depth, Size(h * a, w * b)).reshape(h, a, w, b).swapaxes(1, 2)
    reduce = np.median if how == "median" else np.min
    return reduce(cells.reshape(h, w, a * b), axis=2).astype(np.float32)


def normalise_depth(depth: np.ndarray, clip: float = 0.0) -> np.ndarray:
    """Depth scaled so that its range over the image is [0, 1]; a flat map gives zeros.

    Args:
        depth: (h, w) float, finite.
        clip: the range runs from this percentile to 100 minus it; values beyond are clipped.

    Returns:
        (h, w) float64 in [0, 1].
    """
    depth = depth.astype(np.float64)
    low, high = np.percentile(depth, [clip, 100 - clip])
    if high - low <= _FLAT * max(abs(low), abs(high)):
        return np.zeros_like(depth)
    return np.clip((depth - low) / (high - low), 0.0, 1.0)


def patch_step(grid: Size, scale: float) -> float:
    """Distance between two neighbouring patches in the coordinates of `unproject`."""
    return scale / max(1, max(grid) - 1)


def unproject(depth: np.ndarray, scale: float) -> np.ndarray:
    """Orthographic point cloud of the patches (CutS3D, arXiv 2411.16319, LocalCut).

    Orthographic means no multiplication by depth and no intrinsics. The longer side of the grid
    and the depth span [0, scale]; the shorter side keeps the same step, so that a threshold means
    the same number of patches along both axes (the paper's square grid does not tell).

    Args:
        depth: (h, w) float in [0, 1].
        scale: side of the cube.

    Returns:
        (h*w, 3) float64: x along columns, y along rows, z.
    """
    grid = Size(*depth.shape)
    rows, columns = np.indices(grid) * patch_step(grid, scale)
    return np.stack([columns.ravel(), rows.ravel(), depth.ravel() * scale], 1)


def knn_graph(points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Undirected union of the k-nearest-neighbour relations: an edge if either chose the other.

    A point chooses every other point that is no farther than its k-th nearest, so a tie at that
    rank takes in all of the tied. Patches lie on a grid and tie often; any rule that picked some
    of them would make the cut depend on the tree's memory layout or on the scan order.

    Args:
        points: (n, 3) float64.
        k: neighbours per point; with k >= n - 1 the graph is complete.

    Returns:
        edges (E, 2) int64 with first < second, in lexicographic order; lengths (E,) float64.
    """
    n = len(points)
    if n < 2:
        return np.zeros((0, 2), np.int64), np.zeros(0)
    k = min(k, n - 1)
    asked = min(n, k + 1 + 16)  # the point itself and room for ties
    tree = cKDTree(points)
    distances, neighbours = tree.query(points, asked)
    reach = distances[:, k] * (1 + _TIE)
    chosen = distances <= reach[:, None]
    first = np.repeat(np.arange(n), chosen.sum(1))
    second = neighbours[chosen]
    crowded = np.flatnonzero(chosen[:, -1]) if asked < n else np.zeros(0, int)
    if len(crowded):  # more ties than were asked for
        balls = tree.query_ball_point(points[crowded], reach[crowded])
        first = np.concatenate([first, np.repeat(crowded, [len(ball) for ball in balls])])
        second = np.concatenate([second, np.concatenate([np.array(b, int) for b in balls])])
    low, high = np.minimum(first, second), np.maximum(first, second)
    codes = np.unique((low * n + high)[low != high])
    edges = np.stack([codes // n, codes % n], 1)
    return edges, np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
