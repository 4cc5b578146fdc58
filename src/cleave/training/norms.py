"""Statistics of batch norms over many batches, in place of their moving average (PreciseBN)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cleave.io import processes

log = logging.getLogger(__name__)


def tracked(network: nn.Module) -> list[_BatchNorm]:
    """Batch norms that gather statistics while training."""
    return [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]


@torch.no_grad()
def recompute(network: nn.Module, forward: Callable[[int], object], batches: int) -> None:
    """Sets the running mean and variance to those of all pixels of `batches` batches together.

    CutLER trains with it (TEST.PRECISE_BN); this is detectron2's hook at the end of a training:
    arXiv 2105.07576, Sec. 3.1, with the variance of the population. The weights stay.

    Args:
        forward: runs the network, in training mode, on the batch of a number from 0.
    """
    layers = tracked(network)
    if not layers or not batches:
        return
    log.info("training: statistics of %d batch norms from %d batches", len(layers), batches)
    gathered = [_Statistics(layer) for layer in layers]
    try:
        for number in range(batches):
            forward(number)
            for statistics in gathered:
                statistics.take()
    finally:
        for statistics in gathered:
            statistics.end()
    for statistics in gathered:
        statistics.write()


class _Statistics:
    """Gathers of one layer: with momentum 1 its running values are those of the last batch."""

    def __init__(self, layer: _BatchNorm):
        self.layer, self.momentum = layer, layer.momentum
        zeros = torch.zeros(layer.num_features, dtype=torch.float64)
        self.mean, self.square, self.total = zeros.clone(), zeros.clone(), 0
        self.seen = 0  # values a channel in the last batch
        layer.momentum = 1.0
        self.hook = layer.register_forward_pre_hook(self._count)

    def _count(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.seen = inputs[0].numel() // inputs[0].shape[1]

    def take(self) -> None:
        """Adds the last batch, weighted by its size; nothing if it did not reach the layer."""
        seen, self.seen = self.seen, 0
        if not seen:
            return
        mean = self.layer.running_mean.double().cpu()
        # the layer keeps the unbiased variance; its count is that of all processes if it is sync
        shared = isinstance(self.layer, nn.SyncBatchNorm)
        count = seen * (processes.place()[1] if shared else 1)
        variance = self.layer.running_var.double().cpu() * ((count - 1) / count)
        self.mean += mean * seen
        self.square += (variance + mean.square()) * seen
        self.total += seen

    def end(self) -> None:
        self.hook.remove()
        self.layer.momentum = self.momentum

    def write(self) -> None:
        here = self.layer.running_mean.device  # nccl carries what lies on GPUs only
        sums = torch.cat([self.mean, self.square, torch.tensor([float(self.total)])])
        mean, square, total = processes.mean(sums.to(here)).split([len(self.mean)] * 2 + [1])
        if total:
            mean, square = mean / total, square / total
            self.layer.running_mean.copy_(mean)
            self.layer.running_var.copy_((square - mean.square()).clamp(min=0))
