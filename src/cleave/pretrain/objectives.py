"""The losses of pre-training and what they are made of: pure functions and two small modules.

Ours rather than lightly's, which has them too: it would bring pytorch_lightning and hydra into
every installation, knows no Sinkhorn targets for the two, and averages nothing but a centre over
processes. `tests/parity/test_lightly.py` holds them to lightly 1.6.0's answers.

With several processes each loss is so normalised that gradients, averaged over the processes, are
those of one process with the whole batch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cleave.io import processes
from cleave.pretrain.config import Range
from cleave.pretrain.draws import Draws
from cleave.pretrain.model import initialise
from cleave.types import Size


def random_kept(draws: Draws, batch: int, patches: int, masked: float) -> Tensor:
    """The patches that MAE's encoder sees: (B, K) int64, in random order, K at least 1."""
    count = max(1, round(patches * (1 - masked)))
    noise = draws.uniform((batch, patches))
    return noise.argsort(1)[:, :count]


def reconstruction_loss(predicted: Tensor, patches: Tensor, kept: Tensor, epsilon: float) -> Tensor:
    """Mean squared error on the hidden patches, each normalised to zero mean and unit variance.

    MAE, arXiv 2111.06377, Sec. 3 ("per-patch normalized pixel values").

    Args:
        predicted, patches: (B, N, D) float.
        kept: (B, K) int64, patches that the encoder saw.
        epsilon: added to the standard deviation of a patch.
    """
    patches = patches.float()
    spread = patches.std(-1, correction=0, keepdim=True) + epsilon
    error = (predicted.float() - (patches - patches.mean(-1, keepdim=True)) / spread).square()
    hidden = torch.ones(patches.shape[:2], device=patches.device).scatter(1, kept, 0.0)
    return (error.mean(-1) * hidden).sum() / hidden.sum().clamp(min=1)


def blob_masks(draws: Draws, batch: int, grid: Size, *, crops: float, share: Range) -> Tensor:
    """Which patches of which crops are masked: connected blobs, (B, N) bool.

    Instead of iBOT's loop over random rectangles (arXiv 2111.07832, appendix B), smooth noise is
    cut at the rank that masks exactly the share drawn: one call for a whole batch.

    Args:
        crops: share of the crops that are masked at all; these come first in the whole batch, so
            crops must be in random order.
        share: range of the share of patches masked in such a crop.
    """
    height, width = grid
    coarse = (max(2, height // 4), max(2, width // 4))
    noise = draws.normal((batch, 1, *coarse))
    noise = F.interpolate(noise, (height, width), mode="bicubic", align_corners=True).flatten(1)
    rank = noise.argsort(1).argsort(1)
    count = (draws.uniform((batch, 1), *share) * height * width).round()
    count[draws.places(batch) >= math.ceil(batch * draws.world * crops)] = 0
    return rank < count


@torch.no_grad()
def sinkhorn(logits: Tensor, temperature: float, iterations: int) -> Tensor:
    """Soft targets in which every prototype is used equally often.

    Sinkhorn-Knopp on exp(logits / temperature), SwAV (arXiv 2006.09882, Sec. 3.1), as in DINOv2
    (arXiv 2304.07193, Sec. 4), over the rows of all processes. Works on logarithms, which cannot
    overflow; the factors 1/K and 1/B of the papers cancel.

    Args:
        logits: (B, K); B may differ from process to process.

    Returns:
        (B, K) float32, rows sum to 1.
    """
    log = logits.float() / temperature
    for _ in range(iterations):
        log = log - processes.gathered(log.logsumexp(0, keepdim=True)).logsumexp(0, keepdim=True)
        log = log - log.logsumexp(1, keepdim=True)
    return log.softmax(1)


def cross_entropy(targets: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """-sum targets * log softmax(logits / temperature), one value a row."""
    return -(targets * F.log_softmax(logits.float() / temperature, dim=-1)).sum(-1)


def view_loss(targets: list[Tensor], logits: list[Tensor], temperature: float) -> Tensor:
    """DINO's loss: each student view predicts every teacher view but itself (2104.14294, eq. 3).

    Args:
        targets: of the teacher, one (B, K) for each global view.
        logits: of the student, global views first, in the teacher's order.
    """
    terms = [
        cross_entropy(target, logit, temperature).mean()
        for t, target in enumerate(targets)
        for s, logit in enumerate(logits)
        if s != t
    ]
    return torch.stack(terms).mean()


def patch_loss(targets: Tensor, logits: Tensor, crop: Tensor, temperature: float) -> Tensor:
    """iBOT's loss: masked patches predict what the teacher sees there (2111.07832, eq. 3).

    Every masked crop counts the same, however many of its patches are masked. The mean is over the
    masked crops of all processes; iBOT's and DINOv2's code divide by the number of all crops, which
    makes theirs smaller by the share of crops that are masked (a matter of the weight alone).

    Args:
        targets, logits: (M, K), one row a masked patch.
        crop: (M,) int64, the crop that the patch is of.
    """
    sizes = torch.bincount(crop)
    weights = 1 / sizes[crop].float()
    crops = processes.mean((sizes > 0).sum().float())  # a process may have none
    return (cross_entropy(targets, logits, temperature) * weights).sum() / crops


def koleo_loss(features: Tensor) -> Tensor:
    """Kozachenko-Leonenko: pushes each feature away from its nearest one in the whole batch.

    arXiv 1806.03198, eq. 6, on unit vectors, as in DINOv2, whose code looks for neighbours among
    the features of the same process only.

    Args:
        features: (B, C), at least two over all processes.
    """
    unit = processes.gathered(F.normalize(features.float(), dim=-1))
    with torch.no_grad():
        nearest = (unit @ unit.T).fill_diagonal_(-1).argmax(1)
    square = (unit - unit[nearest]).square().sum(1)
    # half the logarithm of the square, not of the distance: equal features have a gradient of 0
    return -(square + 1e-12).log().mean() / 2


class PrototypeHead(nn.Module):
    """DINO's head: an MLP to a unit vector, then its cosines with K unit prototypes."""

    def __init__(self, dim: int, hidden: int, bottleneck: int, prototypes: int):
        super().__init__()
        self.mlp = nn.Sequential(
            *(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()),
            nn.Linear(hidden, bottleneck),
        )
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        self.apply(initialise)
        nn.init.normal_(self.prototypes)

    def forward(self, x: Tensor) -> Tensor:
        unit = F.normalize(self.mlp(x).float(), dim=-1)
        return F.linear(unit, F.normalize(self.prototypes, dim=-1))


@torch.no_grad()
def update_average(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher = momentum * teacher + (1 - momentum) * student, for every parameter."""
    ours, theirs = list(teacher.parameters()), list(student.parameters())
    torch._foreach_mul_(ours, momentum)
    torch._foreach_add_(ours, theirs, alpha=1 - momentum)
