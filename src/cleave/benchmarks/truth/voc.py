"""Truth of Pascal VOC: boxes from its XML files, masks from its instance PNGs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from cleave.benchmarks.truth.instances import Truth, log
from cleave.io.images import ImageRecord, ImageShard
from cleave.io.listing import expanded
from cleave.types import Array, DataError, Size

VOID = 255  # the border around objects, and objects too hard to draw


def read(shard: ImageShard) -> dict[str, Truth]:
    """The truth of every image of a shard, by image id.

    Raises:
        DataError: an annotation file that is missing, malformed, or of another size.
    """
    root = expanded(shard.spec["root"])
    if shard.spec["truth"] == "masks":
        return {r.id: _masks(root / "SegmentationObject" / f"{r.id}.png", r) for r in shard.records}
    ignore = shard.spec["difficult"] == "ignore"
    return {r.id: _boxes(root / "Annotations" / f"{r.id}.xml", r, ignore) for r in shard.records}


class _Object(NamedTuple):
    name: str
    box: tuple[float, float, float, float]
    difficult: bool


def _boxes(path: Path, record: ImageRecord, ignore_difficult: bool) -> Truth:
    """Every object of the file; truncated and occluded ones are objects like others."""
    if not path.is_file():
        raise DataError(f"{path}: no such annotation file, of image {record.id!r}")
    try:
        annotation = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise DataError(f"{path}: not a readable XML file ({error})") from None
    if annotation.tag != "annotation":
        raise DataError(f"{path}: holds <{annotation.tag}>; expected <annotation>, as in VOC")
    size = tuple(annotation.findtext(f"size/{side}", "") for side in ("height", "width"))
    if all(size) and size != (str(record.height), str(record.width)):
        log.warning("%s: says %s x %s (height x width), the image is %d x %d; its boxes are "
                    "taken as they are", path, *size, *record.size)  # fmt: skip
    objects = [_object(path, i, item) for i, item in enumerate(annotation.findall("object"), 1)]
    return Truth.of_boxes(
        str(path),
        record.size,
        [item.box for item in objects],
        [item.name for item in objects],
        [False] * len(objects),
        [item.difficult and ignore_difficult for item in objects],
    )


def _object(path: Path, number: int, element: ElementTree.Element) -> _Object:
    """VOC counts pixels from 1 and includes the last one; parts of a person are no objects."""
    corners = [element.findtext(f"bndbox/{key}", "") for key in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x0, y0, x1, y1 = map(float, corners)
        difficult = bool(int(element.findtext("difficult", "0")))
    except ValueError:
        raise DataError(
            f"{path}: object {number}: expected numbers for xmin, ymin, xmax, ymax and difficult, "
            f"got {corners} and {element.findtext('difficult')!r}"
        ) from None
    return _Object(element.findtext("name", ""), (x0 - 1, y0 - 1, x1, y1), difficult)


def _masks(path: Path, record: ImageRecord) -> Truth:
    """One mask per index of the picture, and what is void as a region to ignore."""
    indices = _indices(path, record)
    numbers = [int(number) for number in np.unique(indices) if number not in (0, VOID)]
    masks = [indices == number for number in numbers]
    crowd = [False] * len(masks)
    if (void := indices == VOID).any():
        masks, crowd = [*masks, void], [*crowd, True]
    stacked = np.array(masks, bool).reshape(-1, *record.size)
    return Truth.of_masks(record.size, stacked, [""] * len(masks), np.array(crowd, bool))


def _indices(path: Path, record: ImageRecord) -> Array:
    """(H, W) uint8, the palette indices of a PNG, not its colours."""
    from PIL import Image

    if not path.is_file():
        raise DataError(f"{path}: no such mask file, of image {record.id!r}")
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            mode, indices = picture.mode, np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: not a readable PNG ({error})") from None
    if mode not in ("P", "L") or indices.dtype != np.uint8:
        raise DataError(f"{path}: a PNG of mode {mode}; expected palette indices, as VOC has them")
    if indices.shape != tuple(record.size):
        found, expected = Size(*indices.shape), record.size
        raise DataError(f"{path}: {tuple(found)} (height, width), the image is {tuple(expected)}")
    return indices
