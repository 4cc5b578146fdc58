"""Cosine affinities between patches, and the rules that turn them into edges."""

from __future__ import annotations

import numpy as np


def normalise(features: np.ndarray) -> np.ndarray:
    """Rows of unit length, (N, C) float32; a row of zeros stays zero."""
    features = np.asarray(features, np.float32)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return np.divide(features, norms, out=np.zeros_like(features), where=norms > 0)


def centre(features: np.ndarray) -> np.ndarray:
    """Subtracts the image's mean feature, (N, C) float32.

    A row that is the mean but for round-off becomes exactly zero: of a constant image nothing is
    left, and not noise that `normalise` would blow up to full length.
    """
    features = np.asarray(features, np.float64)
    centred = features - features.mean(axis=0)
    scale = np.sqrt(np.square(features).sum(axis=1).mean())
    centred[np.linalg.norm(centred, axis=1) <= 1e-5 * scale] = 0
    return centred.astype(np.float32)


def cosine(features: np.ndarray) -> np.ndarray:
    """Cosine similarity of every pair of patches.

    Args:
        features: (N, C) float; rows of zeros are allowed, their cosines are 0.

    Returns:
        (N, N) float32, exactly symmetric.
    """
    unit = normalise(features)
    return unit @ unit.T  # numpy calls BLAS syrk for this: half the work, exactly symmetric
