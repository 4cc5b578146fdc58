"""The training loop: resumable at any step, and a function of config, photos and device alone.

A run that was stopped ends as one that was not: on a CPU bit by bit, on a GPU up to the order in
which gradients are added. With several processes each takes its share of every batch: the photos,
crops and targets are those of one process, and the weights too, up to that order.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cleave.io import metrics, processes
from cleave.io.checkpoints import require_whole, write_torch
from cleave.io.weights import read_tensors
from cleave.ops.draws import Sampler
from cleave.ops.seeds import mix
from cleave.pretrain.bank import Bank
from cleave.pretrain.config import Collage, Distil, Mae, Pretrain
from cleave.pretrain.draws import Draws
from cleave.pretrain.model import RotaryVit
from cleave.pretrain.phases import PHASES, Phase, build_phase
from cleave.pretrain.photos import EXPORTS
from cleave.pretrain.weights import load, save
from cleave.spec import canonical, to_mapping
from cleave.types import DataError, TrainingError

log = logging.getLogger(__name__)

COLLAPSED = 0.01  # spread of unit patch features; healthy: 1 / sqrt(192) = .072
# Scaled losses begin at 2**16 and halve with each overflow. What overflows down here, after thirty
# halvings, is not finite by itself.
LOWEST_SCALE = 2.0**-14


@dataclass(frozen=True)
class Progress:
    """Where a run stands when `train` returns."""

    phase: str
    step: int  # steps of this phase that are done
    finished: bool
    digest: str | None = None  # sha256 of backbone.safetensors, once finished; of process 0 alone


def train(
    config: Pretrain,
    bank: Bank,
    folder: Path,
    *,
    device: str = "cpu",
    resume: Path | None = None,
    seconds: float | None = None,
) -> Progress:
    """Trains, and leaves `backbone.safetensors` in `folder`.

    Beside it: `checkpoint.pt`, `metrics.jsonl` (one line every `log_every` steps) and, every
    `export_every` steps and at the end of a phase, `exports/<phase>-<step>.safetensors`. All but
    the metrics are written atomically, by the first process alone.

    Args:
        device: of this process, from `processes.group` if there are several.
        resume: checkpoint to go on from; the run then ends as if it had never stopped.
        seconds: stop with a checkpoint at the first step that ends after this time.

    Raises:
        TrainingError: the loss is not finite, or the features collapsed.
        DataError: the checkpoint is of another config or of other photos.
    """
    run = Run(config, bank, Path(folder), torch.device(device))
    state = run.read(resume) if resume else {"phase": run.names[0], "step": 0}
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    if run.first:
        run.trim_metrics(state["phase"], state["step"])
    encoder = None if resume or config.start is None else started(config)
    for name in run.names[run.names.index(state["phase"]) :]:
        here = state if name == state["phase"] else None
        phase = build_phase(name, config, encoder).to(run.device)
        done = run.train_phase(phase, here, deadline)
        if done < phase.settings.steps:
            return Progress(name, done, finished=False)
        encoder = phase.backbone().requires_grad_(True)
    digest = save(phase.backbone(), run.folder / "backbone.safetensors") if run.first else None
    return Progress(name, done, finished=True, digest=digest)


class Run:
    """One run's files, photos and device."""

    def __init__(self, config: Pretrain, bank: Bank, folder: Path, device: torch.device):
        self.config, self.folder, self.device = config, folder, device
        self.bank = bank.near(device)
        self.rank, self.world = processes.place()
        self.first = self.rank == 0
        self.names = [name for name in PHASES if getattr(config, name).steps]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.metrics = self.folder / "metrics.jsonl"

    def train_phase(self, phase: Phase, state: dict[str, Any] | None, deadline: float) -> int:
        """Runs one phase from its first step, or from a checkpoint; returns the steps done."""
        settings, config = phase.settings, self.config
        optimiser, scaler = build_optimiser(phase, settings), self.build_scaler()
        if state and "modules" in state:
            phase.load_state_dict(state["modules"])
            optimiser.load_state_dict(state["optimiser"])
            scaler.load_state_dict(state["scaler"])
        if config.compiled:
            compile_encoders(phase)
        sampler = Sampler(len(self.bank), settings.batch, mix(config.seed, 2))
        clock, first = time.monotonic(), state["step"] if state else 0
        for step in range(first, settings.steps):
            last = step + 1 == settings.steps
            watch = (step + 1) % config.log_every == 0 or last
            values = self.take_step(phase, optimiser, scaler, sampler, step, watch)
            if watch:
                spent, clock = time.monotonic() - clock, time.monotonic()
                taken = (step - first) % config.log_every + 1
                self.report(phase, step + 1, values, settings.batch * taken / spent)
            stop = deadline < math.inf and self.agree(time.monotonic() >= deadline)
            if stop or (step + 1) % config.checkpoint_every == 0 or last:
                self.write(phase, optimiser, scaler, step + 1)
            if (step + 1) % config.export_every == 0 or last:
                self.export(phase, step + 1)
            if stop:
                return step + 1
        return settings.steps

    def build_scaler(self) -> torch.amp.GradScaler:
        """Scales losses so that float16 gradients do not vanish; does nothing for other types."""
        half = self.config.precision == "float16"
        return torch.amp.GradScaler(self.device.type, enabled=half)

    def agree(self, stop: bool) -> bool:
        """Whether any process wants to stop."""
        return bool(processes.total(torch.tensor(float(stop), device=self.device)))

    def take_step(
        self, phase: Phase, optimiser, scaler, sampler: Sampler, step: int, watch: bool
    ) -> dict[str, float]:
        """One optimiser step; returns its metrics if `watch`."""
        settings = phase.settings
        seed = mix(self.config.seed, 3, self.names.index(phase.name), step)
        generator = torch.Generator(self.device).manual_seed(seed)
        rate = learning_rate(step, settings)
        for group in optimiser.param_groups:
            group["lr"] = rate
        photos = self.bank.batch(sampler(step)[self.rank :: self.world], self.device)
        loss, values = phase(photos, Draws(generator, self.rank, self.world), step, watch)
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        processes.average_gradients(phase.learned())  # before unscaling: an overflow is everyone's
        scaler.unscale_(optimiser)
        norm = nn.utils.clip_grad_norm_(phase.learned(), settings.clip)
        scaler.step(optimiser)  # skips what overflowed
        scaler.update()
        phase.after(step)
        if not watch:
            return {}
        values = {**values, "loss": float(loss.detach()), "gradient_norm": float(norm)}
        return {**self.means(values, scaler), "rate": rate}

    def means(self, values: dict[str, float], scaler: torch.amp.GradScaler) -> dict[str, float]:
        """Means over the processes; without the norm of gradients that float16 could not hold."""
        names = sorted(values)
        tensor = torch.tensor([values[name] for name in names], dtype=torch.float64)
        means = processes.mean(tensor.to(self.device)).tolist()
        values = dict(zip(names, means, strict=True))
        if scaler.is_enabled():
            values["scale"] = scaler.get_scale()
            overflow = not math.isfinite(values["gradient_norm"])
            if overflow and math.isfinite(values["loss"]) and values["scale"] > LOWEST_SCALE:
                del values["gradient_norm"]
        return values

    def export(self, phase: Phase, step: int) -> None:
        """Weights as they are now, for an evaluation beside the training or of a phase alone."""
        if self.first:
            path = self.folder / EXPORTS / f"{phase.name}-{step:06d}.safetensors"
            save(phase.backbone(), path)

    def report(self, phase: Phase, step: int, values: dict[str, float], speed: float) -> None:
        """Appends one line to the metrics; stops a run that is beyond help."""
        line = {"phase": phase.name, "step": step, **values}  # no times: equal runs, equal bytes
        if self.first:
            metrics.append(self.metrics, line)
        log.info(
            "pretrain: %s step %d of %d, loss %.4f, %.2f images/s",
            phase.name, step, phase.settings.steps, values["loss"], speed,
        )  # fmt: skip
        where = f"pretrain, {phase.name} step {step}"
        if not all(math.isfinite(value) for value in values.values()):
            raise TrainingError(f"{where}: not finite: {values}; lower learning_rate or clip")
        if step > phase.settings.warmup and values["patch_spread"] < COLLAPSED:
            raise TrainingError(
                f"{where}: the patch features have collapsed, spread {values['patch_spread']:.4f} "
                f"below {COLLAPSED}; use the last weights exported before, or lower learning_rate"
            )

    def write(self, phase: Phase, optimiser, scaler, step: int) -> None:
        """The checkpoint: all that `train` needs to go on as if it had not stopped."""
        if not self.first:
            return
        state = {
            **self.identity(),
            "phase": phase.name,
            "step": step,
            "modules": phase.state_dict(),
            "optimiser": optimiser.state_dict(),
            "scaler": scaler.state_dict(),
        }
        write_torch(self.folder / "checkpoint.pt", state)

    def read(self, path: Path) -> dict[str, Any]:
        """A checkpoint of this run.

        Raises:
            DataError: it is damaged, of another config, or of another number of photos.
        """
        require_whole(path)
        state = dict(read_tensors(path))
        for key, value in self.identity().items():
            if state.get(key) != value:
                raise DataError(
                    f"checkpoint {path}: of another run: its {key} is {state.get(key)}, "
                    f"this one's {value}; start anew, or restore what was changed"
                )
        return state

    def identity(self) -> dict[str, Any]:
        return {"config": canonical(to_mapping(self.config)), "photos": len(self.bank)}

    def trim_metrics(self, phase: str, step: int) -> None:
        """Drops the lines of steps that come after the checkpoint and will be taken again."""
        last = self.names.index(phase), step
        metrics.trim(
            self.metrics, lambda line: (self.names.index(line["phase"]), line["step"]) <= last
        )


def started(config: Pretrain) -> RotaryVit:
    """The encoder that the first phase begins with.

    Raises:
        DataError: `config.start` is no weights file, or of another architecture.
    """
    encoder = load(Path(config.start))
    if encoder.architecture != config.architecture:
        raise DataError(
            f"start: {config.start} is of {encoder.architecture}, but this run is of "
            f"{config.architecture}"
        )
    return encoder.train().requires_grad_(True)


def build_optimiser(phase: Phase, settings: Mae | Distil | Collage) -> torch.optim.AdamW:
    """AdamW; gains, biases and single tokens are not decayed."""
    learned = phase.learned()
    groups = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = learned[0].device.type == "cuda"
    return torch.optim.AdamW(groups, settings.learning_rate, betas=settings.betas, fused=fused)


def learning_rate(step: int, settings: Mae | Distil | Collage) -> float:
    """Linear warm-up, then a cosine that reaches 0 after the last step."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2


def compile_encoders(phase: Phase) -> None:
    """Compiles every block in place; parameter names, and so checkpoints, stay as they are."""
    for module in phase.modules():
        if hasattr(module, "blocks"):
            for block in module.blocks:
                block.compile()
