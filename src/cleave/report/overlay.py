"""Masks drawn over a photo, as arrays."""

from __future__ import annotations

import colorsys

import numpy as np

from cleave.types import MaskSet


def palette(count: int) -> np.ndarray:
    """(count, 3) uint8 colours, each far in hue from the ones before (golden-ratio steps)."""
    hues = (0.02 + 0.61803398875 * np.arange(count)) % 1.0
    return np.array(
        [[round(255 * c) for c in colorsys.hls_to_rgb(h, 0.55, 0.85)] for h in hues], np.uint8
    ).reshape(count, 3)


def overlay(pixels: np.ndarray, masks: MaskSet, opacity: float = 0.5) -> np.ndarray:
    """The photo with each mask tinted and outlined, the best score on top.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        masks: masks of the same height and width.
        opacity: of the tint, in [0, 1]; outlines are opaque.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    drawn = pixels.astype(np.float32)
    width = max(1, round(min(pixels.shape[:2]) / 240))
    colours = palette(len(masks)).astype(np.float32)
    for index in np.argsort(masks.scores, kind="stable"):
        mask = masks.masks[index]
        drawn[mask] += opacity * (colours[index] - drawn[mask])
        drawn[outline(mask, width)] = colours[index]
    return np.rint(drawn).astype(np.uint8)


def outline(mask: np.ndarray, width: int) -> np.ndarray:
    """(H, W) bool: pixels of the mask within `width` (city-block) of its border or of the frame."""
    inner = np.pad(mask, 1)
    for _ in range(width):
        inner[1:-1, 1:-1] &= inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    return mask & ~inner[1:-1, 1:-1]
