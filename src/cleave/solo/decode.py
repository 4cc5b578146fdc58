"""From what the cells say to masks: points, maskness, Matrix NMS (arXiv 2003.10152, Sec. 3.3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cleave.ops.matrix_nms import matrix_nms
from cleave.solo.settings import Architecture
from cleave.solo.targets import STRIDE
from cleave.types import Array, Size

LEVEL_STRIDES = (8, 8, 16, 32, 32)  # a mask has more cells than the stride of the level it is of
AT_ONCE = 2**24  # values of soft masks that are held at once, while they are only looked at


def decode(
    categories: Tensor, kernels: Tensor, features: Tensor, parts: Architecture
) -> tuple[Tensor, Array, Array]:
    """The masks of one image that Matrix NMS leaves, best first.

    Args:
        categories: (G, C) logits.
        kernels: (G, E).
        features: (E, h, w).

    Returns:
        (K, h, w) float32 probabilities on the device; (K,) float64 scores; (K,) int64 labels.
    """
    scores = peaks(categories.sigmoid(), parts.grids)
    cells, labels = (scores > parts.score_floor).nonzero(as_tuple=True)
    areas, maskness = _measured(kernels[cells], features, parts.mask_threshold)
    strides = torch.cat(
        [areas.new_full((n * n,), s) for n, s in zip(parts.grids, LEVEL_STRIDES, strict=True)]
    )
    large = areas > strides[cells]
    cells, labels = cells[large], labels[large]
    scores = scores[cells, labels] * maskness[large]
    order = scores.argsort(descending=True, stable=True)[: parts.before_nms]
    soft = _soft(kernels[cells[order]], features)
    masks = (soft > parts.mask_threshold).flatten(1).cpu().numpy()
    scores, labels = scores[order].double().cpu().numpy(), labels[order].cpu().numpy()
    scores = matrix_nms(masks, scores, labels, kernel=parts.nms_kernel, sigma=parts.nms_sigma)
    best = np.argsort(-scores, kind="stable")[: parts.detections]
    best = best[scores[best] >= parts.nms_floor]
    return soft[torch.from_numpy(best).to(soft.device)], scores[best], labels[best]


def peaks(scores: Tensor, grids: Sequence[int]) -> Tensor:
    """Scores of the cells that none exceeds of the left, the upper and the upper left; else 0.

    Args:
        scores: (G, C) of all levels.
        grids: cells a side of each.
    """
    kept = []
    for level, grid in zip(scores.split([n * n for n in grids]), grids, strict=True):
        heat = level.T.unflatten(1, (grid, grid))
        best = F.max_pool2d(heat, 2, stride=1, padding=1)[:, :-1, :-1]
        kept.append((heat * (best == heat)).flatten(1).T)
    return torch.cat(kept)


def enlarge(soft: Tensor, resized: Size, original: Size, threshold: float) -> Array:
    """Soft masks at the original image's size, bilinearly, as masks.

    Twice: to the resized and padded image, of which the image is cut out, and to the original. The
    authors' code takes the first factor as height / map height, rounded up, which is not 4 where
    little of a small batch is image; here it is 4.

    Args:
        soft: (K, h, w).
        resized: of the image as the network saw it, without padding.

    Returns:
        (K, H, W) bool.
    """
    height, width = (side * STRIDE for side in soft.shape[1:])
    masks = np.zeros((len(soft), *original), bool)
    step = max(AT_ONCE // max(height * width, original.height * original.width), 1)
    for first in range(0, len(soft), step):
        x = soft[first : first + step, None]
        x = F.interpolate(x, size=(height, width), mode="bilinear")
        x = x[..., : resized.height, : resized.width]
        x = F.interpolate(x, size=tuple(original), mode="bilinear")
        masks[first : first + step] = (x[:, 0] > threshold).cpu().numpy()
    return masks


def _soft(kernels: Tensor, features: Tensor) -> Tensor:
    return (kernels @ features.flatten(1)).sigmoid().unflatten(1, features.shape[1:])


def _measured(kernels: Tensor, features: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """(N,) cells in each mask, and (N,) its maskness: their mean probability, 0 without any."""
    step = max(AT_ONCE // features[0].numel(), 1)
    areas, sums = [kernels.new_zeros(0)], [kernels.new_zeros(0)]
    for part in kernels.split(step):
        soft = _soft(part, features)
        masks = soft > threshold
        areas.append(masks.sum((1, 2)).float())
        sums.append((soft * masks).sum((1, 2)))
    area = torch.cat(areas)
    return area, torch.cat(sums) / area.clamp(min=1)
