"""Several processes on one machine: torchrun starts them, gradients are averaged over them."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cleave.spec import ConfigError
from cleave.types import TrainingError

log = logging.getLogger(__name__)


def launch(processes: int, command: Sequence[str] | None = None) -> bool:
    """Runs this very command in `processes` processes and waits for them.

    A stage calls it first thing and returns if it is True: the work is then done. One process, or
    one that torchrun started, gets False and goes on.

    Args:
        command: what Python is given to run; default: `cleave` with the arguments of this process.

    Raises:
        TrainingError: a process failed; the others have been ended. Its reason is on stderr.
    """
    if processes == 1 or dist.is_torchelastic_launched():
        return False
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",  # of a machine whose own name does not resolve, too
        max_restarts=0,  # the workflow starts a failed job again, from its checkpoint
    )
    command = command or ("-m", "cleave.cli", *sys.argv[1:])
    log.info("training: %d processes", processes)
    try:
        elastic_launch(config, sys.executable)("-u", *command)
    except SignalException:
        raise KeyboardInterrupt from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise TrainingError(
            f"training: process {rank} of {processes} ended with {failure.exitcode}; "
            "its reason stands above"
        ) from None
    return True


@contextlib.contextmanager
def group(processes: int, device: str) -> Iterator[str]:
    """Joins the processes that `launch` started; yields the device of this one.

    nccl carries the gradients between GPUs, gloo between CPUs.

    Raises:
        ConfigError: fewer GPUs than processes, or torchrun started another number.
    """
    if processes == 1:
        yield device
        return
    local = int(os.environ.get("LOCAL_RANK", -1))
    started = int(os.environ.get("WORLD_SIZE", 0))
    if started != processes:
        raise ConfigError(f"processes: {processes}, but {started} were started by torchrun")
    if device == "cuda":
        if torch.cuda.device_count() < processes:
            raise ConfigError(
                f"processes: {processes}, but {torch.cuda.device_count()} GPUs are visible"
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    if local > 0:  # one voice is enough
        logging.getLogger("cleave").setLevel(logging.WARNING)
    _end_with_parent()
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    yield device
    dist.destroy_process_group()  # not after an error: it would wait for the others


def _end_with_parent() -> None:
    """Ends this process when its launcher is gone.

    A killed launcher takes nobody along, and an orphan would write over the checkpoints of the
    job that the workflow starts in its place.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def place() -> tuple[int, int]:
    """Number of this process and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


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


def mean(values: Tensor) -> Tensor:
    """The mean over the processes, in each of them."""
    if place()[1] > 1:
        values = values.clone()
        dist.all_reduce(values)
        values /= place()[1]
    return values
