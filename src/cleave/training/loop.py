"""The training loop of detectors: resumable at any step, and the same weights each time."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cleave.io import processes
from cleave.io.checkpoints import require_whole, save_state, write_torch
from cleave.io.weights import read_tensors
from cleave.ops.seeds import mix
from cleave.spec import canonical
from cleave.training import memory, norms, parallel
from cleave.training.optimiser import LOWEST_SCALE, build_optimiser, build_scaler, clip, half
from cleave.training.recorder import Averages, Recorder
from cleave.training.schedule import learning_rate, peak_rate
from cleave.training.settings import Training
from cleave.types import DataError, TrainingError

log = logging.getLogger(__name__)


class Source(Protocol):
    """What a step is trained on: a function of its arguments alone, so that it can be redone."""

    def __call__(
        self, step: int, rank: int, world: int, micro: int
    ) -> tuple[list[Tensor], list[Any]]:
        """Images and targets, on the device, of the places `schedule.slots` of the batch."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands when `train` returns."""

    step: int  # steps that are done
    finished: bool


def train(
    network: nn.Module,
    batches: Source,
    settings: Training,
    folder: Path,
    *,
    device: str = "cpu",
    seed: int = 0,
    identity: Mapping[str, Any] | None = None,
    seconds: float | None = None,
) -> Progress:
    """Trains, and leaves `weights.pt` in `folder`, to be read by `io.checkpoints.load_state`.

    Beside it: `checkpoint.pt`, `metrics.jsonl` (means over `log_every` steps), `speed.jsonl` and
    TensorBoard's `events`. A checkpoint there is gone on from, and the run ends as if it had never
    stopped: on a CPU bit by bit, on a GPU up to the order in which ROIAlign adds up gradients.

    The gradient of a step is the mean over its micro batches and processes. It is that of the
    whole batch up to what the network itself normalises over a batch: the statistics of batch
    norms, and losses that are divided by a number of boxes.

    Args:
        network: maps images and targets to scalar losses, always of the same names; holds the
            weights to begin with. Its own random numbers must come from torch's global generator,
            which is seeded before each micro batch.
        batches: see `Source`.
        device: from `processes.group`, if there are several processes.
        identity: plain values that a checkpoint must agree in, beside settings and seed.
        seconds: stop with a checkpoint at the first step that ends after this time.

    Raises:
        TrainingError: losses or gradients are not finite, or the batch does not fit the device.
        DataError: the checkpoint is of another run.
    """
    known = {**(identity or {}), "training": settings.result(), "seed": seed}
    run = Run(network, batches, settings, Path(folder), torch.device(device), seed, known)
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    exact = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with exact:
        run.take_steps(deadline)
        if run.step == settings.steps:
            run.finish()
    return Progress(run.step, run.step == settings.steps)


