"""Imports go down only, plugins of one layer never import each other, and truth has one reader."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cleave

ROOT = Path(cleave.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# Lower number, lower layer. A module may import from lower layers and from its own package.
LAYERS = {
    "types": 0, "paths": 0, "spec": 1, "registry": 2, "ops": 2, "io": 3,
    "networks": 4, "pretrain": 5, "rcnn": 5, "solo": 5, "training": 5, "rounds": 6, "references": 6,
    "datasets": 7, "backbones": 7, "depth": 7, "graphs": 7, "masks": 7, "detectors": 7,
    "benchmarks": 7, "sections": 7, "config": 8, "report": 8, "stages": 8, "plan": 9,
    "commands": 10, "cli": 11,
}  # fmt: skip
HEAVY = {"torch", "timm", "transformers", "diffusers", "matplotlib", "pandas", "h5py", "cv2", "PIL"}


def package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own(path: Path) -> set[str]:
    """Packages of this library that a file imports."""
    parts = (name.split(".") for name in imported(path))
    return {p[1] for p in parts if p[0] == "cleave" and len(p) > 1} - {"__version__"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path):
    here = package(path)
    if here == "__init__":
        assert not own(path)
        return
    for target in own(path) - {here}:
        assert LAYERS[target] < LAYERS[here] or (here, target) == ("stages", "report"), target


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_plugins_do_not_import_each_other(path):
    plugins = {name.split(":")[0] for kinds in registry().values() for name in kinds.values()}
    module = ".".join(("cleave", *path.relative_to(ROOT).with_suffix("").parts))
    if module not in plugins:
        return
    for name in imported(path):
        for other in plugins - {module}:
            assert name != other, f"{module} imports {name}"
            assert not name.startswith(f"{other}."), f"{module} imports {name}"


def registry() -> dict[str, dict[str, str]]:
    from cleave.registry import PLUGINS

    return PLUGINS


def test_truth_is_read_only_by_benchmarks():
    """The renderer's masks are truth too; the one simulated backbone says that it saw labels."""
    from cleave.backbones.oracle import Oracle

    render = ROOT / "ops" / "render"
    instances = {
        path
        for path in FILES
        if render not in path.parents and "cleave.ops.render" in path.read_text()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("instances", "classes")
    }
    allowed = {"benchmarks/truth/scenes.py", "backbones/oracle.py"}
    assert {str(path.relative_to(ROOT)) for path in instances} <= allowed
    assert Oracle.saw_labels
    names = ("cleave.benchmarks.truth", "cleave.benchmarks.baselines")
    users = {path for path in FILES if any(m.startswith(names) for m in imported_modules(path))}
    evaluation = {"stages/score.py", "stages/baseline.py", "report/tables.py"}
    inside = {path for path in users if package(path) == "benchmarks"}
    assert {str(path.relative_to(ROOT)) for path in users - inside} <= evaluation


def imported_modules(path: Path) -> set[str]:
    """Imported names, and the modules they may be attributes of."""
    names = imported(path)
    return names | {name.rpartition(".")[0] for name in names}


def test_planning_imports_no_heavy_library():
    """Snakemake reads the Snakefile in every job, and torch alone costs four seconds."""
    program = (
        "import sys, yaml; from cleave import config; "
        "config.load(yaml.safe_load(open('config.yaml'))); "
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, cwd=ROOT.parents[1],
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
