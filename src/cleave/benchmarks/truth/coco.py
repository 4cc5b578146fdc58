"""Truth from COCO annotation files: COCO itself, LVIS, Objects365, UVO."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cleave.benchmarks.truth.instances import Json, Truth
from cleave.io.images import ImageRecord, ImageShard
from cleave.io.listing import expanded
from cleave.types import DataError, Size


def read(shard: ImageShard) -> dict[str, Truth]:
    """The truth of every image of a shard, by image id.

    LVIS is read as COCO is: its lists of categories that are not exhaustively labelled are left
    out, so that what nobody labelled counts as a false positive (CutLER scores it like this).

    Raises:
        DataError: no such file, or annotations that do not fit the images.
    """
    path = expanded(shard.spec["annotations"])
    boxes_only = shard.spec.get("truth") == "boxes"
    if not path.is_file():
        raise DataError(f"{path}: no such annotation file; check the key 'annotations'")
    status = path.stat()
    images, annotations, names = _read(path, status.st_size, status.st_mtime_ns)
    truths = {}
    for record in shard.records:
        if record.number not in images:
            raise DataError(f"{path}: has no image number {record.number} ({record.id!r})")
        found = annotations.get(record.number, [])
        try:
            truths[record.id] = _image_truth(
                record, images[record.number], found, names, boxes_only
            )
        except (KeyError, TypeError, ValueError, DataError) as error:
            raise DataError(f"{path}: image {record.id!r}: {error!s}") from error
    return truths


@functools.lru_cache(maxsize=1)  # the shards of one data set share one file, up to 450 MB of it
def _read(path: Path, size: int, modified: int) -> tuple[dict, dict[int, list[Json]], dict]:
    """Images and annotations by image number, and category names; size and time are cache keys."""
    try:
        content = json.loads(path.read_bytes())
        images = {image["id"]: image for image in content["images"]}
        names = {c["id"]: str(c.get("name", c["id"])) for c in content.get("categories", [])}
        annotations: dict[int, list[Json]] = {}
        for annotation in content["annotations"]:
            annotations.setdefault(annotation["image_id"], []).append(annotation)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a readable COCO annotation file ({error!r})") from None
    return images, annotations, names


def _image_truth(
    record: ImageRecord,
    image: Json,
    annotations: Sequence[Json],
    names: Mapping[int, str],
    boxes_only: bool,
) -> Truth:
    size = Size(record.height, record.width)
    if (image["height"], image["width"]) != tuple(size):
        raise DataError(
            f"annotated at {image['height']} x {image['width']} (height x width), "
            f"the file is {record.height} x {record.width} after EXIF rotation"
        )
    with_masks = not boxes_only and all(
        annotation.get("segmentation") for annotation in annotations
    )
    segmentations = [_rle(a["segmentation"], size) for a in annotations] if with_masks else None
    boxes, areas = np.zeros((len(annotations), 4)), np.zeros(len(annotations))
    for i, annotation in enumerate(annotations):
        x, y, width, height = annotation["bbox"]
        boxes[i] = x, y, x + width, y + height
        areas[i] = annotation.get("area", width * height)
    return Truth(
        size,
        boxes,
        areas,
        np.array([bool(a.get("iscrowd", 0)) for a in annotations], bool),
        tuple(a.get("category") or names.get(a.get("category_id"), "") for a in annotations),
        None if segmentations is None else tuple(segmentations),
    )


def _rle(segmentation: Any, size: Size) -> Json:
    """Polygons, uncompressed RLE or compressed RLE to compressed RLE, as pycocotools does it."""
    from pycocotools import mask as coco

    if isinstance(segmentation, dict):
        found = segmentation
        if list(found["size"]) != list(size):
            raise DataError(f"RLE of size {found['size']} in an image of {list(size)}")
        if isinstance(found["counts"], list):
            found = coco.frPyObjects(found, *size)
    else:
        found = coco.merge(coco.frPyObjects(segmentation, *size))
    counts = found["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": list(size), "counts": text}
