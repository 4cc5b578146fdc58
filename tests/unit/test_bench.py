"""What `make bench` is made of: sums, tables, files, twins, and one benchmark from end to end."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cleave.types import FeatureMap, Size

ROOT = Path(__file__).resolve().parents[2]
MACHINE = {"processor": "Some CPU @ 3.0", "cores": 2, "gpu": ""}


@pytest.fixture
def bench(monkeypatch):
    """A function that gives a module of tests.bench."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"tests.bench.{name}")


def test_exponent_of_costs(bench):
    counts = [250, 1000, 4000]
    fit = bench("harness").exponent
    assert fit(counts, [3 * n for n in counts]) == pytest.approx(1)
    assert fit(counts, [n**2 for n in counts]) == pytest.approx(2)
    assert fit(counts, [7.0] * 3) == pytest.approx(0)


def test_ratio_says_how_many_times_better_ours_is(bench):
    row = bench("harness").Row
    assert row("a", "CPU s", 2.0, 8.0).ratio == 4
    assert row("a", "images/s", 8.0, 2.0).ratio == 4
    assert row("a", "CPU s", 2.0).ratio is None


def test_markdown_has_a_line_a_row_and_empty_cells(bench):
    harness = bench("harness")
    text = harness.markdown([harness.Row("one", "CPU s", 0.123456, peak=99.0)])
    assert text.splitlines()[-1] == "| one | CPU s | 0.1235 |  |  | 99 |  |  |  |"
    assert all(line.count("|") == 10 for line in text.splitlines())


def test_a_benchmark_replaces_its_own_rows_and_no_others(bench, tmp_path):
    results, row = bench("results"), bench("harness").Row
    path = tmp_path / "new" / "machine.json"
    results.merge(path, MACHINE, "first", [row("a", "MB", 1.0), row("b", "MB", 2.0)])
    results.merge(path, MACHINE, "second", [row("c", "MB", 3.23456, peak=5.0)])
    results.merge(path, MACHINE, "first", [row("a", "MB", 4.0)])
    read = results.read(path)
    assert read == {"first": [row("a", "MB", 4.0)], "second": [row("c", "MB", 3.235, peak=5.0)]}
    assert json.loads(path.read_text())["machine"] == MACHINE


def test_a_machine_is_told_without_its_name(bench):
    machine = bench("machine")
    assert machine.slug(MACHINE) == "some-cpu-3-0-2-cores"
    found = machine.describe()
    assert all(found[name] for name in ("processor", "cores", "memory", "numpy"))
    assert {"host", "node", "hostname"}.isdisjoint(found)


def test_the_twin_of_the_path_gives_our_masks(bench):
    """On a grid of 12 x 12; the benchmark compares them on 60 x 60."""
    pytest.importorskip("pydensecrf")
    path = bench("path")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((3, 16))
    regions = np.zeros((12, 12), int)
    regions[2:6, 3:7], regions[7:11, 6:11] = 1, 2
    features = (centres[regions] + 0.3 * rng.standard_normal((12, 12, 16))).astype(np.float32)
    pixels = np.repeat(np.repeat(np.uint8(80 * regions), 30, 0), 40, 1)[..., None].repeat(3, 2)
    grid = FeatureMap({"key": features}, Size(360, 480), Size(480, 480), 40)
    ours = path.our_masks(grid, pixels, 0.15)
    theirs = path.their_masks(features.reshape(144, 16), pixels, 0.15)
    assert len(ours) == len(theirs) >= 2
    _, ious = path.agreement(ours, theirs)
    assert min(ious) > 0.999  # a compiled CRF may round one pixel otherwise
    assert min(path.agreement(ours, theirs[1:])[1]) == 0


def test_the_cost_curve_from_end_to_end(bench):
    """Two photos, then four, through the stages in a process each."""
    rows = list(bench("curve").rows(counts=(2, 4)))
    points, fits = rows[:2], rows[2:]
    assert [point.images for point in points] == [2, 4]
    assert all(point.ours > 0 and point.peak > 0 for point in points)
    assert "masks" in points[0].identical
    units = ["exponent", "largest / smallest"]
    assert [fit.unit for fit in fits] == [*units, "images/s", *units]
    assert fits[-1].ours < 1.5  # imports are most of it


def test_unknown_benchmarks_are_named():
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "vitt"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no benchmark 'vitt'; valid: stages, ncut" in done.stderr


def test_cost_of_imagenet_by_hand(bench, tmp_path):
    results, row = bench("results"), bench("harness").Row
    cost = bench("cost")
    names = {work.row for work in cost.STAGES} | set(cost.FILES.values()) - {"training"}
    rows = [row(name, "images/s", 2.0, file=0.5) for name in sorted(names)]
    rows += [row("the same with DropLoss", "CPU s", 10.0)]
    path = tmp_path / "cpu.json"
    results.merge(path, MACHINE, "stages", rows)
    text = cost.page(path)
    lines = [line.strip("| ").split(" | ") for line in text.split("\n\n")[0].splitlines()]
    table = {name: cells for name, *cells in lines}
    # 1,281,167 / 2 s = 178 h of a core; 16 cores 11 h, 512 cores .35 h; files of .5 MB: 641 GB
    assert table["graphs"][:3] == ["2", "178", "11"]
    assert table["graphs"][3].startswith("0.35")
    assert table["recipe: shards to one JSON"][2] == "178"
    # 40e12 / (2 * .39e12) = 51 times as fast
    assert table["features, ViT-S/8"][2] == "3.5*"
    assert text.count("641 GB") == len(cost.FILES)
    results.merge(tmp_path / "gpu.json", MACHINE | {"gpu": "Some GPU"}, "stages", [
        row("features: vits8", "images/s", 100.0)
    ])  # fmt: skip
    assert "| 3.6 | 0.11 |" in cost.page(path)
    assert "the GPU is Some GPU, measured" in cost.page(path)


def test_the_page_on_imagenet_says_what_the_command_prints(bench):
    """Of the one committed file without a GPU; `python -m tests.bench --cost` prints it anew."""
    folder = ROOT / "results" / "bench"
    (path,) = [p for p in sorted(folder.glob("*.json")) if not bench("results").gpu(p)]
    quoted = (folder / "README.md").read_text().split("<!-- cost -->\n")[1]
    assert quoted.split("<!-- end -->")[0].strip() == bench("cost").page(path)
