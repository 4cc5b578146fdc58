"""From the samples of a batch to what the network sees, all of it on the training device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cleave.ops.draws import generator
from cleave.ops.targets import Targets
from cleave.training.augment_settings import Augment
from cleave.training.copypaste import paste, plan, ranking, targets_of
from cleave.training.samples import Sample
from cleave.training.transforms import spread, to_device, transform, with_trust

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
    with torch.autocast(torch.device(device).type, enabled=False):
        draws = [generator(seed, _AUGMENT, step, slot) for slot in slots]
        examples = [
            with_trust(transform(to_device(sample, device), settings, draw), settings)
            for sample, draw in zip(samples, draws, strict=True)
        ]
        trusts = [
            None if e.trust is None else spread(e.trust, e.masks, settings.trust_floor)
            for e in examples
        ]
        pairs = zip(examples, trusts, examples[::-1], trusts[::-1], draws, strict=True)
        results = []
        for target, trust, source, source_trust, draw in pairs:
            chosen = plan(len(source), target.size, settings, draw)
            if chosen.wanted:
                rank = ranking(source, source_trust, chosen.order, settings)
                results.append(paste(target, trust, source, settings, chosen, rank))
            else:
                results.append((target.pixels, targets_of(target, trust)))
    return [image for image, _ in results], [targets for _, targets in results]
