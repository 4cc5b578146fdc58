"""The command `cleave`: the stages that the workflow calls, and what a person calls by hand."""

from __future__ import annotations

import argparse
import errno
import faulthandler
import importlib
import json
import logging
import os
import signal
import sys
import traceback
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from cleave import __version__
from cleave.stages.versions import VERSIONS
from cleave.types import CleaveError

# Every kind of file that a stage may be given.
INPUTS = (
    *("images", "weights", "features", "depth", "graphs", "masks"),
    *("labels", "checkpoint", "trained", "predictions", "scores", "tables", "benches"),
)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; errors of the user's making are one message, not a traceback.

    A failed job prints the cause first, then the image, and then the traceback if it is a bug.
    """
    if arguments is None:  # as a program: a scheduler's stop is as orderly as Ctrl-C
        faulthandler.enable()  # a crash in native code says where
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = _parser().parse_args(arguments)
    circumstances = _log_to_stderr()
    # One thread a job: the scheduler runs the shards side by side, and sums come out the same on
    # any machine. The variable is for torch, which is not imported yet; the limit for numpy.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    try:
        with threadpool_limits(options.threads):
            return options.command(options) or 0
    except CleaveError as error:
        print(f"cleave: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        print("cleave: stopped; nothing half-written was kept", file=sys.stderr)
        return 130
    except Exception as error:
        _explain(error, circumstances)
        return 1
    finally:
        circumstances.flush()


def _log_to_stderr() -> MemoryHandler:
    """Logs to stderr; errors are kept back until the cause has been told.

    They name the image that a job failed at, and come as soon as its loop is left.
    """
    now, later = (logging.StreamHandler(sys.stderr) for _ in range(2))
    now.addFilter(lambda record: record.levelno < logging.ERROR)
    circumstances = MemoryHandler(1000, logging.CRITICAL + 1, later)
    circumstances.addFilter(lambda record: record.levelno >= logging.ERROR)
    for handler in (now, later):
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[now, circumstances])
    return circumstances


# How torch, CUDA, OpenCV and HDF5 word what Python calls a MemoryError.
_NO_MEMORY = (
    *("out of memory", "can't allocate memory", "cannot allocate memory"),
    *("insufficient memory", "not enough memory", "unable to allocate", "can't start new thread"),
)


def _explain(error: Exception, circumstances: MemoryHandler) -> None:
    """Prints the cause; then, as its frames are left, the image; then the lines of a bug."""
    text = "".join(traceback.format_exception_only(error)).strip()
    short = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    if short or any(words in text.lower() for words in _NO_MEMORY):
        cause, lines = f"out of memory ({text})", ""
        cause += "; give the job more, or run fewer at once (--cores), and run the same command"
    else:
        bug = "" if isinstance(error, OSError) else "\nThis is a bug; please report it with:"
        cause = text + bug
        lines = "".join(traceback.format_exception(error))
    print(f"cleave: error: {cause}", file=sys.stderr, flush=True)
    traceback.clear_frames(error.__traceback__)
    circumstances.flush()
    print(lines, end="", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cleave", description=__doc__)
    parser.add_argument("--version", action="version", version=f"cleave {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--threads", type=int, default=1, help="threads of this process")

    segment = commands.add_parser("segment", parents=[common], help="cut one photo, no workflow")
    segment.add_argument("photo", type=Path)
    segment.add_argument("--method", default="cleave3d", help="a masks section (see 'cleave list')")
    segment.add_argument("--config", type=Path, help="take sections from here, not the built-in")
    segment.add_argument("--out", type=Path, help="overlay PNG; default: PHOTO.METHOD.png")
    segment.add_argument("--json", type=Path, help="COCO JSON; default: beside the overlay")
    segment.add_argument("--features", help="graphs section to cut: colour (default), dino")
    segment.add_argument("--depth", help="depth section (zoedepth, ...) or the photo's depth file")
    segment.add_argument("--checkpoint", type=Path, help="a trained detector, instead of a method")
    segment.add_argument("--detector", help="its section, where the file is not cleave's: cutler")
    segment.add_argument("--score", type=float, default=0.5, help="least score of its predictions")
    segment.set_defaults(command=_person("segment"))

    check = commands.add_parser("check", parents=[common], help="validate a config, run nothing")
    check.add_argument("config", type=Path, nargs="?", default=Path("config.yaml"))
    check.set_defaults(command=_person("check"))
    status = commands.add_parser("status", parents=[common], help="what is done and what is left")
    status.add_argument("--config", type=Path, default=Path("config.yaml"), help="of the project")
    status.add_argument("--directory", type=Path, default=Path(), help="the project's folder")
    status.set_defaults(command=_person("status"))
    for name, text in (
        ("list", "every plugin, with a line on each"),
        ("doctor", "what is installed and found, and what to do about what is not"),
    ):
        command = commands.add_parser(name, parents=[common], help=text)
        command.set_defaults(command=_person(name))
    _add_stages(commands, common)
    return parser


def _add_stages(commands: Any, common: argparse.ArgumentParser) -> None:
    """A command for each stage; all take the same."""
    for stage in VERSIONS:
        command = commands.add_parser(stage, parents=[common], help=f"workflow stage: {stage}")
        command.add_argument("--spec", required=True, type=json.loads, help="the section, as JSON")
        command.add_argument("--version", type=int, default=VERSIONS[stage])
        command.add_argument("--output", required=True, type=Path)
        command.add_argument("--gpus", type=int, default=0, help="take so many for this job alone")
        for name in INPUTS:
            command.add_argument(f"--{name}", nargs="*", type=Path, default=[])
        command.set_defaults(command=_run_stage, stage=stage)


def _person(name: str):
    """The function of that name in `cleave.commands`, imported when it is called."""

    def call(options: argparse.Namespace) -> int | None:
        return importlib.import_module(f"cleave.commands.{name}").run(options)

    return call


def _run_stage(options: argparse.Namespace) -> None:
    from cleave.io.gpus import claimed
    from cleave.stages.job import Job

    inputs = {name: tuple(getattr(options, name)) for name in INPUTS}
    what = (options.stage, options.spec, options.version)
    job = Job(*what, inputs, options.output, options.gpus)
    with claimed(options.gpus):
        importlib.import_module(f"cleave.stages.{options.stage}").run(job)


if __name__ == "__main__":
    sys.exit(main())
