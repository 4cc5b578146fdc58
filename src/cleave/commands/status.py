"""`cleave status`: what of a config is done, running, failed and left, and how fast it goes."""

from __future__ import annotations

import argparse
import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cleave import config, paths, plan
from cleave.commands.check import read_yaml
from cleave.plan import Planned
from cleave.report.timings import STEP_LINE, log_lines, seconds_an_image

_CAUSE = "cleave: error: "


STATES = ("done", "running", "failed", "left")


@dataclass
class Line:
    """The jobs of one stage and section on one data set, by their state."""

    stage: str
    section: str
    dataset: str
    jobs: dict[str, list[Planned]] = field(default_factory=lambda: {s: [] for s in STATES})

    @property
    def total(self) -> int:
        return sum(map(len, self.jobs.values()))


def run(options: argparse.Namespace) -> None:
    """Looks at the files of a project; starts nothing and changes nothing.

    A job is done when its files are there. Whether they are still what the config asks for, only
    `snakemake --dry-run` knows.
    """
    folder = Path(options.directory)
    loaded = config.load(read_yaml(folder / options.config))
    active, held = unfinished(folder), is_locked(folder)
    lines = look(folder, plan.jobs(loaded), active)
    print(table(folder, lines))
    for line in lines:
        for job in line.jobs["running"]:
            print(f"{'running' if held else 'stopped'}: {job.outputs[0]}{_progress(folder, job)}")
    for line in lines:
        for job in line.jobs["failed"]:
            print(f"failed: {job.outputs[0]}: {cause(folder / job.log)}\n  log: {folder / job.log}")
    done, failed = (sum(len(line.jobs[state]) for line in lines) for state in ("done", "failed"))
    total = sum(line.total for line in lines)
    state = "a workflow holds this folder" if held else "no workflow is running here"
    report = "is there" if (folder / paths.REPORT).is_file() else "is not there yet"
    print(f"{done} of {total} jobs done, {failed} failed; {state}; the report {report}")


def unfinished(folder: Path) -> set[str]:
    """Outputs that Snakemake marked as begun and not ended: running, or cut short by a kill."""
    found = set()
    for path in (folder / ".snakemake" / "incomplete").rglob("*"):
        if path.is_file():
            name = str(path.relative_to(folder / ".snakemake" / "incomplete")).replace("@", "")
            try:
                found.add(base64.b64decode(name.replace("/", ""), validate=True).decode())
            except (binascii.Error, UnicodeDecodeError):
                continue
    return found


def is_locked(folder: Path) -> bool:
    """Whether a workflow runs in this folder, or was killed and left its lock."""
    return any((folder / ".snakemake" / "locks").glob("*.lock"))


def look(folder: Path, jobs: Iterable[Planned], active: set[str]) -> list[Line]:
    """Every job in its line: done when all its files are there, failed when only its log is."""
    lines: dict[tuple[str, str, str], Line] = {}
    for job in jobs:
        key = (job.stage, job.section, job.dataset)
        line = lines.setdefault(key, Line(*key))
        line.jobs[_state(folder, job, active)].append(job)
    return list(lines.values())


def _state(folder: Path, job: Planned, active: set[str]) -> str:
    if active & set(job.outputs):
        return "running"
    if all((folder / output).is_file() for output in job.outputs):
        return "done"
    return "failed" if (folder / job.log).is_file() else "left"


def table(folder: Path, lines: Iterable[Line]) -> str:
    """A row a line: counts, and images a second where the logs of its jobs tell."""
    rows = [("stage", "section", "data set", *STATES, "images/s")]
    for line in lines:
        spent = seconds_an_image([folder / job.log for job in line.jobs["done"]])
        others = (str(len(line.jobs[state]) or "") for state in STATES[1:])
        rate = f"{1 / spent:.2f}" if spent else ""
        done = f"{len(line.jobs['done'])}/{line.total}"
        rows.append((line.stage, line.section, line.dataset, done, *others, rate))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _progress(folder: Path, job: Planned) -> str:
    """The last line of progress in the log of a training, if it has one."""
    found = [line for line in log_lines(folder / job.log) if STEP_LINE.match(line)]
    return f": {found[-1].removeprefix('INFO training: ')}" if found else ""


def cause(log: Path) -> str:
    """The line of a log that says why its job failed: the error told to people, or the last one."""
    lines = [line for line in log_lines(log) if line.strip()]
    told = [line.removeprefix(_CAUSE) for line in lines if line.startswith(_CAUSE)]
    return (told or lines or ["nothing is in its log"])[-1]
