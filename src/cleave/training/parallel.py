"""How several processes train one detector: averaged gradients, and norms that allow for it."""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cleave.io.processes import place


def spread(network: nn.Module) -> nn.Module:
    """What to call in place of `network`, so that its gradients are averaged over the processes.

    Alone: `network` itself. With several processes the buffers are those of process 0, which are
    sent before each forward pass. On CPUs that goes for the statistics of "sync" norms too, since
    torch has no synchronous batch norm for them.
    """
    if place()[1] == 1:
        return network
    # A step need not touch every parameter: an image without instances leaves the mask head alone.
    return DistributedDataParallel(network, find_unused_parameters=True)


def without_sync_norms(network: nn.Module) -> None:
    """Turns synchronous batch norms into plain ones, in place; weights and names stay."""
    for name, child in network.named_children():
        if not isinstance(child, nn.SyncBatchNorm):
            without_sync_norms(child)
            continue
        plain = nn.BatchNorm2d(
            child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
        )
        plain._parameters, plain._buffers = child._parameters, child._buffers
        setattr(network, name, plain.train(child.training))
