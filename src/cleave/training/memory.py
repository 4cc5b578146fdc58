"""A batch that does not fit: what would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cleave.training.settings import Training
from cleave.types import TrainingError

GIB = 2**30
Loss = Callable[[Sequence[Tensor], Sequence[Any]], Tensor]


def too_large(
    network: nn.Module, loss: Loss, images: Sequence[Tensor], targets: Sequence[Any],
    settings: Training, device: torch.device,
) -> TrainingError:  # fmt: skip
    """The error that says which micro batch of this step fits, found by halving.

    It asks for gradients as new tensors, which is what they cost, and so that those of other
    processes are not waited for. Nothing else is changed: the user decides.

    Args:
        loss: of images and targets, to be minimised.
    """
    network.zero_grad(set_to_none=True)
    learned = [p for p in network.parameters() if p.requires_grad]
    room = ""
    if device.type == "cuda":
        room = f" in the {torch.cuda.mem_get_info(device)[1] / GIB:.1f} GiB of {device}"
    whole = settings.micro_batch
    at_once = "" if whole == settings.batch else f", {whole} images at once,"
    what = f"a batch of {settings.batch}{at_once} does not fit{room}"
    for size in _smaller(whole):
        fits, peak = _try(loss, images, targets, size, learned, device)
        if fits:
            micro = f"micro batches of {size}" + (f", measured: {peak:.1f} GiB" if peak else "")
            return TrainingError(
                f"{what}: set accumulate: {settings.accumulate * whole // size} ({micro})"
            )
    return TrainingError(
        f"{what}, and neither does one image of {tuple(images[0].shape[1:])} pixels: make the "
        "sides of the augmentation smaller, or take a smaller trunk"
    )


def _smaller(whole: int) -> list[int]:
    """Sizes to try: halves of halves, or the next smaller that divides."""
    sizes, size = [], whole
    while size > 1:
        size = next(part for part in range(size // 2, 0, -1) if size % part == 0)
        sizes.append(size)
    return sizes


def _try(
    loss: Loss, images: Sequence[Tensor], targets: Sequence[Any], size: int,
    learned: Sequence[nn.Parameter], device: torch.device,
) -> tuple[bool, float]:  # fmt: skip
    """Whether every part of `size` images fits, and the peak in GiB on CUDA."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    try:
        for first in range(0, len(images), size):
            part = slice(first, first + size)
            torch.autograd.grad(loss(images[part], targets[part]), learned, allow_unused=True)
    except torch.OutOfMemoryError:
        return False, 0.0
    return True, torch.cuda.max_memory_allocated(device) / GIB if cuda else 0.0
