"""What depth plugins share: the files they read, sizes, and from a network's output to distance."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from cleave.io.images import resize
from cleave.io.listing import fingerprint, walk
from cleave.types import Array, Size

LEAST_SIDE = 32  # pixels
LONGEST = 4  # times the short side


def files_fingerprint(root: Path, suffixes: Collection[str]) -> str:
    """A text that changes with the files below a folder that have one of these suffixes."""
    return fingerprint(root, (found for found in walk(root, suffixes) if not found.reason))


def model_fingerprint(model: str) -> str:
    """The same of a model's folder as `save_pretrained` writes it; "" for a name on the hub."""
    return files_fingerprint(Path(model), {".json", ".safetensors"}) if Path(model).is_dir() else ""


def fit_for_network(pixels: Array) -> Array:
    """The image as it is, unless no network could take it: then stretched, or squeezed to 4 : 1.

    The image processors bring one side to a fixed size and round the other to whole patches; of
    a strip they make nothing, or tens of megapixels.

    Args:
        pixels: (H, W, 3) uint8.
    """
    height, width = (max(side, LEAST_SIDE) for side in pixels.shape[:2])
    size = Size(min(height, LONGEST * width), min(width, LONGEST * height))
    return pixels if size == pixels.shape[:2] else resize(pixels, size)


def stored_size(image: Size, max_side: int) -> Size:
    """The size of the stored map: the image's, shrunk so that no side exceeds `max_side`."""
    longest = max(image)
    if longest <= max_side:
        return image
    return Size(*(max(1, (side * max_side + longest // 2) // longest) for side in image))


def distance_from_disparity(disparity: Array) -> Array:
    """1 / disparity, which is up to scale; clipped at the percentiles 1 and 99 first.

    A network gives sky the disparity 0, and single pixels anything: without the clip these would
    decide the range of the depth. The percentiles are those of the positive disparities. Where
    there are none (a blank picture) the depth is flat.

    Args:
        disparity: (h, w), larger is nearer.

    Returns:
        (h, w) float32, larger is farther.
    """
    positive = disparity[disparity > 0]
    if not positive.size:
        return np.ones(disparity.shape, np.float32)
    low, high = np.percentile(positive.astype(np.float64), [1, 99])
    return (1 / np.clip(disparity.astype(np.float64), low, high)).astype(np.float32)
