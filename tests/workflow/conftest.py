"""A finished run of the tiny config, once a session, and copies of it to change."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = REPOSITORY / "tests" / "configs" / "tiny.yaml"


class Project:
    """A working directory with a config.yaml, on which Snakemake is run."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config_file = folder / "config.yaml"

    @property
    def config(self) -> dict:
        return yaml.safe_load(self.config_file.read_text())

    def write(self, config: dict) -> None:
        self.config_file.write_text(yaml.safe_dump(config, sort_keys=False))

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
        command += ["--workflow-profile", str(REPOSITORY / "workflow/profiles/default")]
        command += ["--directory", str(self.folder), "--cores", "2", *arguments]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=os.environ | {"PATH": path},
            cwd=self.folder,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
        return done

    def planned(self, *arguments: str) -> set[str]:
        """The outputs of every job that a run would start, relative to results/."""
        done = self.snakemake("--dry-run", *arguments)
        outputs = re.findall(r"^ +output: (.+)$", done.stdout + done.stderr, re.MULTILINE)
        return {line.split(", ")[0].removeprefix("results/") for line in outputs}

    def files(self) -> dict[str, bytes]:
        """Every artifact but the logs and the report's pictures."""
        root = self.folder / "results"
        found = (p for p in root.rglob("*") if p.is_file() and "logs" not in p.parts)
        return {str(p.relative_to(root)): p.read_bytes() for p in found}


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The tiny config, run to the end. Do not change it: copy it with `project`."""
    made = Project(tmp_path_factory.mktemp("finished"))
    shutil.copy(TINY, made.config_file)
    made.snakemake()
    return made


@pytest.fixture
def project(finished, tmp_path) -> Project:
    """A copy of the finished run, times of the files included."""
    shutil.copytree(finished.folder, tmp_path / "copy", copy_function=shutil.copy2)
    return Project(tmp_path / "copy")
