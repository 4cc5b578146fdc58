"""From the samples of a batch to what the network sees, all of it on the training device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from cleave.ops.draws import generator
from cleave.ops.targets import Targets
from cleave.training.augment_settings import Augment
from cleave.training.copypaste import paste, plan, ranking, targets_of
from cleave.training.samples import Sample
from cleave.training.transforms import Example, spread, to_device, transform, with_trust

_AUGMENT = 2  # of the numbers that a seed is mixed with: what happens to an image


@torch.no_grad()
def augment(
    samples: Sequence[Sample],
    settings: Augment,
    device: torch.device | str,
    *,
    seed: int,
    step: int,
    slots: Sequence[int],
) -> tuple[list[Tensor], list[Targets]]:
    """Resizes, mirrors and colours each image, then pastes objects of one onto another.

    Slot b of a step draws from a generator of (seed, step, b), so the first part is the same for
    any number of processes and micro batches. The source of a paste is the image at the mirrored
    place of `samples` (CutLER's reversed batch): with other micro batches there are other pairs.
    A lone sample, and the middle one of an odd number, are their own source, as in CutLER.

    Args:
        samples: one micro batch.
        slots: place of each of them in the whole batch.

    Returns:
        Images (3, H, W) float32 RGB in [0, 255], each of its own size, and their instances.
    """
    draws = [generator(seed, _AUGMENT, step, slot) for slot in slots]
    examples = [
        _prepared(sample, settings, device, draw)
        for sample, draw in zip(samples, draws, strict=True)
    ]
    results = [
        _pasted(target, source, settings, draw)
        for target, source, draw in zip(examples, examples[::-1], draws, strict=True)
    ]
    return [image for image, _ in results], [targets for _, targets in results]


Prepared = tuple[Example, Tensor | None]  # with the trust of its masks, (n, H, W) float32


def _prepared(
    sample: Sample, settings: Augment, device: torch.device | str, draw: Generator
) -> Prepared:
    example = with_trust(transform(to_device(sample, device), settings, draw), settings)
    if example.trust is None:
        return example, None
    return example, spread(example.trust, example.masks, settings.trust_floor)


def _pasted(
    onto: Prepared, of: Prepared, settings: Augment, draw: Generator
) -> tuple[Tensor, Targets]:
    (target, trust), (source, source_trust) = onto, of
    chosen = plan(len(source), target.size, settings, draw)
    if not chosen.wanted:
        return target.pixels, targets_of(target, trust)
    rank = ranking(source, source_trust, chosen.order, settings)
    return paste(target, trust, source, settings, chosen, rank)
