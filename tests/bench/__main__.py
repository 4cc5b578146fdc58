"""python -m tests.bench [NAME ...]: runs benchmarks into results/bench/MACHINE.json.

A new benchmark is a module here with a function `rows()` that yields `harness.Row`s, and its name
in BENCHMARKS. Numbers are of one core if OMP_NUM_THREADS=1 is set, as `make bench` does.
"""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path

from tests.bench import cost, harness, machine, results

BENCHMARKS = (
    *("stages", "ncut", "cuts", "path", "curve"),
    *("vit", "detector", "augment", "device"),
)


def main() -> None:
    arguments = _arguments()
    here = machine.describe()
    output = arguments.output or results.FOLDER / f"{machine.slug(here)}.json"
    if arguments.cost:
        print(cost.page(output))
        return
    print(f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}")
    found = []
    for name in arguments.names or BENCHMARKS:
        options = {"full": True} if arguments.full and name == "curve" else {}
        rows, start = [], _spent()
        for row in importlib.import_module(f"tests.bench.{name}").rows(**options):
            print(" ".join(f"{k}={v}" for k, v in row.cells().items() if v), flush=True)
            rows.append(row)
        if rows:  # on this machine
            results.merge(output, here, name, rows)
        found += rows
        print(f"{name}: {_spent() - start:.0f} CPU s", flush=True)
    print(f"\n{harness.markdown(found)}\n\nwritten to {output}")


def _spent() -> float:
    """CPU seconds of this process and of those that it started and that ended."""
    return sum(os.times()[:4])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--output", type=Path, help="default: results/bench/MACHINE.json")
    parser.add_argument("--full", action="store_true", help="the cost curve at 480 px: hours")
    parser.add_argument("--cost", action="store_true", help="what ImageNet costs, from --output")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {sorted(unknown)[0]!r}; valid: {', '.join(BENCHMARKS)}")
    return arguments


if __name__ == "__main__":
    main()
