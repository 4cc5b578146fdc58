"""Patches scored by the class token, and what spreads from the best of them (MaskDistill)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cleave.ops.seed_expansion import spread
from cleave.types import Array


class Diffusion(NamedTuple):
    source: int  # the best patch, the first on ties
    carriers: Array  # (P,) int64, good patches that resemble the source, better first
    field: Array  # (N,) float64, the sum of each patch's products with the carriers


def class_scores(query: Array, keys: Array, heads: int) -> Array:
    """Mean over heads of the products of CLS's query with each key, (N,) float64.

    MaskDistill's G_cls (arXiv 2206.06363, eq. 1): no softmax, no factor for the length.

    Args:
        query: (heads * d,) float.
        keys: (N, heads * d) float.
    """
    return np.asarray(keys, np.float64) @ np.asarray(query, np.float64) / heads


def diffuse(keys: Array, scores: Array, share: float) -> Diffusion:
    """Spreads from the best patch over the good patches that resemble it to all patches.

    MaskDistill (arXiv 2206.06363, eq. 2; gen_masks.py:38-51). The affinity of two patches
    is A = sum over heads of k_i . k_j, which is the product of the whole keys. The best
    int(share * N) patches (at least one) are good; those of them with A > 0 to the source carry,
    and the field is the sum of A over the carriers: LOST's expansion, from another seed. None of
    the N x N affinities but the source's is needed.

    Args:
        keys: (N, C) float, N > 0.
        scores: (N,) float; of equal scores the first patch is the better.
        share: of the patches, in (0, 1].
    """
    order = np.argsort(-scores, kind="stable")[: max(1, int(share * len(keys)))]
    return Diffusion(int(order[0]), *spread(keys, order))
