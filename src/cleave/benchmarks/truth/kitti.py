"""Truth of KITTI's object benchmark: one text file an image, one object a line."""

from __future__ import annotations

from pathlib import Path

from cleave.benchmarks.truth.instances import Truth
from cleave.io.images import ImageRecord, ImageShard
from cleave.io.listing import expanded
from cleave.types import DataError

COLUMNS = 15  # type, truncated, occluded, alpha, 4 of the box, then 7 of the box in 3D
IGNORED = "DontCare"  # a region in which nobody labelled what there is


def read(shard: ImageShard) -> dict[str, Truth]:
    """The truth of every image of a shard, by image id.

    Raises:
        DataError: a label file that is missing or malformed.
    """
    folder = expanded(shard.spec["annotations"])
    return {record.id: _truth(folder / f"{record.id}.txt", record) for record in shard.records}


def _truth(path: Path, record: ImageRecord) -> Truth:
    """Each line but DontCare is an object, however hidden, and whatever its class.

    The benchmark's own evaluation ignores small, hidden and neighbouring classes by level of
    difficulty; the class-agnostic one of CutLER says nothing of levels, so all count.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such label file, of image {record.id!r}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable label file ({error})") from None
    boxes, names = [], []
    for number, fields in enumerate(map(str.split, lines), 1):
        if not fields:
            continue
        try:
            if len(fields) != COLUMNS:
                raise ValueError
            boxes.append([float(value) for value in fields[4:8]])
        except ValueError:
            raise DataError(
                f"{path}:{number}: expected {COLUMNS} columns, a type and 14 numbers, as in "
                f"KITTI's label_2; got {' '.join(fields)[:80]!r}"
            ) from None
        names.append(fields[0])
    crowd = [name == IGNORED for name in names]
    return Truth.of_boxes(str(path), record.size, boxes, names, crowd)
