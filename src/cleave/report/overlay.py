"""Masks drawn over a photo, as arrays."""

from __future__ import annotations

import colorsys

import numpy as np

from cleave.types import Array, MaskSet

STRIPE = 22  # stripes of a hatched mask along the photo's long side


def palette(count: int) -> Array:
    """(count, 3) uint8 colours, each far in hue from the ones before (golden-ratio steps).

    Lightness alternates, because hues of a green lie close together to the eye.
    """
    hues = (0.9 + 0.61803398875 * np.arange(count)) % 1.0
    lights = np.array([0.60, 0.48, 0.72])[np.arange(count) % 3]
    colours = [
        [round(255 * c) for c in colorsys.hls_to_rgb(hue, light, 0.9)]
        for hue, light in zip(hues, lights, strict=True)
    ]
    return np.array(colours, np.uint8).reshape(count, 3)


def overlay(
    pixels: Array,
    masks: MaskSet,
    *,
    colours: Array | None = None,
    hatched: Array | None = None,
    opacity: float = 0.55,
) -> Array:
    """The photo with each mask tinted and outlined, small masks on top of large ones.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        masks: M masks of the same height and width.
        colours: (M, 3) uint8, by default those of `palette`.
        hatched: (M,) bool, masks that are striped instead of filled; none by default.
        opacity: of the tint, in [0, 1]; outlines are opaque.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    colours = palette(len(masks)) if colours is None else colours
    drawn = pixels.astype(np.float32)
    stripes = _stripes(*pixels.shape[:2])
    order = np.argsort(-masks.areas, kind="stable")
    for index in order:
        mask = masks.masks[index]
        if hatched is not None and hatched[index]:
            mask = mask & stripes
        drawn[mask] += opacity * (colours[index] - drawn[mask])
    # Outlines after all tints, or a mask inside another one would lose its own.
    width = max(1, round(max(pixels.shape[:2]) / 240))
    for index in order:
        drawn[outline(masks.masks[index], width)] = colours[index]
    return np.rint(drawn).astype(np.uint8)


def _stripes(height: int, width: int) -> Array:
    """(height, width) bool: diagonal stripes as wide as the gaps between them."""
    period = max(2, round(max(height, width) / STRIPE))
    return (np.add.outer(np.arange(height), np.arange(width)) % period) < period / 2


def outline(mask: Array, width: int) -> Array:
    """(H, W) bool: pixels of the mask within `width` (city-block) of its border or of the frame."""
    inner = np.pad(mask, 1)
    for _ in range(width):
        inner[1:-1, 1:-1] &= inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    return mask & ~inner[1:-1, 1:-1]
