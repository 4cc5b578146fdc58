"""Affinities of patches on a GPU: `ops.affinity` and `ops.importance` in torch.

One image at a time: a product of this size keeps a GPU busy by itself, and what else is in a batch
can then not change a bit. All is float32, as on the CPU, and never TF32. Sums come in another order
than on the CPU, so cosines differ by round-off (1e-6), and so may edges whose cosine is as near to
the threshold.
"""

from __future__ import annotations

import numpy as np
import torch

from cleave.ops.affinity import MARGIN, near_far_pairs, separating_threshold
from cleave.ops.importance import LOWEST, Indexing
from cleave.types import Array, Size


def unit_rows(features: torch.Tensor, centre: bool) -> torch.Tensor:
    """Rows of unit length, (N, C) float32; see `ops.affinity.normalise` and `centre`."""
    if centre:
        whole = features.double()
        centred = whole - whole.mean(0)
        scale = whole.square().sum(1).mean().sqrt()
        none = torch.linalg.vector_norm(centred, dim=1, keepdim=True) <= 1e-5 * scale
        features = centred.masked_fill(none, 0).float()
    norms = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return torch.where(norms > 0, features / norms, 0.0)


def cosine(unit: torch.Tensor) -> torch.Tensor:
    """(N, N) float32, symmetric but for round-off, from rows of unit length or zero."""
    return unit @ unit.T


def sharpen(affinity: torch.Tensor, importance: torch.Tensor, indexing: Indexing) -> torch.Tensor:
    """W_ij to the power 1 - d_ij; see `ops.importance.sharpen`."""
    d = importance.flatten()
    match indexing:
        case "symmetric":
            pairwise = (d[:, None] + d) / 2
        case "product":
            pairwise = d[:, None] * d
        case "min":
            pairwise = torch.minimum(d[:, None], d)
        case "max":
            pairwise = torch.maximum(d[:, None], d)
        case "row":
            later = torch.ones_like(affinity, dtype=torch.bool).tril()
            pairwise = torch.where(later, d[:, None], d)
        case _:
            raise ValueError(f"indexing {indexing!r}")
    return affinity.clamp(LOWEST, 1.0) ** (1 - pairwise)


def density_threshold(affinity: torch.Tensor, density: float) -> float:
    """The exact order statistic; see `ops.affinity.density_threshold`."""
    n = len(affinity)
    pairs = n * (n - 1) // 2
    if not pairs:
        return -1.0
    wanted = max(1, round(density * pairs))
    lower = torch.ones_like(affinity, dtype=torch.bool).tril()
    above = affinity.masked_fill(lower, -torch.inf).flatten()
    return float(above.kthvalue(n * n - wanted + 1).values) - MARGIN


def near_far_threshold(affinity: torch.Tensor, grid: Size, rng: np.random.Generator) -> float:
    """The same pairs as `ops.affinity.near_far_threshold` draws, and the same choice."""
    drawn = near_far_pairs(grid, rng)
    if drawn is None:
        return -1.0 - MARGIN
    index = torch.as_tensor(np.array(drawn)).to(affinity.device)  # near or far, one or other, pair
    return separating_threshold(*affinity[index[:, 0], index[:, 1]].cpu().numpy())


def edges(affinity: torch.Tensor, threshold: float, unit: torch.Tensor) -> Array:
    """Which pairs are joined, packed: (N, ceil(N/8)) uint8 on the CPU, exactly symmetric.

    The upper triangle counts: products and powers in parallel are symmetric but for round-off.

    Args:
        affinity: (N, N) float32.
        threshold: above which two patches are joined; compared in float32, as NumPy does.
        unit: (N, C); rows of zeros are joined to none.
    """
    least = torch.tensor(threshold, dtype=torch.float32, device=affinity.device)
    some = unit.any(1)
    upper = ((affinity > least) & some & some[:, None]).triu()
    return pack(upper | upper.T).cpu().numpy()


def pack(matrix: torch.Tensor) -> torch.Tensor:
    """`ops.bits.pack` where the matrix lies: (R, n) bool to (R, ceil(n/8)) uint8."""
    rows, n = matrix.shape
    padded = matrix.new_zeros((rows, (n + 7) // 8 * 8))
    padded[:, :n] = matrix
    weights = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], device=matrix.device).byte()
    return (padded.view(rows, -1, 8) * weights).sum(2, dtype=torch.uint8)
