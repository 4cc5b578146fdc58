"""python -m tests.bench.probe FILE CLOCK ARGUMENT ...: one `cleave` command, and what it took.

FILE gets JSON: `peak`, MB of the process; `ticks`, seconds between two images (or steps), the first
of which had to import and to build; `whole`, seconds of a second run of commands that have none.
The first run says what a job occupies, the second what its work takes. CLOCK is of `CLOCKS`.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from cleave import cli
from cleave.stages import job
from tests.bench.harness import peak_so_far

AHEAD = ("detect", "relabel")  # ask for images before they have done with those before


# CPU time is deaf to other processes, and blind to a GPU.
CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}
Note = Callable[[], None]  # notes the time


def main(file: str, name: str, *arguments: str) -> int:
    now, clock = CLOCKS[name], list[float]()
    note = functools.partial(_note, now, clock)
    if arguments[0] == "train":
        _watch_steps(note)
    elif arguments[0] not in AHEAD:
        _watch_images(note)
    code = cli.main(list(arguments))
    found: dict[str, Any] = {"peak": peak_so_far()}
    found["ticks"] = [later - earlier for earlier, later in pairwise(clock)]
    if not found["ticks"] and not code:
        start = now()
        code = cli.main(list(arguments))
        found["whole"] = now() - start
    Path(file).write_text(json.dumps(found))
    return code


def _note(now: Callable[[], float], clock: list[float]) -> None:
    clock.append(now())


def _watch_images(note: Note) -> None:
    """Notes the time before each image and after the last."""
    plain = job.progress

    def progress(*arguments: Any):
        for record in plain(*arguments):
            note()
            yield record
        note()

    job.progress = progress  # before the stages import it


def _watch_steps(note: Note) -> None:
    """Notes the time of each line of metrics."""
    from cleave.training.recorder import Recorder

    plain = Recorder.record

    def record(*arguments: Any, **named: Any) -> None:
        note()
        plain(*arguments, **named)

    Recorder.record = record


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
