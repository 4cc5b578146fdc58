"""What the scripts have in common that run other people's code and record what it answers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

GOLDENS = Path(__file__).parent / "goldens"


def main(
    reference: Callable[..., Any],
    record: Callable[[Any], None],
    agreement: Callable[[Any, int], str],
    repositories: Sequence[str],
    patches: Sequence[str] = (),
) -> None:
    """Does what the command line says: records, or with `--compare` counts where both agree.

    Args:
        reference: of the checkouts, and of the set of patches where there are any.
        record: of the reference, what the script is for.
        agreement: of the reference and a number of cases, what is to be printed.
        repositories: whose checkouts the script is given, in this order.
        patches: names of the changes to the reference; all are made unless `--patch` says which.
    """
    parser = argparse.ArgumentParser(description=reference.__doc__)
    for name in repositories:
        parser.add_argument(name, type=Path, help="a checkout")
    parser.add_argument("--compare", type=int, help="record nothing, compare this many cases")
    if patches:
        parser.add_argument("--patch", default="+".join(patches), help="of %(default)s, or none")
    arguments = parser.parse_args()
    given = [getattr(arguments, name).resolve() for name in repositories]
    if patches:
        given.append(set(arguments.patch.split("+")) - {"none"})
        if unknown := given[-1] - set(patches):
            parser.error(f"no patch {', '.join(sorted(unknown))}; there are {', '.join(patches)}")
    run = reference(*given)
    if arguments.compare:
        print(agreement(run, arguments.compare))
    else:
        record(run)


def pictures(sizes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """(H, W, 3) uint8 RGB: noisy rectangles over noise, one for each (height, width)."""
    made = []
    for number, (height, width) in enumerate(sizes):
        rng = np.random.default_rng(number)
        picture = np.full((height, width, 3), rng.integers(0, 256, 3), np.int64)
        for _ in range(12):
            top, left = rng.integers(0, height - 20), rng.integers(0, width - 20)
            down, across = rng.integers(15, 100, 2)
            picture[top : top + down, left : left + across] = rng.integers(0, 256, 3)
        noise = rng.integers(-20, 21, picture.shape)
        made.append(np.clip(picture + noise, 0, 255).astype(np.uint8))
    return made
