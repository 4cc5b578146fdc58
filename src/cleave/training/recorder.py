"""What a training says of itself: metrics files, TensorBoard, and a line on how long it takes."""

from __future__ import annotations

import importlib.util
import logging
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cleave.io import metrics

log = logging.getLogger(__name__)

LINE_EVERY = 30.0  # seconds between two progress lines in a log
LIVE_EVERY = 0.5  # seconds between two updates on a terminal
GIB = 2**30


class Averages:
    """Means of values since the last line; part of the checkpoint, so that no step is lost."""

    def __init__(self, state: Mapping[str, Any] | None = None):
        state = state or {"sums": {}, "taken": 0, "skipped": 0}
        self.sums: dict[str, float] = dict(state["sums"])
        self.taken, self.skipped = state["taken"], state["skipped"]

    def add(self, values: Mapping[str, float] | None) -> None:
        """The values of one step, or None of a step that was skipped."""
        if values is None:
            self.skipped += 1
            return
        self.taken += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """The means, and how many steps were skipped; starts anew."""
        means = {name: value / self.taken for name, value in self.sums.items()}
        means["skipped"] = self.skipped
        self.sums, self.taken, self.skipped = {}, 0, 0
        return means

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "taken": self.taken, "skipped": self.skipped}


class Recorder:
    """Writes `metrics.jsonl`, `speed.jsonl` and TensorBoard's `events` in a folder.

    Equal runs have equal metrics, byte for byte; what depends on the clock is in `speed.jsonl`.
    """

    def __init__(self, folder: Path, step: int, steps: int, batch: int):
        """Continues at `step`: lines of later steps, which will be taken again, are dropped."""
        self.metrics, self.speed = folder / "metrics.jsonl", folder / "speed.jsonl"
        for path in (self.metrics, self.speed):
            metrics.trim(path, lambda line: line["step"] <= step)
        self.batch = batch
        self.progress = Progress(step, steps, batch)
        self.events = _events(folder / "events", step)
        self.step, self.clock = step, time.monotonic()

    def record(
        self, step: int, values: Mapping[str, float], waited: float, peak: int | None
    ) -> None:
        """One line of each file.

        Args:
            step: steps that are done.
            values: losses and rates.
            waited: seconds, since the last line, for photos.
            peak: bytes of GPU memory.
        """
        metrics.append(self.metrics, {"step": step, **values})
        now = time.monotonic()
        spent, self.clock = max(now - self.clock, 1e-9), now
        speed = {
            "images_per_second": self.batch * (step - self.step) / spent,
            "waiting": waited / spent,  # share of the time in which photos were waited for
        }
        if peak is not None:
            speed["peak_gib"] = peak / GIB
        metrics.append(self.speed, {"step": step, **speed})
        self.step = step
        if self.events:
            for name, value in {**values, **speed}.items():
                self.events.add_scalar(name, value, step)

    def close(self) -> None:
        self.progress.close()
        if self.events:
            self.events.close()


def _events(folder: Path, step: int) -> Any:
    """TensorBoard's writer, which hides what an earlier run wrote of later steps; None without."""
    if importlib.util.find_spec("tensorboard") is None:
        log.info("training: tensorboard is not installed: metrics go to metrics.jsonl alone")
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)


class Progress:
    """Steps done, loss, rate and time left: live on a terminal, now and then in a log."""

    def __init__(self, step: int, steps: int, batch: int):
        self.first, self.steps, self.batch = step, steps, batch
        self.live = sys.stderr.isatty()
        self.start = self.shown = time.monotonic()

    def show(self, step: int, loss: float) -> None:
        """Says where the run stands, unless it has just done so."""
        now = time.monotonic()
        wait = LIVE_EVERY if self.live else LINE_EVERY
        if now - self.shown < wait and step < self.steps:
            return
        self.shown = now
        line = self.line(step, loss, now - self.start)
        if self.live:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        else:
            log.info("%s", line)

    def line(self, step: int, loss: float, spent: float) -> str:
        """The text; the rate is that since the last start, over `spent` seconds."""
        pace = (step - self.first) / max(spent, 1e-9)
        left = (self.steps - step) / pace if pace else math.inf
        return (
            f"training: step {step} of {self.steps}, loss {loss:.4f}, "
            f"{pace * self.batch:.1f} images/s, {duration(left)} left"
        )

    def close(self) -> None:
        if self.live:
            sys.stderr.write("\n")


def duration(seconds: float) -> str:
    """Like "3 h 05 min"."""
    if not math.isfinite(seconds):
        return "unknown time"
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
