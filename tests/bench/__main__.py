"""python -m tests.bench [NAME ...]: runs the benchmarks and writes results/bench/table.csv.

A new benchmark is a module here with a function `rows()` that yields `harness.Row`s, and its name
in BENCHMARKS. Numbers are of one core if OMP_NUM_THREADS=1 is set, as `make bench` does.
"""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path

from tests.bench import harness

BENCHMARKS = ("ncut", "cuts", "vit", "augment", "detector", "stages")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--output", type=Path, default=Path("results/bench/table.csv"))
    arguments = parser.parse_args()
    names = arguments.names or BENCHMARKS
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no benchmark {sorted(unknown)[0]!r}; valid: {', '.join(BENCHMARKS)}")
    print(f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}")
    rows = []
    for name in names:
        for row in importlib.import_module(f"tests.bench.{name}").rows():
            print(" ".join(f"{key}={value}" for key, value in row.cells().items()), flush=True)
            rows.append(row)
    harness.write(rows, arguments.output)
    print(f"\n{harness.markdown(rows)}\n\nwritten to {arguments.output}")


if __name__ == "__main__":
    main()
