"""Losses of SOLOv2 (arXiv 2003.10152) and FreeSOLO (arXiv 2202.12181), one value an object's cell.

P cells that learn a mask; masks are at a quarter of the padded image, (h, w).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cleave.ops.colour import lab
from cleave.solo.targets import STRIDE
from cleave.types import Size

SMOOTH = 2e-3  # in the denominator of Dice; AdelaiDet adds 1e-3 to each of its two sums
AXIS_SMOOTH = 1e-5  # of FreeSOLO's
DILATION = 2  # cells between neighbours that are compared; FreeSOLO
# The eight neighbours of a cell, row by row
NEIGHBOURS = tuple(
    (y * DILATION, x * DILATION) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)
)


def focal_loss(logits: Tensor, truth: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Cross-entropy of each logit alone, less where it is right already (arXiv 1708.02002, Eq. 5).

    Args:
        logits: of any shape.
        truth: the same shape, in {0, 1}.

    Returns:
        The same shape.
    """
    wrong = torch.where(truth > 0, (-logits).sigmoid(), logits.sigmoid())
    balance = torch.where(truth > 0, alpha, 1 - alpha)
    return (
        balance * wrong**gamma * F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    )


def dice_loss(predicted: Tensor, truth: Tensor, smooth: float = SMOOTH) -> Tensor:
    """1 - 2 Σ p t / (Σ p² + Σ t²) over all but the first axis (SOLO, arXiv 1912.04488, Eq. 4).

    Args:
        predicted, truth: (P, …) in [0, 1].

    Returns:
        (P,)
    """
    predicted, truth = predicted.flatten(1), truth.flatten(1)
    both = (predicted * truth).sum(1)
    return 1 - 2 * both / (predicted.square().sum(1) + truth.square().sum(1) + smooth)


def axis_losses(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """FreeSOLO's projections onto x and onto y, added (Sec. 3.3): of the maximum, of the mean.

    Args:
        predicted, truth: (P, h, w) in [0, 1].

    Returns:
        two of (P,), each in [0, 2].
    """
    largest, average = (
        sum(dice_loss(over(predicted, axis), over(truth, axis), AXIS_SMOOTH) for axis in (1, 2))
        for over in (torch.amax, torch.mean)
    )
    return largest, average


@torch.no_grad()
def like_colours(image: Tensor, frame: Size, least: float) -> Tensor:
    """Which of a cell's eight neighbours lie in the image and have a colour like its own.

    As in BoxInst (arXiv 2012.02310, Sec. 3.2), with exp(-|Lab - Lab'| / 2). FreeSOLO's code also
    leaves out the lowest ten pixels of the photo, because of COCO's annotations; this does not.

    Args:
        image: (3, H, W) float32 RGB in 0..255.
        frame: of the padded batch; multiples of four.
        least: the similarity that makes them alike.

    Returns:
        (8, h, w) bool, in the order of `NEIGHBOURS`.
    """
    height, width = image.shape[1:]
    padded = F.pad(image, (0, frame.width - width, 0, frame.height - height))
    mean = F.avg_pool2d(padded, STRIDE).clamp(0, 255).byte().permute(1, 2, 0)
    colours = torch.from_numpy(lab(mean.cpu().numpy())).to(image.device)  # (h, w, 3)
    rows, columns = (
        torch.arange(STRIDE // 2, side, STRIDE, device=image.device) < own
        for side, own in zip(frame, (height, width), strict=True)
    )
    return alike(colours, rows[:, None] & columns, least)


def alike(colours: Tensor, inside: Tensor, least: float) -> Tensor:
    """`like_colours` of cells: (h, w, 3) Lab, and (h, w) bool: which lie in the image."""
    found = torch.zeros((len(NEIGHBOURS), *inside.shape), dtype=torch.bool, device=inside.device)
    for number, offset in enumerate(NEIGHBOURS):
        here, there = _pairs(inside.shape, offset)
        distance = (colours[here] - colours[there]).norm(dim=-1)
        found[number][here] = ((-distance / 2).exp() >= least) & inside[there]
    return found


def colour_loss(
    logits: Sequence[Tensor],
    truths: Sequence[Tensor],
    likes: Sequence[Tensor],
    scores: Sequence[Tensor] | None = None,
) -> Tensor:
    """-log of the probability that neighbours of like colour are in or out of the mask together.

    FreeSOLO Sec. 3.3, BoxInst Eq. 5: averaged over the pairs whose first cell lies in the box of
    the coarse mask.

    Args:
        logits, truths: (P_i, h, w) of each image; truths in {0, 1}.
        likes: (8, h, w) bool of each image, from `like_colours`.
        scores: (P_i,) factors of each image, which do not change the denominator; None: 1.

    Returns:
        ()
    """
    total, count = [], []
    for number, (logit, truth, like) in enumerate(zip(logits, truths, likes, strict=True)):
        box = (truth.amax(1, keepdim=True) * truth.amax(2, keepdim=True)) > 0
        inner, outer = F.logsigmoid(logit), F.logsigmoid(-logit)
        for offset, near in zip(NEIGHBOURS, like, strict=True):
            here, there = _pairs(near.shape, offset)
            here, there = (slice(None), *here), (slice(None), *there)
            weight = (near[None] & box)[here]
            same = torch.logaddexp(inner[here] + inner[there], outer[here] + outer[there])
            each = -(same * weight).sum((1, 2))
            total.append((each if scores is None else each * scores[number]).sum())
            count.append(weight.sum())
    return torch.stack(total).sum() / torch.stack(count).sum().clamp(min=1)


def _pairs(shape: Sequence[int], offset: tuple[int, int]) -> tuple[tuple[slice, ...], ...]:
    """Where a map has the neighbour at an offset, and where those neighbours are."""
    here = tuple(
        slice(max(-step, 0), max(min(side - step, side), 0))
        for side, step in zip(shape, offset, strict=True)
    )
    there = tuple(
        slice(max(step, 0), max(min(side + step, side), 0))
        for side, step in zip(shape, offset, strict=True)
    )
    return here, there
