"""Is it learning, or collapsing? Numbers that need neither labels nor neighbours."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cleave.io import processes


def unit_spread(features: Tensor) -> float:
    """Standard deviation of unit features over the rows, mean over the C dimensions.

    1 / sqrt(C) when they fill the sphere, 0 when all are one (SimSiam, arXiv 2011.10566, Sec. 4.1).

    Args:
        features: (B, C).
    """
    return float(F.normalize(features.float(), dim=-1).std(0, correction=0).mean())


def effective_rank(features: Tensor, rows: int = 2048) -> float:
    """exp of the entropy of the singular values' shares (RankMe, arXiv 2210.02885, eq. 1).

    Args:
        features: (B, C); only the first `rows` are looked at. NaN if one of them is not finite.
    """
    features = features[:rows].float()
    if not bool(features.isfinite().all()):
        return math.nan
    values = torch.linalg.svdvals(features)
    share = values / values.sum().clamp(min=1e-12) + 1e-7
    return float((-(share * share.log()).sum()).exp())


def entropy(logits: Tensor, temperature: float) -> float:
    """Mean entropy of softmax(logits / temperature), nats; log K means that nothing is learned."""
    log = F.log_softmax(logits.detach().float() / temperature, dim=-1)
    return _mean(-(log.exp() * log).sum(-1))


def assignment_entropy(targets: Tensor) -> float:
    """Mean entropy of rows of probabilities (B, K), nats: 0 is one prototype each, log K all."""
    return _mean(-torch.xlogy(targets, targets).sum(1))


def _mean(values: Tensor) -> float:
    """Over the values of all processes, of which one may have none."""
    count = torch.tensor(len(values), device=values.device)
    return float(processes.total(values.sum()) / processes.total(count))


def prototypes_used(targets: Tensor) -> int:
    """How many prototypes are the favourite of a row of targets (B, K) in any process."""
    used = torch.zeros(targets.shape[1], device=targets.device)
    used[targets.argmax(1)] = 1
    return int((processes.total(used) > 0).sum())
