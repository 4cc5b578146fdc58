"""Masks and maps from one grid to another."""

from __future__ import annotations

import numpy as np

from cleave.types import Array, Size


def nearest_index(source: int, target: int) -> Array:
    """The source cell under the centre of each target cell: (target,) int64."""
    return (2 * np.arange(target, dtype=np.int64) + 1) * source // (2 * target)


def upsample_nearest(values: Array, size: Size) -> Array:
    """Each target pixel takes the source cell under its centre.

    This is PIL's NEAREST and torch's "nearest-exact", in integers: where a centre falls exactly on
    the border of two cells it is the later one that counts, and not round-off, as in PIL.
    At whole factors, the only ones that CutLER and TokenCut use (60 patches to 480 px), torch's
    "nearest" gives the same; at others "nearest" looks at the upper left corner of a pixel and so
    shifts a mask by half a pixel.

    Args:
        values: (..., h, w) of any dtype.

    Returns:
        (..., H, W) of the same dtype; `values` itself if it has this size already.
    """
    height, width = values.shape[-2:]
    if (height, width) == size:
        return values
    rows = nearest_index(height, size.height)
    columns = nearest_index(width, size.width)
    return values[..., rows[:, None], columns]


def average(values: Array, size: Size) -> Array:
    """Each target cell takes the mean of the source over its area, shares of cells included.

    Args:
        values: (..., h, w) number or bool.

    Returns:
        (..., H, W) float64; for a mask the share of each target cell that it covers.
    """
    rows = _overlap(values.shape[-2], size.height)
    columns = _overlap(values.shape[-1], size.width)
    return rows @ values.astype(np.float64) @ columns.T


def _overlap(source: int, target: int) -> Array:
    """(target, source) share of each target cell's length that lies in each source cell."""
    edges = np.arange(target + 1) * source  # of the target, in units of 1/target source cells
    cells = np.arange(source + 1) * target
    upper = np.minimum(edges[1:, None], cells[None, 1:])
    lower = np.maximum(edges[:-1, None], cells[None, :-1])
    return np.maximum(upper - lower, 0) / source


def bilinear(values: Array, size: Size, step: tuple[float, float] | None = None) -> Array:
    """Linear interpolation between cell centres; beyond the outermost ones the edge is held.

    torch's `interpolate(mode="bilinear", align_corners=False)`: no antialiasing, so a cell of a
    coarser grid sees four source cells and not all that it covers.

    Args:
        values: (..., h, w) float.
        size: of the result.
        step: source cells from one target cell to the next, down and right; h / H and w / W by
            default. torch takes 1 / `scale_factor` where that is given, whatever the rounded size.

    Returns:
        (..., H, W) of the same dtype.
    """
    height, width = values.shape[-2:]
    down, right = step or (height / size.height, width / size.width)
    rows = _between(height, size.height, down).astype(values.dtype)
    columns = _between(width, size.width, right).astype(values.dtype)
    return rows @ values @ columns.T


def _between(source: int, target: int, step: float) -> Array:
    """(target, source) float64, the weights of the source cells; each row sums to 1."""
    places = np.clip((np.arange(target) + 0.5) * step - 0.5, 0, source - 1)
    before = np.minimum(places.astype(np.int64), max(source - 2, 0))
    weights = np.zeros((target, source))
    rows = np.arange(target)
    weights[rows, before] = 1 - (places - before)
    weights[rows, np.minimum(before + 1, source - 1)] += places - before
    return weights
