"""Collages of photos, whose patches know which photo they came from; and what is learned of them.

In the line of "Learning visual groups from co-occurrences" (Isola et al., arXiv 1511.06811): what
is seen together belongs together. There the pairs are near and far patches of one image, and a
network that sees context tells near from far by overlap alone (features study, section 5). Here
pieces of other photos lie on a photo, and pairs at all distances are asked for: same photo or not.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cleave.io import processes
from cleave.pretrain.augment import crops
from cleave.pretrain.config import Collage
from cleave.pretrain.draws import Draws

CELL = 4  # pixels of a cell that a piece is cut along; its outline is smooth between them
ASPECT = 2.0  # of the bump that keeps a piece together, at most
# What a piece follows: its distance from a centre, in half image sides, smooth noise, and for half
# of the pieces the colour at the centre, as a superpixel does. Set by eye, on unlabeled photos.
BUMP, NOISE, COLOUR = 1.2, 0.35, 1.0
SEAM = 3.0  # a seam is CELL / SEAM = 1.3 pixels wide: no hard edge to learn instead


class Pieces(NamedTuple):
    """Collages and what each pixel of them is of."""

    pixels: Tensor  # (B, 3, size, size) float32 in [0, 1]
    owner: Tensor  # (B, size, size) int64: 0 for the photo below, l for what piece l shows


def compose(photos: Tensor, draws: Draws, how: Collage) -> Pieces:
    """Lays 1 to `how.pieces` pieces of other photos of the batch on a crop of each photo.

    Some pieces show the photo below itself, at another place: their seams are no border.

    Args:
        photos: (B, 3, S, S) uint8, those of this process.
    """
    count, size = len(photos), how.crop
    pixels = crops(photos, draws, size=size, area=how.area)
    owner = torch.zeros((count, size, size), dtype=torch.int64, device=photos.device)
    everyone = in_order(processes.gathered(photos))
    number = (draws.uniform((count,)) * how.pieces).long() + 1
    for piece in range(1, how.pieces + 1):
        own = draws.uniform((count,)) < how.own
        away = 1 + (draws.uniform((count,)) * (len(everyone) - 1)).long()
        source = (draws.places(count) + torch.where(own, 0, away)) % len(everyone)
        seen = crops(everyone[source], draws, size=size, area=how.area)
        cover = shapes(seen, draws, how) * (piece <= number)[:, None, None]
        pixels = torch.lerp(pixels, seen, cover[:, None])
        owner = torch.where(cover > 0.5, torch.where(own, 0, piece)[:, None, None], owner)
    return Pieces(pixels, owner)


def in_order(gathered: Tensor) -> Tensor:
    """Rows of all processes, those of process 0 first, to the order of the whole batch."""
    world = processes.place()[1]
    return gathered.unflatten(0, (world, -1)).transpose(0, 1).flatten(0, 1)


def shapes(seen: Tensor, draws: Draws, how: Collage) -> Tensor:
    """How much of each pixel a piece covers: one smooth region, soft along its outline.

    Args:
        seen: (B, 3, size, size) float32, what the pieces are cut from.

    Returns:
        (B, size, size) float32 in [0, 1]; its area is log-uniform in `how.share`.
    """
    count, side = len(seen), how.crop // CELL
    low, high = (math.log(share) for share in how.share)
    share = draws.uniform((count, 1), low, high).exp()
    centre = draws.uniform((count, 2), -0.8, 0.8)
    bound = math.log(ASPECT) / 2
    turn, aspect = (
        draws.uniform((count, 1, 1), 0, math.pi),
        draws.uniform((count, 1, 1), -bound, bound),
    )
    coarse = draws.normal((count, 1, 6, 6))
    follows = (draws.uniform((count, 1, 1)) < 0.5) * COLOUR
    axis = (2 * torch.arange(side, device=seen.device) + 1) / side - 1
    y, x = axis[:, None] - centre[:, :1, None], axis - centre[:, 1:, None]
    along = (x * turn.cos() + y * turn.sin()) * aspect.exp()
    across = (y * turn.cos() - x * turn.sin()) / aspect.exp()
    noise = F.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)[:, 0]
    field = NOISE * noise - BUMP * (along.square() + across.square()).sqrt()
    field = (field - follows * unlikeness(seen, centre, side)).flatten(1)
    rank = field.argsort(1, descending=True).argsort(1)
    inside = (rank < (share * side**2).round().clamp(min=1)).float().reshape(count, 1, side, side)
    smooth = F.interpolate(inside, tuple(seen.shape[-2:]), mode="bilinear", align_corners=False)
    return ((smooth[:, 0] - 0.5) * SEAM + 0.5).clamp(0, 1)


def unlikeness(seen: Tensor, centre: Tensor, side: int) -> Tensor:
    """Distance of each cell's colour from that at the centre, over its mean in the crop.

    Args:
        seen: (B, 3, H, W) in [0, 1].
        centre: (B, 2), y and x in [-1, 1].

    Returns:
        (B, side, side) float32.
    """
    colours = F.avg_pool2d(F.adaptive_avg_pool2d(seen, side), 3, 1, 1, count_include_pad=False)
    row, column = ((centre + 1) / 2 * side).long().clamp(0, side - 1).T
    middle = colours[torch.arange(len(seen), device=seen.device), :, row, column]
    distance = (colours - middle[:, :, None, None]).square().sum(1).sqrt()
    return distance / (distance.mean((1, 2), keepdim=True) + 1e-3)


def owners(owner: Tensor, patch: int, pieces: int) -> tuple[Tensor, Tensor]:
    """Of each patch its owner, (B, N) int64, and whether it is of that one alone, (B, N) bool.

    A patch counts as of one owner from nine tenths of its pixels on; seams are left out.

    Args:
        owner: (B, H, W) int64 in [0, pieces].
    """
    kinds = F.one_hot(owner, pieces + 1).permute(0, 3, 1, 2).float()
    share, most = F.avg_pool2d(kinds, patch).flatten(2).max(1)
    return most, share >= 0.9


class Grouping(NamedTuple):
    """The loss, and the share of pairs told right, both averaged as the loss weighs the pairs."""

    loss: Tensor
    accuracy: Tensor


def grouping(tokens: Tensor, owner: Tensor, whole: Tensor, scale: Tensor, bias: Tensor) -> Grouping:
    """Logistic loss on whether two patches of a collage are of one photo.

    The score is scale * (cosine - bias) of tokens minus their mean over the image: the affinity
    that a centred cosine graph has. Pairs of one owner and pairs of two count one half each; in
    each half every owner, or pair of owners, counts the same, whatever its size. Collages that
    show one owner alone are left out.

    Args:
        tokens: (B, N, C).
        owner, whole: (B, N), from `owners`; patches that are not whole are in no pair.
    """
    x = tokens.float()
    unit = F.normalize(x - x.mean(1, keepdim=True), dim=-1)
    score = scale * (unit @ unit.transpose(1, 2) - bias)
    of = F.one_hot(owner) * whole[..., None]  # (B, N, K)
    sizes = of.sum(1, keepdim=True)
    share = (of * (sizes > 1) / sizes.clamp(min=1)).sum(-1)  # a single patch has no partner
    weight = share[:, :, None] * share[:, None, :]
    same = owner[:, :, None] == owner[:, None, :]
    alike = weight * (same & ~torch.eye(len(x[0]), dtype=torch.bool, device=x.device))
    unlike = weight * ~same
    several = unlike.sum((1, 2)) > 0
    halves = [half / half.sum((1, 2), keepdim=True).clamp(min=1e-9) / 2 for half in (alike, unlike)]
    loss = F.softplus(-score) * halves[0] + F.softplus(score) * halves[1]
    right = (score > 0) * halves[0] + (score <= 0) * halves[1]
    collages = processes.mean(several.sum().float()).clamp(min=1e-9)
    return Grouping(*((term.sum((1, 2)) * several).sum() / collages for term in (loss, right)))
