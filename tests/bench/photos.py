"""Stand-ins for photos: rendered scenes with noise, which give a CRF as much work as photos do."""

from __future__ import annotations

import numpy as np

from cleave.ops.render import Rendered, scene
from cleave.types import Size

SIZE = Size(480, 640)
NOISE = 12.0  # levels; without, a scene has few colours, and the lattice of its CRF few nodes
QUALITY = 92  # of JPEGs


def drawn(seed: int, size: Size = SIZE) -> tuple[np.ndarray, Rendered]:
    """(H, W, 3) uint8 RGB, and the scene with its instances."""
    found = scene("crowded", seed, size)
    noise = np.random.default_rng(seed).normal(0, NOISE, found.pixels.shape)
    return np.clip(found.pixels + noise, 0, 255).astype(np.uint8), found


def photo(seed: int, size: Size = SIZE) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    return drawn(seed, size)[0]
