"""python -m tests.bench.probe FILE ARGUMENT ...: one `cleave` command, and what it took.

FILE gets JSON: `peak`, MB of the process; `ticks`, CPU seconds between two images (or steps), the
first of which had to import and to build; `whole`, CPU seconds of a second run of commands that
have none. The first run says what a job occupies, the second what its work takes.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from cleave import cli
from cleave.stages import job
from tests.bench.harness import peak_so_far

AHEAD = ("detect", "relabel")  # ask for images before they have done with those before


def main(file: str, *arguments: str) -> int:
    clock: list[float] = []
    if arguments[0] == "train":
        _watch_steps(clock)
    elif arguments[0] not in AHEAD:
        _watch_images(clock)
    code = cli.main(list(arguments))
    found: dict[str, Any] = {"peak": peak_so_far()}
    found["ticks"] = [later - earlier for earlier, later in pairwise(clock)]
    if not found["ticks"] and not code:
        start = time.process_time()
        code = cli.main(list(arguments))
        found["whole"] = time.process_time() - start
    Path(file).write_text(json.dumps(found))
    return code


def _watch_images(clock: list[float]) -> None:
    """Notes the time before each image and after the last."""
    plain = job.progress

    def progress(*arguments: Any):
        for record in plain(*arguments):
            clock.append(time.process_time())
            yield record
        clock.append(time.process_time())

    job.progress = progress  # before the stages import it


def _watch_steps(clock: list[float]) -> None:
    """Notes the time of each line of metrics."""
    from cleave.training.recorder import Recorder

    plain = Recorder.record

    def record(*arguments: Any, **named: Any) -> None:
        clock.append(time.process_time())
        plain(*arguments, **named)

    Recorder.record = record


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
