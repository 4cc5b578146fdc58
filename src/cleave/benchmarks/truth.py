"""Ground truth of a data set: the only place in the project where labels are read."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cleave.io.images import ImageRecord, ImageShard
from cleave.ops import rle
from cleave.ops.render import CLASSES, parse_id, scene
from cleave.spec import ConfigError
from cleave.types import Array, DataError, Size

Json = dict[str, Any]


@dataclass(frozen=True)
class Truth:
    """The G labelled instances of one image; masks are kept as RLE and decoded on demand.

    A crowd is a region of things that nobody separated: it is ignored when masks are matched and
    never counts as an object (evaluation protocol of COCO, `iscrowd`).
    """

    size: Size
    boxes: Array  # (G, 4) float64, x0 y0 x1 y1 in pixels with exclusive ends
    areas: Array  # (G,) float64 pixels, as annotated: decides the size bin
    crowd: Array  # (G,) bool
    categories: tuple[str, ...]  # names, for the reader's eyes; no metric looks at them
    segmentations: tuple[Json, ...] | None  # compressed RLE; None where only boxes are labelled

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def masks(self) -> Array:
        """(G, H, W) bool.

        Raises:
            DataError: the data set has boxes only.
        """
        if self.segmentations is None:
            raise DataError("this data set labels boxes only; there are no masks to compare with")
        masks = np.zeros((len(self), *self.size), bool)
        for i, segmentation in enumerate(self.segmentations):
            masks[i] = rle.decode(segmentation)
        return masks

    @classmethod
    def of_masks(
        cls, size: Size, masks: Array, categories: Sequence[str], crowd: Array | None = None
    ) -> Truth:
        """Truth from (G, H, W) bool masks, none of them empty; by default none is a crowd."""
        boxes = np.zeros((len(masks), 4))
        for i, mask in enumerate(masks):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            boxes[i] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        return cls(
            size,
            boxes,
            masks.sum((1, 2)).astype(np.float64),
            np.zeros(len(masks), bool) if crowd is None else np.asarray(crowd, bool),
            tuple(categories),
            tuple(rle.encode(mask) for mask in masks),
        )


def load(shard: ImageShard) -> dict[str, Truth]:
    """The truth of every image of a shard, by image id.

    Raises:
        ConfigError: a kind of data set that has no labels.
        DataError: annotations that do not fit the images.
    """
    readers = {"coco": _coco, "scenes": _scenes}
    kind = shard.spec.get("kind")
    if kind not in readers:
        raise ConfigError(
            f"a data set of kind {kind!r} has no ground truth, so no benchmark can use it; "
            f"valid: {', '.join(sorted(readers))}"
        )
    return readers[kind](shard)


def _coco(shard: ImageShard) -> dict[str, Truth]:
    path = Path(shard.spec["annotations"])
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
            truths[record.id] = _image_truth(record, images[record.number], found, names)
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
    record: ImageRecord, image: Json, annotations: Sequence[Json], names: Mapping[int, str]
) -> Truth:
    size = Size(record.height, record.width)
    if (image["height"], image["width"]) != tuple(size):
        raise DataError(
            f"annotated at {image['height']} x {image['width']} (height x width), "
            f"the file is {record.height} x {record.width} after EXIF rotation"
        )
    with_masks = all(annotation.get("segmentation") for annotation in annotations)
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


def _scenes(shard: ImageShard) -> dict[str, Truth]:
    return {record.id: _scene_truth(record) for record in shard.records}


def _scene_truth(record: ImageRecord) -> Truth:
    """The instances of a scene; objects too small or too hidden for one are ignored like crowds."""
    size = Size(record.height, record.width)
    rendered = scene(*parse_id(record.id), size)
    names = [CLASSES[number] for number in rendered.classes] + [""] * len(rendered.ignored)
    masks = np.concatenate([rendered.instances, rendered.ignored])
    return Truth.of_masks(size, masks, names, crowd=np.arange(len(masks)) >= len(rendered.classes))
