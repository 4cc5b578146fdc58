"""The learning rate of a step, and which images of the batch a process sees: pure functions."""

from __future__ import annotations

from bisect import bisect_right

from cleave.training.settings import Training


def peak_rate(settings: Training) -> float:
    """The rate between warm-up and first decay, scaled to the batch by the rule that is set."""
    if settings.scale == "none":
        return settings.learning_rate
    return settings.learning_rate * settings.batch / settings.reference_batch


def learning_rate(step: int, settings: Training) -> float:
    """The rate of a step, counted from 0.

    Linear from `warmup_factor` times the peak to what the plain schedule gives at the end of the
    warm-up, as in detectron2's WarmupParamScheduler; then the peak times `gamma` to the number of
    `decay_steps` reached.
    """

    def plain(at: int) -> float:
        return peak_rate(settings) * settings.gamma ** bisect_right(settings.decay_steps, at)

    if step >= settings.warmup_steps:
        return plain(step)
    first = settings.warmup_factor * peak_rate(settings)
    return first + (plain(settings.warmup_steps) - first) * step / settings.warmup_steps


def slots(settings: Training, rank: int, world: int, micro: int) -> range:
    """Places in the batch, 0 to batch - 1, that process `rank` of `world` sees in `micro`.

    What stands at a place depends on neither number, so several processes, or micro batches, see
    together what one sees alone.
    """
    size = settings.batch // (world * settings.accumulate)
    first = (rank * settings.accumulate + micro) * size
    return range(first, first + size)
