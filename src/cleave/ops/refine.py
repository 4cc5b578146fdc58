"""Coarse masks snapped to the edges of their image."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
from scipy import ndimage

from cleave.ops.bilateral import bilateral_solver
from cleave.ops.components import fill_holes
from cleave.ops.crf import dense_crf
from cleave.ops.resample import upsample_nearest
from cleave.types import Array, Size

Refinement = Literal["crf", "bilateral", "guided", "none"]
Filter = Callable[[Array], Array]  # (H, W) bool before -> (H, W) bool after
FilterMaker = Callable[[Array], Filter]  # (H, W, 3) uint8 RGB -> its filter


def refine(
    pixels: Array,
    masks: Array,
    how: Refinement | FilterMaker = "crf",
    *,
    size: Size | None = None,
    minimum_iou: float = 0.5,  # CutLER maskcut.py:387
) -> tuple[Array, Array]:
    """Snaps masks to image edges, fills their holes and rejects those that it changed too much.

    The steps and their order are CutLER's (arXiv 2301.11320, Sec. 3.2; maskcut.py:374-405):
    upsample to the working size, filter, fill holes, compare before with after, resize to `size`.
    `none` only upsamples, straight to `size`. Empty masks are not filtered. `bilateral` is
    TokenCut's filter (`cleave.ops.bilateral`), which here takes CutLER's place in the same steps;
    TokenCut itself works at the size of the image, and rejects nothing.

    Args:
        pixels: (H', W', 3) uint8 RGB; its size is the working size (CutLER: 480 x 480).
        masks: (M, h, w) bool on any grid.
        how: one of cleave's filters, or what makes another one for these pixels.
        size: of the result; that of `pixels` if None.
        minimum_iou: a mask is rejected if IoU(before, after) is below this.

    Returns:
        masks (M, H, W) bool, all False where rejected or empty, and keep (M,) bool.

    Raises:
        CleaveError: `crf` is asked for and nothing is there that computes it.
    """
    work = Size(*pixels.shape[:2])
    size = size or work
    if how == "none":
        refined = upsample_nearest(masks, size)
        return refined, refined.any((1, 2))
    refined = np.zeros((len(masks), *size), bool)
    occupied = np.flatnonzero(masks.any((1, 2)))
    if len(occupied) == 0:
        return refined, np.zeros(len(masks), bool)
    shown = upsample_nearest(masks[occupied], work)
    for index, before, after in zip(occupied, shown, _filtered(pixels, shown, how), strict=True):
        after = fill_holes(after)
        if (before & after).sum() >= minimum_iou * (before | after).sum():
            refined[index] = resize_mask(after, size)
    return refined, refined.any((1, 2))


def _filtered(pixels: Array, masks: Array, how: Refinement | FilterMaker) -> Iterable[Array]:
    if how == "crf":
        return dense_crf(pixels)(masks)  # several at once
    makers = {"bilateral": bilateral_solver, "guided": guided_filter}
    return map((how if callable(how) else makers[how])(pixels), masks)


def resize_mask(mask: Array, size: Size) -> Array:
    """(H, W) bool to another size: bicubic, then above half of the maximum (CutLER's rule)."""
    if mask.shape == size:
        return mask
    from PIL import Image

    grey = Image.fromarray(np.uint8(mask) * 255)
    values = np.asarray(grey.resize((size.width, size.height), Image.Resampling.BICUBIC))
    return values > values.max() / 2


def guided_filter(pixels: Array, *, radius: int = 16, epsilon: float = 1e-3) -> Filter:
    """Guided filter with a colour guide (He et al., TPAMI 2013, eq. 19-21), thresholded at half.

    In every window the mask is the linear function of colour that fits it best. Needs no compiler,
    but does NOT give the CRF's masks: on MaskCut's masks of 16 photos the mean IoU with them rises
    from .936 to .964, and is as flat as .957 to .965 for radii of 8 to 24 and epsilon to .003.

    Args:
        pixels: (H, W, 3) uint8 RGB, the guide.
        radius: of the square window, in pixels.
        epsilon: penalty on the slope, for colours in [0, 1].

    Returns:
        A function from a mask (H, W) bool to the refined mask (H, W) bool.
    """
    guide = np.moveaxis(pixels, -1, 0) / 255.0  # (3, H, W)
    window = (0, 2 * radius + 1, 2 * radius + 1)

    def mean(planes: Array) -> Array:
        return ndimage.uniform_filter(planes, window[-planes.ndim :], mode="reflect")

    centre = mean(guide)
    first, second = np.triu_indices(3)
    covariance = np.empty((3, 3, *pixels.shape[:2]))
    covariance[first, second] = mean(guide[first] * guide[second]) - centre[first] * centre[second]
    covariance[second, first] = covariance[first, second]
    penalised = np.moveaxis(covariance, (0, 1), (-2, -1)) + epsilon * np.eye(3)
    inverse = np.moveaxis(np.linalg.inv(penalised), (-2, -1), (0, 1))

    def fit(mask: Array) -> Array:
        share = mean(mask.astype(np.float64))
        slope = np.einsum("ijhw,jhw->ihw", inverse, mean(guide * mask) - centre * share)
        offset = share - (slope * centre).sum(0)
        return (mean(slope) * guide).sum(0) + mean(offset) > 0.5

    return fit
