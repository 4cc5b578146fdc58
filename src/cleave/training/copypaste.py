"""Copy-paste between the images of a batch, with CutLER's rules and CutS3D's use of trust.

CutLER (arXiv 2301.11320) Sec. 3.4 and engine/train_loop.py:89-241, but for its quirks: x and y of
the offset swapped, masks grown by the resize, and boxes that are not recomputed in an image that
had no object. CutS3D (arXiv 2411.16319): the most trusted masks are pasted instead of random
ones, and blended with the trust as opacity (Eq. 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from cleave.ops.targets import Targets
from cleave.training.augment_settings import Augment
from cleave.training.transforms import (
    Example,
    area_trust,
    boxes_of,
    draw,
    reduce_any,
    resize_masks,
    resize_pixels,
    spread,
)
from cleave.types import Size


@dataclass(frozen=True)
class Paste:
    """All that is random in one paste."""

    wanted: bool
    count: int  # of the source's masks that are pasted
    order: Tensor  # (n,) int64, a permutation of the source's masks
    size: Size  # of the whole source image when pasted
    top: int
    left: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the target that the source covers."""
        rows = slice(self.top, self.top + self.size.height)
        return rows, slice(self.left, self.left + self.size.width)


def plan(masks: int, target: Size, settings: Augment, generator: Generator) -> Paste:
    """Draws a paste: the same numbers in the same order whatever is switched on.

    Args:
        masks: of the source image.
        target: size of the image pasted onto.
    """
    gate, share, ratio, down, right = (draw(generator) for _ in range(5))
    order = torch.randperm(masks, generator=generator)
    low, high = settings.ratio
    ratio = low + (high - low) * ratio
    size = Size(*(max(1, int(ratio * side)) for side in target))
    # numpy's randint(1, n) excludes n: one of several masks always stays behind (:134)
    count = 1 + int(share * (masks - 1)) if masks > 1 else masks
    return Paste(
        wanted=masks > 0 and gate < settings.copy_paste,
        count=masks if settings.copies == "all" else count,
        order=order,
        size=size,
        top=int(down * (target.height - size.height + 1)),
        left=int(right * (target.width - size.width + 1)),
    )


def ranking(source: Example, trust: Tensor | None, order: Tensor, settings: Augment) -> Tensor:
    """The source's masks in the order in which they are pasted; ties go by the random `order`.

    Args:
        trust: (n, H, W) float32 at the size of the source's masks, for `select: trust`.
        order: (n,) int64.

    Returns:
        (n,) int64 on the device of the masks.
    """
    order = order.to(source.masks.device)
    if settings.select == "random":
        return order
    areas = source.masks.flatten(1).sum(1, dtype=torch.float32)
    if settings.select == "trust":  # mean Spatial Confidence over the mask
        worth = torch.where(source.masks, trust, 0.0).flatten(1).sum(1) / areas
        worth = worth.round(decimals=4)  # equal trust must tie, whatever the round-off
    else:
        worth = areas if settings.select == "area" else source.scores
    return order[worth[order].argsort(descending=True, stable=True)]


def paste(
    target: Example,
    trust: Tensor | None,
    source: Example,
    settings: Augment,
    chosen: Paste,
    rank: Tensor,
) -> tuple[Tensor, Targets]:
    """Pastes the first masks of `rank` onto a copy of the target.

    A pasted mask is dropped if it would cover `settings.overlap` or more of any of the target's
    masks (:209). The target's masks lose what is covered, and those that lose all are dropped.

    Args:
        target, source: after their own transforms; every mask has a pixel.
        trust: (n, H, W) float32 of the target's masks, or None.
        rank: (n,) int64, of the source's masks.

    Returns:
        The image, (3, H, W) float32 in [0, 255], and its instances, the target's first.
    """
    window, picked = chosen.window, rank[: chosen.count]
    pasted = resize_masks(source.masks[picked], chosen.size)
    kept = reduce_any(pasted, (1, 2)) & ~_hides(pasted, target.masks, window, settings.overlap)
    kept = kept.nonzero()[:, 0]  # numbers, for each use of a bool tensor waits for the GPU
    picked, pasted = picked[kept], pasted[kept]
    if not len(pasted):
        return target.pixels, targets_of(target, trust)

    pixels = target.pixels.clone()
    view = pixels[:, window[0], window[1]]
    opacity = _opacity(source, picked, pasted, settings)
    view.lerp_(resize_pixels(source.pixels, chosen.size, prefilter=False), opacity)
    return pixels, _merged(target, trust, source[picked], pasted, window, settings.trust_floor)


def _merged(
    target: Example,
    trust: Tensor | None,
    copied: Example,
    pasted: Tensor,
    window: tuple[slice, slice],
    floor: float,
) -> Targets:
    """What is left of the target's instances, then the pasted ones."""
    masks = target.masks.clone()
    masks[:, window[0], window[1]] &= ~reduce_any(pasted, 0)
    left = reduce_any(masks, (1, 2)).nonzero()[:, 0]
    merged = Example(
        target.pixels,
        torch.cat([masks[left], _placed(pasted, target.size, window, False)]),
        torch.cat([target.scores[left], copied.scores]),
        torch.cat([target.labels[left], copied.labels]),
    )
    if trust is not None:
        old = torch.where(masks, trust, 1.0)[left]  # what is hidden is no longer in doubt
        new = _placed(spread(copied.trust, pasted, floor), target.size, window, 1.0)
        trust = torch.cat([old, new])
    return targets_of(merged, trust)


def targets_of(example: Example, trust: Tensor | None) -> Targets:
    """The instances of an image, their boxes taken from their masks."""
    boxes = boxes_of(example.masks)
    return Targets(boxes, example.masks, example.scores, example.labels, trust)


def _hides(pasted: Tensor, masks: Tensor, window: tuple[slice, slice], overlap: float) -> Tensor:
    """(k,) bool: which pasted masks cover too much of one of the target's masks."""
    if not len(masks):
        return pasted.new_zeros(len(pasted))
    areas = masks.flatten(1).sum(1)
    inside = masks[:, window[0], window[1]]
    # One at a time: k * n whole masks at once would be gigabytes in a crowded image.
    covered = torch.stack([(inside & mask).flatten(1).sum(1) for mask in pasted])
    return (covered >= overlap * areas).any(1)


def _opacity(source: Example, picked: Tensor, pasted: Tensor, settings: Augment) -> Tensor:
    """(h, w) float32 of the pasted image; where pasted masks overlap the most opaque counts."""
    if settings.blend == "none":
        return reduce_any(pasted, 0).float()
    by_area = settings.blend == "area"
    trust = area_trust(source.masks, settings.trust_floor) if by_area else source.trust
    alpha = spread(trust[picked], pasted, settings.trust_floor)
    return torch.where(pasted, alpha, 0.0).amax(0)


def _placed(values: Tensor, size: Size, window: tuple[slice, slice], outside: float) -> Tensor:
    """(k, h, w) put into (k, H, W) of nothing but `outside`."""
    whole = values.new_full((len(values), *size), outside)
    whole[:, window[0], window[1]] = values
    return whole
