"""The fully connected CRF that snaps masks to the edges of their image."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable

import numpy as np

from cleave.ops import native
from cleave.types import Array, CleaveError

LANES = 4  # masks that the kernels take at once, src/native/lattice.h

_MISSING = (
    "refine: crf needs the kernels of cleave, which were not compiled at its installation "
    "(`pip install --no-deps -e .` where there is a C compiler), or pydensecrf (`pip install "
    "pydensecrf2`, builds from source, needs a C++ compiler); or choose `refine: guided` or "
    "`refine: bilateral`, which need nothing more"
)


def dense_crf(
    pixels: Array,
    *,
    iterations: int = 10,
    gaussian: tuple[float, float] = (3, 7),
    bilateral: tuple[float, float, float] = (50, 5, 10),
) -> Callable[[Array], Array]:
    """Mean field in a fully connected CRF (arXiv 1210.5644), with the constants of CutLER's crf.py.

    The foreground probability that goes in is softmax([1 - m, m]): .73 inside the mask and .27
    outside. The lattices depend on the image alone, so all masks of an image share them.

    Computed by kernels of our own (src/native/crf.c) where they were compiled, else by pydensecrf;
    the masks are the same (64 masks of 20 images of 480 x 480: not one pixel differs).

    Args:
        pixels: (H, W, 3) uint8 RGB.
        gaussian: standard deviation in pixels, weight.
        bilateral: standard deviation in pixels, in colour levels, weight.

    Returns:
        A function from masks (..., H, W) bool to the refined masks (..., H, W) bool.

    Raises:
        CleaveError: neither the kernels nor pydensecrf are there.
    """
    margins = logits if native.library() else _pydensecrf
    beliefs = margins(pixels, iterations, gaussian, bilateral)
    size = pixels.shape[:2]

    def refined(masks: Array) -> Array:
        found = np.empty(masks.shape, bool)
        flat, found_flat = masks.reshape(-1, *size), found.reshape(-1, *size)
        for first in range(0, len(flat), LANES):
            found_flat[first : first + LANES] = beliefs(flat[first : first + LANES]) > 0
        return found

    return refined


def logits(
    pixels: Array,
    iterations: int,
    gaussian: tuple[float, float],
    bilateral: tuple[float, float, float],
) -> Callable[[Array], Array]:
    """Mean field by the compiled kernels; arguments as in `dense_crf`.

    Two labels, so one channel: what the other label believes is 1 - q. Filters on a permutohedral
    lattice (Adams, Baek and Davis 2010), four masks side by side, normalised from both sides as
    in arXiv 1210.5644 (code of its authors).

    Returns:
        A function from at most LANES masks (M, H, W) bool to log(q / (1 - q)) (M, H, W) float32.
    """
    height, width = pixels.shape[:2]
    infer, field = native.library().cleave_crf_infer, _field(pixels, gaussian, bilateral)

    def beliefs(masks: Array) -> Array:
        if len(masks) > LANES or masks.shape[1:] != (height, width):
            raise ValueError(f"at most {LANES} masks of {height} x {width}; got {masks.shape}")
        shown, found = np.ascontiguousarray(masks, np.uint8), np.empty(masks.shape, np.float32)
        arguments = native.pointer(shown, np.uint8), ctypes.c_int64(len(masks)), ctypes.c_float(1)
        steps = ctypes.c_int64(iterations), native.pointer(found, np.float32)
        if not infer(field, *arguments, *steps):
            raise MemoryError(f"no memory to filter masks of {height} x {width} pixels")
        return found

    weakref.finalize(beliefs, native.library().cleave_crf_free, field)
    return beliefs


def _field(
    pixels: Array, gaussian: tuple[float, float], bilateral: tuple[float, float, float]
) -> ctypes.c_void_p:
    """The two lattices of an image, in memory of the kernels."""
    height, width = pixels.shape[:2]
    near, alike = _features(pixels, gaussian[0]), _features(pixels, *bilateral[:2])
    create = native.library().cleave_crf_new
    create.restype = ctypes.c_void_p  # an address, which is no int of C
    field = create(
        ctypes.c_int64(height * width),
        *(native.pointer(near, np.float32), ctypes.c_float(gaussian[1])),
        *(native.pointer(alike, np.float32), ctypes.c_float(bilateral[2])),
    )
    if not field:
        raise MemoryError(f"no memory for the lattices of {height} x {width} pixels")
    return ctypes.c_void_p(field)


def _features(pixels: Array, distance: float, colours: float | None = None) -> Array:
    """Column, row and, if `colours` says so, the three colours of each pixel, (H W, 2 or 5)."""
    height, width = pixels.shape[:2]
    features = np.empty((height, width, 2 if colours is None else 5), np.float32)
    features[..., 0] = np.arange(width, dtype=np.float32) / np.float32(distance)
    features[..., 1] = (np.arange(height, dtype=np.float32) / np.float32(distance))[:, None]
    if colours is not None:
        np.divide(pixels, np.float32(colours), out=features[..., 2:], dtype=np.float32)
    return features


def _pydensecrf(
    pixels: Array,
    iterations: int,
    gaussian: tuple[float, float],
    bilateral: tuple[float, float, float],
) -> Callable[[Array], Array]:
    """The same by pydensecrf, but for round-off; 2 q - 1 in place of the logit."""
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError:
        raise CleaveError(_MISSING) from None
    height, width = pixels.shape[:2]
    field = DenseCRF2D(width, height, 2)
    field.addPairwiseGaussian(sxy=gaussian[0], compat=gaussian[1])
    field.addPairwiseBilateral(
        sxy=bilateral[0],
        srgb=bilateral[1],
        rgbim=np.require(pixels, requirements=["C", "W"]),  # rendered images are read-only
        compat=bilateral[2],
    )
    likely, unlikely = -np.log(1 / (1 + np.exp([-1.0, 1.0])))

    def beliefs(masks: Array) -> Array:
        found = np.empty(masks.shape, np.float32)
        for mask, margin in zip(masks, found, strict=True):
            energy = np.where(np.stack([~mask, mask]), likely, unlikely)
            field.setUnaryEnergy(energy.reshape(2, -1).astype(np.float32))
            background, foreground = np.asarray(field.inference(iterations))
            margin[:] = (foreground - background).reshape(height, width)
        return found

    return beliefs
