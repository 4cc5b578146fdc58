"""Truth of OpenImages: one CSV for all images, one box a line, in shares of the image."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cleave.benchmarks.truth.instances import Truth
from cleave.io.images import ImageRecord, ImageShard
from cleave.io.listing import expanded
from cleave.types import DataError

SIDES = ("XMin", "YMin", "XMax", "YMax")


class _Box(NamedTuple):
    label: str
    corners: tuple[float, ...]  # x0 y0 x1 y1, shares of the width and height
    group: bool


def read(shard: ImageShard) -> dict[str, Truth]:
    """The truth of every image of a shard, by image id.

    An image that a list file names and the CSV does not has no object.

    Raises:
        DataError: a CSV that is missing or malformed, or that names no image of the shard.
    """
    path = expanded(shard.spec["annotations"])
    if not path.is_file():
        raise DataError(f"{path}: no such annotation file; check the key 'annotations'")
    status = path.stat()
    boxes = _read(path, status.st_size, status.st_mtime_ns)
    if shard.records and not any(_name(record) in boxes for record in shard.records):
        first = shard.records[0].id
        raise DataError(f"{path}: has a box of none of the images, of {first!r} for instance")
    return {r.id: _truth(path, r, boxes) for r in shard.records}


def _name(record: ImageRecord) -> str:
    return Path(record.path).stem


def _truth(path: Path, record: ImageRecord, boxes: Mapping[str, list[_Box]]) -> Truth:
    """Boxes around groups of five and more are ignored like crowds (IsGroupOf)."""
    found = boxes.get(_name(record), [])
    corners = np.array([box.corners for box in found]).reshape(-1, 4)
    return Truth.of_boxes(
        f"{path}: image {record.id!r}",
        record.size,
        corners * [record.width, record.height, record.width, record.height],
        [box.label for box in found],
        [box.group for box in found],
    )


@functools.lru_cache(maxsize=1)  # the shards of one data set share one file
def _read(path: Path, size: int, modified: int) -> dict[str, list[_Box]]:
    """Boxes by the name of the image; size and time are cache keys."""
    boxes: dict[str, list[_Box]] = {}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"ImageID", "LabelName", "IsGroupOf", *SIDES} - set(reader.fieldnames or ())
            if missing:
                raise DataError(f"{path}: lacks the columns {', '.join(sorted(missing))}")
            for line in reader:
                boxes.setdefault(line["ImageID"], []).append(_box(path, reader.line_num, line))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable CSV file ({error})") from None
    return boxes


def _box(path: Path, number: int, line: Mapping[str, str]) -> _Box:
    try:
        corners = tuple(float(line[side]) for side in SIDES)
        group = int(line["IsGroupOf"]) == 1  # -1: not known
    except (TypeError, ValueError):
        values = {name: line[name] for name in (*SIDES, "IsGroupOf")}
        raise DataError(f"{path}:{number}: expected numbers, got {values}") from None
    if not all(-1 <= value <= 2 for value in corners):
        raise DataError(f"{path}:{number}: {corners} are no shares of the image; expected 0 to 1")
    return _Box(line["LabelName"], corners, group)