class Run:
    """One run's network, optimiser and files."""

    def __init__(
        self, network: nn.Module, batches: Source, settings: Training, folder: Path,
        device: torch.device, seed: int, identity: Mapping[str, Any],
    ):  # fmt: skip
        self.batches, self.settings, self.folder = batches, settings, folder
        self.device, self.seed, self.identity = device, seed, dict(identity)
        self.rank, self.world = processes.place()
        self.network = network.to(device).train()
        if self.world > 1 and device.type == "cpu":
            parallel.without_sync_norms(network)
        self.optimiser = build_optimiser(network, settings)
        self.half = half(settings.precision, device)
        self.scaler = build_scaler(self.half, device)
        self.averages, self.step = Averages(), 0
        self.waited = 0.0  # seconds, for photos, since the last line
        self.checkpoint = folder / "checkpoint.pt"
        folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.is_file():
            self.read()
        self.spread = parallel.spread(network)

    def take_steps(self, deadline: float) -> None:
        """Takes the steps that are left, or those that begin before the deadline."""
        if self.rank > 0:
            self._take_steps(deadline, None)
            return
        settings = self.settings
        log.info(
            "training: steps %d to %d of %d images, learning rate %g (%s scaling), %s on %s",
            self.step, settings.steps, settings.batch, peak_rate(settings), settings.scale,
            self.half or torch.float32, self.device,
        )  # fmt: skip
        recorder = Recorder(self.folder, self.step, settings.steps, settings.batch)
        with contextlib.closing(recorder):
            self._take_steps(deadline, recorder)

    def _take_steps(self, deadline: float, recorder: Recorder | None) -> None:
        settings, stop = self.settings, False
        while self.step < settings.steps and not stop:
            values = self.take_step()
            self.averages.add(values)
            self.step += 1
            last = self.step == settings.steps
            stop = self.agree(time.monotonic() >= deadline) if deadline < math.inf else False
            if recorder:
                if last or self.step % settings.log_every == 0:
                    rate = learning_rate(self.step - 1, settings)
                    means = {**self.averages.take(), "learning_rate": rate}
                    recorder.record(self.step, means, self.waited, self.peak())
                    self.waited = 0.0
                if last or stop or self.step % settings.checkpoint_every == 0:
                    self.write()  # after the line, which could be lost otherwise
                if values:
                    recorder.progress.show(self.step, values["loss"])

    def take_step(self) -> dict[str, float] | None:
        """One step of the optimiser; returns its losses, or None if float16 overflowed."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.settings)
        self.optimiser.zero_grad(set_to_none=True)
        parts = [self.take_micro(micro) for micro in range(self.settings.accumulate)]
        self.scaler.unscale_(self.optimiser)
        norm = float(clip(self.learned(), self.settings.clip))
        values = self.summarise(parts)
        overflow = not math.isfinite(norm) and self.scaler.is_enabled()
        if overflow and self.scaler.get_scale() > LOWEST_SCALE:
            values = None
        elif not all(map(math.isfinite, (norm, *values.values()))):
            values["gradient_norm"] = norm
            raise self.not_finite(", ".join(f"{name} {v:g}" for name, v in values.items()))
        self.scaler.step(self.optimiser)  # skips what overflowed
        self.scaler.update()
        return {**values, "gradient_norm": norm} if values else None

    def take_micro(self, micro: int) -> dict[str, Tensor]:
        """Adds the gradients of one micro batch; returns its losses."""
        start = time.monotonic()
        images, targets = self.batches(self.step, self.rank, self.world, micro)
        self.waited += time.monotonic() - start
        torch.manual_seed(mix(self.seed, self.step, self.rank, micro))
        try:
            return self.backward(images, targets, last=micro + 1 == self.settings.accumulate)
        except FloatingPointError as error:  # a network that looked before its losses did
            raise self.not_finite(str(error)) from None
        except torch.OutOfMemoryError:
            pass  # and out of here, for the exception holds what the failed pass allocated
        error = memory.too_large(
            self.network, lambda *part: sum(self.forward(self.network, *part).values()),
            images, targets, self.settings, self.device,
        )  # fmt: skip
        raise TrainingError(f"training, step {self.step}: {error}")

    def backward(self, images: list[Tensor], targets: list[Any], last: bool) -> dict[str, Tensor]:
        alone = last or self.world == 1  # gradients travel once a step
        with contextlib.nullcontext() if alone else self.spread.no_sync():
            losses = self.forward(self.spread, images, targets)
            self.scaler.scale(sum(losses.values()) / self.settings.accumulate).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def forward(self, network: nn.Module, images, targets) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None):
            return network(images, targets)

    def learned(self) -> list[nn.Parameter]:
        return [p for group in self.optimiser.param_groups for p in group["params"]]

    def summarise(self, parts: list[dict[str, Tensor]]) -> dict[str, float]:
        """Each loss and their sum: means over micro batches and processes."""
        names = sorted(parts[0])
        stacked = torch.stack([torch.stack([part[n].float() for n in names]) for part in parts])
        means = processes.mean(stacked.mean(0)).tolist()
        return {**dict(zip(names, means, strict=True)), "loss": sum(means)}

    def not_finite(self, what: str) -> TrainingError:
        return TrainingError(
            f"training, step {self.step}: not finite: {what}; no step was taken. Lower "
            "learning_rate, or set precision: float32 if it is not"
        )

    def agree(self, stop: bool) -> bool:
        """Whether any process wants to stop."""
        return bool(processes.mean(torch.tensor(float(stop), device=self.device)) > 0)

    def peak(self) -> int | None:
        """Most bytes of GPU memory in use since the last call."""
        if self.device.type != "cuda":
            return None
        peak = torch.cuda.max_memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return peak

    def finish(self) -> None:
        """Exact statistics of the batch norms, then the weights file."""

        @torch.no_grad()
        def forward(number: int) -> None:
            step, micro = divmod(number, self.settings.accumulate)
            step += self.settings.steps  # batches that come after those of the training
            images, targets = self.batches(step, self.rank, self.world, micro)
            torch.manual_seed(mix(self.seed, step, self.rank, micro))
            self.forward(self.network, images, targets)

        count = self.settings.precise_norm * self.settings.accumulate
        norms.recompute(self.network, forward, count)
        if self.rank == 0:
            save_state(self.folder / "weights.pt", self.network.state_dict(), **self.identity)

    def write(self) -> None:
        """The checkpoint: all that `train` needs to go on as if it had not stopped."""
        state = {
            "identity": canonical(self.identity),
            "step": self.step,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "averages": self.averages.state_dict(),
        }
        write_torch(self.checkpoint, state)

    def read(self) -> None:
        """Goes on from the checkpoint.

        Raises:
            DataError: it is of another run, or damaged.
        """
        require_whole(self.checkpoint)
        state = read_tensors(self.checkpoint)
        if state.get("identity") != canonical(self.identity):
            raise DataError(
                f"checkpoint {self.checkpoint}: of another run, {state.get('identity')}; this one "
                f"is {canonical(self.identity)}. Restore what was changed, or delete it"
            )
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise DataError(
                f"checkpoint {self.checkpoint}: of another network: {reason}; delete it"
            ) from None
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.averages, self.step = Averages(state["averages"]), state["step"]
