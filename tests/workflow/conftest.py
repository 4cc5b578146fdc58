"""A finished run of the tiny config, once a session, and copies of it to change."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "tests" / "configs"
TINY = CONFIGS / "tiny.yaml"
RAISED = "from cleave.stages.versions import VERSIONS; VERSIONS[{stage!r}] += 1; "
# Where a shell started the tests in its background, Ctrl-C is ignored, and so it would be here.
START = """
import signal, sys
from snakemake.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""


DEADLINE = 180  # seconds to wait for anything, on a busy machine


def wait_for(condition: Callable[[], object]) -> None:
    """Returns when the condition is true; fails if that takes too long."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class Project:
    """A working directory with a config.yaml, on which Snakemake is run."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self.config_file = folder / "config.yaml"
        self.results = folder / "results"

    @property
    def config(self) -> dict:
        return yaml.safe_load(self.config_file.read_text())

    def write(self, config: dict) -> None:
        self.config_file.write_text(yaml.safe_dump(config, sort_keys=False))

    def change(self, edit: Callable[[dict], object]) -> None:
        """Rewrites the config as `edit` leaves it."""
        config = self.config
        edit(config)
        self.write(config)

    def set(self, path: str, value: object) -> None:
        """Another value at a place of the config, its keys joined by dots."""
        *outer, key = path.split(".")

        def edit(place: dict) -> None:
            for name in outer:
                place = place[name]
            place[key] = value

        self.change(edit)

    def start(self, *arguments: str, cores: int = 2, before: str = "", **options):
        """Snakemake in a process group of its own, as in a terminal; `before` is Python."""
        command = [sys.executable, "-c", before + START]
        command += ["--snakefile", str(REPOSITORY / "Snakefile")]
        command += ["--workflow-profile", str(REPOSITORY / "workflow/profiles/default")]
        command += ["--directory", str(self.folder), "--cores", str(cores), *arguments]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        given = {"cwd": self.folder, "text": True, "start_new_session": True} | options
        return subprocess.Popen(command, env=os.environ | {"PATH": path}, **given)

    def snakemake(self, *arguments: str, check: bool = True, **options) -> str:
        """Runs Snakemake to its end; what it printed. Fails unless it succeeds, as `check` says."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        process = self.start(*arguments, **pipes, **options)
        printed, _ = process.communicate()
        assert (process.returncode == 0) == check, f"{process.args}\n{printed}"
        return printed

    def planned(self, *arguments: str, **options) -> set[str]:
        """The first output of every job that a run would start, relative to results/."""
        printed = self.snakemake("--dry-run", *arguments, **options)
        outputs = re.findall(r"^ +output: (.+)$", printed, re.MULTILINE)
        return {line.split(", ")[0].removeprefix("results/") for line in outputs}

    def paths(self) -> dict[str, Path]:
        """Every file under results/ but logs, by its path there."""
        found = (path for path in self.results.rglob("*") if path.is_file())
        named = {path.relative_to(self.results).as_posix(): path for path in found}
        return {name: path for name, path in named.items() if not name.startswith("logs/")}

    def artifacts(self) -> dict[str, bytes]:
        """The `said` of all `paths`."""
        return {name: said(name, path) for name, path in self.paths().items()}


def said(name: str, path: Path) -> bytes:
    """The bytes of an artifact; of the report all but its timings: a table, and columns."""
    content = path.read_bytes()
    if name != "report/index.html":
        return content
    page = re.sub(rb'(?s)<section id="time">.*', b"", content)
    return re.sub(rb"<td>[0-9.]+</td>", b"", page)


def with_networks() -> dict:
    """The tiny config with a network, though of random weights: its jobs want a GPU."""
    config = yaml.safe_load(TINY.read_text())
    network = {"kind": "vit", "model": "vit_tiny_patch16_224", "weights": "random", "size": 96}
    config["features"]["colour"] = network
    return config


def run_to_end(config: Path, folder: Path) -> Project:
    """A project of a config of this repository, with all results."""
    made = Project(folder)
    shutil.copy(config, made.config_file)
    made.snakemake()
    return made


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The tiny config, run to the end. Do not change it: copy it with `project`."""
    return run_to_end(TINY, tmp_path_factory.mktemp("finished"))


def copied(project: Project, folder: Path) -> Project:
    """A copy of a project, times of the files included."""
    shutil.copytree(project.folder, folder, copy_function=shutil.copy2)
    return Project(folder)


@pytest.fixture
def project(finished, tmp_path) -> Project:
    return copied(finished, tmp_path / "copy")
