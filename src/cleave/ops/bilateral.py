"""The fast bilateral solver: a soft mask that is smooth in space and in colour.

Barron and Poole, The Fast Bilateral Solver (arXiv 1511.03296), with the constants of TokenCut
(arXiv 2202.11539; unsupervised_saliency_detection), which snaps its patch masks to edges with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cleave.ops.components import fill_holes, label

# Luma and two chromas of JPEG (JFIF 1.02), one a row, in millionths of red, green and blue.
_LUMA_CHROMA = np.array(
    [[299e3, 587e3, 114e3], [-168736, -331264, 500e3], [500e3, -418688, -81312]]
)
_OFFSET = np.array([[0.0], [128e6], [128e6]])
_MILLION = 1e6


@dataclass(frozen=True)
class BilateralGrid:
    """The occupied cells of a grid over x, y, luma and two chromas.

    It depends on the image alone, so all masks of an image share it.
    """

    cells: np.ndarray  # (H, W) int64, the cell of each pixel
    pixels: np.ndarray  # (V,) float64, how many pixels each cell has
    blur: Any  # (V, V) sparse: 1 2 1 on each axis, summed, so 10 on the diagonal

    def splat(self, values: np.ndarray) -> np.ndarray:
        """Sums over each cell: (H, W) to (V,) float64."""
        return np.bincount(self.cells.ravel(), values.ravel(), len(self.pixels))

    def slice(self, values: np.ndarray) -> np.ndarray:
        """To each pixel the value of its cell: (V,) to (H, W)."""
        return values[self.cells]


def bilateral_grid(
    pixels: np.ndarray, spatial: float = 16, luma: float = 16, chroma: float = 8
) -> BilateralGrid:
    """Sorts the pixels into cells (arXiv 1511.03296, Sec. 2.1; bilateral_solver.py:36-84).

    Colours are whole millionths, which float64 adds exactly: grey has its chroma on the border of
    two cells, where the authors' code lets round-off choose.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        spatial: side of a cell in pixels (get_saliency.py:61).
        luma: in levels of [0, 255] (:63).
        chroma: in levels of [0, 255] (:65).
    """
    colours = _LUMA_CHROMA @ pixels.reshape(-1, 3).T.astype(np.float64) + _OFFSET
    sides = _MILLION * np.array([[luma], [chroma], [chroma]])
    rows, columns = (np.arange(length) / spatial for length in pixels.shape[:2])
    axes = (
        np.repeat(rows, len(columns)),
        np.tile(columns, len(rows)),
        *(colours / sides),
    )
    keys, strides = np.zeros(colours.shape[1], np.int64), []
    for axis in axes:
        place = axis.astype(np.int64)
        extent = int(place.max()) + 2  # a free place keeps neighbours across its ends apart
        keys = keys * extent + place
        strides = [stride * extent for stride in strides] + [1]
    occupied, cells = np.unique(keys, return_inverse=True)
    counts = np.bincount(cells).astype(np.float64)
    return BilateralGrid(cells.reshape(pixels.shape[:2]), counts, _blur(occupied, strides))


def _blur(occupied: np.ndarray, strides: list[int]):
    """The kernel 1 2 1 on each axis, summed, as a sparse (V, V) matrix."""
    from scipy.sparse import coo_array, eye_array

    count = len(occupied)
    rows, columns = [], []
    for stride in strides:
        place = np.minimum(np.searchsorted(occupied, occupied + stride), count - 1)
        joined = np.flatnonzero(occupied[place] == occupied + stride)
        rows.append(joined)
        columns.append(place[joined])
    ends = (np.concatenate(rows), np.concatenate(columns))
    forward = coo_array((np.ones(len(ends[0])), ends), shape=(count, count)).tocsr()
    return (forward + forward.T + 2 * len(strides) * eye_array(count)).tocsr()


def bistochastise(grid: BilateralGrid, iterations: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Scales n with n * blur(n) = m, the pixels of each cell (arXiv 1511.03296, Alg. 1).

    Returns:
        n and m = n * blur(n) as it is after the iterations, both (V,) float64.
    """
    scale = np.ones(len(grid.pixels))
    for _ in range(iterations):
        scale = np.sqrt(scale * grid.pixels / (grid.blur @ scale))
    return scale, scale * (grid.blur @ scale)


def bilateral_system(grid: BilateralGrid, smoothness: float, confidence: float):
    """A of the linear system A y = b that all masks of an image share (Sec. 2.2, eq. 8).

    Returns:
        (V, V) sparse: smoothness * (D_m - D_n B D_n) + the confidences of each cell.
    """
    from scipy.sparse import diags_array

    scale, mass = bistochastise(grid)
    smooth = diags_array(scale) @ grid.blur @ diags_array(scale)
    return (diags_array(smoothness * mass + confidence * grid.pixels) - smoothness * smooth).tocsr()


def solve(
    grid: BilateralGrid,
    system: Any,
    evidence: np.ndarray,
    confidence: float,
    iterations: int = 25,
    tolerance: float = 1e-5,
) -> np.ndarray:
    """A y = b by conjugate gradients with Jacobi's preconditioner, back on the pixels.

    They start at the mean evidence of each cell. TokenCut also bounds the preconditioner below, by
    1e-5, which a diagonal of at least the confidence never reaches.

    Args:
        system: A, of `bilateral_system`.
        evidence: (H, W) float, the target times its confidence.
        confidence: of every pixel.

    Returns:
        (H, W) float64.
    """
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import cg

    right = grid.splat(evidence)
    start = right / (confidence * grid.pixels)
    inverse = diags_array(1 / system.diagonal())
    soft, _ = cg(system, right, x0=start, rtol=tolerance, atol=0.0, maxiter=iterations, M=inverse)
    return grid.slice(soft)


def bilateral_solver(
    pixels: np.ndarray,
    *,
    spatial: float = 16,
    luma: float = 16,
    chroma: float = 8,
    smoothness: float = 256,
    confidence: float = 0.999,
    iterations: int = 25,
    tolerance: float = 1e-5,
) -> Callable[[np.ndarray], np.ndarray]:
    """Masks that follow the edges of their image, as TokenCut refines them.

    The soft mask y minimises smoothness times its differences between cells that are alike plus
    confidence times its differences from the mask. It is cut at one half, its holes are filled,
    and its largest component is the object (bilateral_solver.py:148-187, with the constants of
    get_saliency.py:61-65 and bilateral_solver.py:153-167). Where nothing is above one half nothing
    is left; the code gives the whole image.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        spatial: side of a cell of the grid in pixels.
        luma, chroma: the same in levels of [0, 255].
        smoothness: lambda.
        confidence: of every pixel of a mask, in (0, 1].
        iterations: most steps of the conjugate gradients.
        tolerance: their residual at the end, as a share of the right-hand side.

    Returns:
        A function from a mask (H, W) bool to the refined mask (H, W) bool.
    """
    grid = bilateral_grid(pixels, spatial, luma, chroma)
    system = bilateral_system(grid, smoothness, confidence)

    def fit(mask: np.ndarray) -> np.ndarray:
        soft = solve(grid, system, confidence * mask, confidence, iterations, tolerance)
        labels, _ = label(fill_holes(soft > 0.5))
        return labels == 1 + np.argmax(np.bincount(labels.ravel(), minlength=2)[1:])

    return fit
