"""Refinement of each mask in a window of its own: a part of an object is small in its image."""

from __future__ import annotations

import numpy as np

from cleave.io.images import resize
from cleave.ops.boxes import bounds
from cleave.ops.refine import FilterMaker, Refinement, refine
from cleave.types import Array, Size


def refine_in_windows(
    pixels: Array,
    masks: Array,
    how: Refinement | FilterMaker = "crf",
    *,
    sides: tuple[int, int] = (100, 900),
) -> Array:
    """Masks snapped to the edges of their surroundings, as UnSAM's refiner looks at them.

    The window is a square about the centre of the mask's box, of twice its longer side, cut at
    the border of the image; its longer side is brought into `sides` (arXiv 2406.20081;
    cascadepsp.py:28-43, for CascadePSP). The steps inside it are those of `ops.refine.refine`.
    A CRF costs as much as it sees pixels, so hundreds of small masks take a fraction of what they
    take at the size of the image.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        masks: (M, H, W) bool; what is rejected or empty comes back empty.
        how: see `ops.refine.refine`; `none` changes nothing.
        sides: least and most pixels of a window's longer side.

    Returns:
        (M, H, W) bool.
    """
    if how == "none":
        return masks
    refined = np.zeros_like(masks)
    for index in np.flatnonzero(masks.any((1, 2))):
        window = _window(masks[index])
        before = masks[index][window]
        size = Size(*before.shape)
        scale = np.clip(max(size), *sides) / max(size)
        work = Size(*(max(1, round(side * scale)) for side in size))
        found, _ = refine(resize(pixels[window], work), before[None], how, size=size)
        refined[(index, *window)] = found[0]
    return refined


def _window(mask: Array) -> tuple[slice, slice]:
    """Rows and columns within a box's longer side of its centre (cascadepsp.py:32-36)."""
    ends = [(along.start, along.stop) for along in bounds(mask)]
    reach = max(high - low for low, high in ends)
    return tuple(
        slice(int(max(0, (low + high) / 2 - reach)), int(min(length, (low + high) / 2 + reach)))
        for (low, high), length in zip(ends, mask.shape, strict=True)
    )
