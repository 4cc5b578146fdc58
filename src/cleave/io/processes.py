"""Several processes on one machine: torchrun starts them, and what they agree on."""

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


def total(values: Tensor) -> Tensor:
    """The sum over the processes, in each of them; no gradient passes."""
    if place()[1] > 1:
        values = values.detach().clone()
        dist.all_reduce(values)
    return values


def mean(values: Tensor) -> Tensor:
    """The mean over the processes, in each of them; no gradient passes."""
    return total(values) / place()[1] if place()[1] > 1 else values


def gathered(values: Tensor) -> Tensor:
    """The rows of all processes, (B, …) to (processes * B, …), those of process 0 first.

    Each process must have as many. Gradients go back to the process that a row came from, summed
    over all that used it.
    """
    return _Gathered.apply(values) if place()[1] > 1 else values


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        parts = [torch.empty_like(values) for _ in range(place()[1])]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        rank, world = place()
        return total(gradient.contiguous()).chunk(world)[rank]


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Sets each gradient to its mean over the processes; none counts as zero.

    One message for all: the networks that this is for have a few million parameters.
    """
    if place()[1] == 1:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = mean(torch.cat([gradient.flatten() for gradient in gradients]))
    for parameter, part in zip(
        parameters, flat.split([p.numel() for p in parameters]), strict=True
    ):
        parameter.grad = part.view_as(parameter).clone()


def wait() -> None:
    """Returns once every process has come here."""
    if place()[1] > 1:
        dist.barrier()
