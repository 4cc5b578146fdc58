"""Masks of many images in one COCO JSON: what every stage after the cuts reads and writes.

Valid for `pycocotools.coco.COCO(path)`; beyond the format an image carries its `key` (the image id
of this project), `digest` and `notes`, an annotation its `score` and, where there are such,
`label`, `parent` (index among the annotations of its image) and `trust` (8 bits a patch).
"""

from __future__ import annotations

import base64
import heapq
import json
import tempfile
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from cleave import __version__
from cleave.io.atomic import read_json, replacing, sealing, write_json
from cleave.io.images import ImageRecord
from cleave.ops import rle
from cleave.types import DataError, MaskSet, Size

Json = dict[str, Any]
CATEGORIES = [{"id": 1, "name": "fg"}]  # class-agnostic: CutLER, builtin_meta.py:157


class MaskFile(Mapping[str, MaskSet]):
    """Image id to MaskSet; a set is decoded when it is asked for, so memory holds RLE only."""

    def __init__(self, content: Json):
        self.info: Json = content["info"]
        self._images = {image["key"]: image for image in content["images"]}
        self._annotations: dict[int, list[Json]] = {i["id"]: [] for i in content["images"]}
        for annotation in content["annotations"]:
            self._annotations[annotation["image_id"]].append(annotation)

    def __getitem__(self, image_id: str) -> MaskSet:
        image = self._images[image_id]
        size = Size(image["height"], image["width"])
        return decode_annotations(self.annotations(image_id), size, image.get("notes", {}))

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._images  # Mapping's own would decode the masks to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def records(self) -> list[ImageRecord]:
        return [
            ImageRecord(i["key"], i["file_name"], i["height"], i["width"], i["id"], i["digest"])
            for i in self._images.values()
        ]

    def content(self) -> Iterator[tuple[Json, list[Json]]]:
        """Each image entry with its annotations, in the order of the file."""
        for image in self._images.values():
            yield image, self._annotations[image["id"]]

    def annotations(self, image_id: str) -> list[Json]:
        """The COCO annotations of one image, undecoded."""
        return self._annotations[self._images[image_id]["id"]]


def encode_annotations(masks: MaskSet) -> list[Json]:
    """A MaskSet as COCO annotations that still lack `id` and `image_id`."""
    boxes, areas = masks.boxes, masks.areas
    annotations = []
    for i, mask in enumerate(masks.masks):
        x0, y0, x1, y1 = boxes[i].tolist()
        annotation = {
            "area": int(areas[i]),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "category_id": 1,
            "iscrowd": 0,
            "score": float(masks.scores[i]),
            "segmentation": rle.encode(mask),
        }
        if masks.labels is not None:
            annotation["label"] = int(masks.labels[i])
        if masks.parents is not None:
            annotation["parent"] = int(masks.parents[i])
        if masks.trust is not None:
            annotation["trust"] = _encode_trust(masks.trust[i])
        annotations.append(annotation)
    return annotations


def decode_annotations(
    annotations: Sequence[Json], size: Size, notes: Mapping[str, float] | None = None
) -> MaskSet:
    """The inverse of `encode_annotations`; trust comes back to within half a 255th.

    A detector's boxes stay in the annotations: as labels, masks are bounded by their own.
    """

    def column(name: str, dtype: type) -> np.ndarray | None:
        present = bool(annotations) and name in annotations[0]
        return np.array([a[name] for a in annotations], dtype) if present else None

    masks = np.zeros((len(annotations), *size), bool)
    for i, annotation in enumerate(annotations):
        masks[i] = rle.decode(annotation["segmentation"])
    trust = None
    if annotations and "trust" in annotations[0]:
        trust = np.stack([_decode_trust(a["trust"]) for a in annotations])
    return MaskSet(
        size,
        masks,
        np.array([a["score"] for a in annotations], np.float64),
        column("label", np.int64),
        column("parent", np.int64),
        trust,
        dict(notes or {}),
    )


def _encode_trust(trust: np.ndarray) -> Json:
    levels = np.rint(trust.astype(np.float32) * 255).astype(np.uint8)
    counts = base64.b64encode(zlib.compress(levels.tobytes(), 9)).decode("ascii")
    return {"size": list(levels.shape), "counts": counts}


def _decode_trust(trust: Json) -> np.ndarray:
    levels = np.frombuffer(zlib.decompress(base64.b64decode(trust["counts"])), np.uint8)
    return (levels.reshape(trust["size"]).astype(np.float32) / 255).astype(np.float16)


def write_masks(
    path: Path,
    records: Sequence[ImageRecord],
    masksets: Mapping[str, MaskSet] | Iterable[tuple[str, MaskSet]],
    *,
    spec: Mapping[str, Any],
    version: int,
    dataset: Mapping[str, Any],
) -> None:
    """Writes the masks of a shard; equal masks give equal bytes.

    Args:
        path: of the JSON file, replaced in one step.
        records: every image of the shard, in the order of the file.
        masksets: one per record, by id or as (id, masks) pairs in any order. A generator of pairs
            holds one image's masks in memory at a time.
        spec, version: of the stage that made the masks.
        dataset: spec of the data set.

    Raises:
        DataError: a record without masks, masks without a record, a wrong size, or two images
            with one number.
    """
    encoded = _encoded(path, records, masksets)
    content = {
        "info": _info(spec, version, dataset),
        "images": [_image(record, encoded[record.id][1]) for record in records],
        "annotations": [],
        "categories": CATEGORIES,
    }
    _require_unique([image["id"] for image in content["images"]], path)
    for record in records:
        for annotation in encoded[record.id][0]:
            number = len(content["annotations"]) + 1
            content["annotations"].append(annotation | {"id": number, "image_id": record.number})
    write_json(path, content, seal=True)


def _encoded(
    path: Path,
    records: Sequence[ImageRecord],
    masksets: Mapping[str, MaskSet] | Iterable[tuple[str, MaskSet]],
) -> dict[str, tuple[list[Json], Mapping[str, float]]]:
    """Annotations and notes of each record, by image id."""
    known = {record.id: record for record in records}
    encoded: dict[str, tuple[list[Json], Mapping[str, float]]] = {}
    for image_id, masks in masksets.items() if isinstance(masksets, Mapping) else masksets:
        record = known.get(image_id)
        if record is None:
            raise DataError(f"{path}: masks of {image_id!r}, which is no image of this shard")
        if masks.size != (record.height, record.width):
            raise DataError(
                f"{path}: masks of {image_id!r} are {tuple(masks.size)} (height, width), "
                f"the image is {(record.height, record.width)}"
            )
        encoded[image_id] = encode_annotations(masks), masks.notes
    if missing := [record.id for record in records if record.id not in encoded]:
        raise DataError(f"{path}: no masks for {len(missing)} images, first {missing[0]!r}")
    return encoded


def read_masks(path: Path) -> tuple[list[ImageRecord], MaskFile]:
    """Records in the order of the file, and a mapping from image id to MaskSet.

    Raises:
        DataError: the file is missing, cut short, damaged, or no mask file of this project.
    """
    masks = MaskFile(_load(path))
    return masks.records, masks


def merge(
    paths: Sequence[Path],
    output: Path,
    *,
    spec: Mapping[str, Any] | None = None,
    version: int | None = None,
) -> None:
    """Joins shards into one COCO JSON, one shard in memory at a time.

    Images come in the order of their keys and annotations are numbered anew from 1, so the result
    does not depend on how the images were dealt to shards.

    Args:
        paths: mask files of one data set, made by one spec.
        output: the joined file.
        spec, version: recorded instead of those of the shards.

    Raises:
        DataError: no shards, shards of different specs, an image in two shards, or two images
            with one number.
    """
    with replacing(output) as temporary, tempfile.TemporaryFile(dir=temporary.parent) as scratch:
        spool = _Spool(paths, scratch)
        info = dict(spool.info)
        info["dataset"] = {k: v for k, v in info["dataset"].items() if k != "shards"}
        if spec is not None:
            info["spec"] = dict(spec)
        if version is not None:
            info["version"] = version
        with open(temporary, "w", encoding="ascii") as file:
            _write_joined(file, spool, info)


class _Sealed:
    """Text on its way to a file that ends with the text's checksum."""

    def __init__(self, file: IO[str]):
        self._file, self._checksum = file, 0

    def write(self, text: str) -> None:
        self._checksum = zlib.crc32(text.encode("ascii"), self._checksum)
        self._file.write(text)

    def end(self, closing: str) -> None:
        """Closes the outermost, or the last, mapping; then comes `closing`."""
        self._file.write(sealing(self._checksum) + closing)


def _write_joined(file: IO[str], spool: _Spool, info: Json) -> None:
    sealed, number = _Sealed(file), 0
    sealed.write('{"annotations":[')
    for _, found in spool:
        for annotation in found:
            sealed.write("," if number else "")
            number += 1
            sealed.write(_dump(annotation | {"id": number}))
    sealed.write(f'],"categories":{_dump(CATEGORIES)},"images":[')
    for position, (image, _) in enumerate(spool):
        sealed.write(("," if position else "") + _dump(image))
    sealed.write(f'],"info":{_dump(info)}')
    sealed.end("\n")


def write_predictions(paths: Sequence[Path], output: Path) -> None:
    """Mask files as a plain COCO results list, for `COCO.loadRes` and evaluators from outside.

    Parents come along, for the hierarchy's metrics: an index among the results of the image; and
    labels, for the benchmark of instance-ness: the number of clusters. The last result carries the
    checksum of all that stands before it, as a key that other readers pass over.
    """
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output.parent) as scratch:
        spool = _Spool(paths, scratch)
        _write_results(output, ((image["id"], found) for image, found in spool))


def write_results(
    output: Path, records: Sequence[ImageRecord], masksets: Iterable[tuple[str, MaskSet]]
) -> None:
    """Masks as a plain COCO results list, in the order of the image ids.

    Args:
        records: of all the images.
        masksets: (image id, masks) pairs; a generator holds one image's masks at a time.
    """
    numbers = {record.id: record.number for record in records}
    encoded = {image_id: encode_annotations(masks) for image_id, masks in masksets}
    _write_results(output, ((numbers[image_id], encoded[image_id]) for image_id in sorted(encoded)))


def _write_results(output: Path, images: Iterable[tuple[int, Sequence[Json]]]) -> None:
    kept = ("area", "bbox", "category_id", "label", "parent", "score", "segmentation")
    with replacing(output) as temporary, open(temporary, "w", encoding="ascii") as file:
        sealed, separator = _Sealed(file), "["
        for number, annotations_of_image in images:
            for annotation in annotations_of_image:
                result = {name: annotation[name] for name in kept if name in annotation}
                result["image_id"] = number
                sealed.write(separator + _dump(result).removesuffix("}"))
                separator = "},"
        if separator == "[":
            file.write("[]\n")
        else:
            sealed.end("]\n")


class _Spool:
    """Images of many mask files in the order of their keys; of each its place stays in memory."""

    def __init__(self, paths: Sequence[Path], file: IO[bytes]):
        if not paths:
            raise DataError("no mask files to join")
        self.info: Json = {}
        self._file = file
        self._shards: list[array] = []  # places of the images of each, in the order of their keys
        numbers = array("q")
        for path in paths:
            masks = MaskFile(_load(path))
            self.info = self.info or masks.info
            if masks.info != self.info:
                raise DataError(f"{path}: made by another spec or version than {paths[0]}")
            places = array("q")
            for image, found in sorted(masks.content(), key=_key):
                places.append(file.tell())
                numbers.append(image["id"])
                file.write(json.dumps([image, found]).encode("ascii") + b"\n")
            self._shards.append(places)
        _require_unique(numbers, paths[0])

    def __iter__(self) -> Iterator[tuple[Json, list[Json]]]:
        return heapq.merge(*map(self._read, self._shards), key=_key)

    def _read(self, places: array) -> Iterator[tuple[Json, list[Json]]]:
        for place in places:
            self._file.seek(place)
            yield json.loads(self._file.readline())


def _key(entry: tuple[Json, list[Json]]) -> str:
    return entry[0]["key"]


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _load(path: Path) -> Json:
    content = read_json(path)
    if not isinstance(content, dict) or not {"info", "images", "annotations"} <= content.keys():
        raise DataError(f"{path}: no COCO file (needs the keys info, images, annotations)")
    if content["images"] and "key" not in content["images"][0]:
        raise DataError(f"{path}: a COCO file, but not of masks made by this project (no 'key')")
    return content


def _info(spec: Mapping[str, Any], version: int, dataset: Mapping[str, Any]) -> Json:
    return {
        "cleave": __version__,
        "dataset": dict(dataset),
        "spec": dict(spec),
        "version": version,
    }


def _image(record: ImageRecord, notes: Mapping[str, float]) -> Json:
    image = {
        "id": record.number,
        "file_name": record.path,
        "height": record.height,
        "width": record.width,
        "key": record.id,
        "digest": record.digest,
    }
    return image | {"notes": {k: float(v) for k, v in notes.items()}} if notes else image


def _require_unique(numbers: Sequence[int], path: Path) -> None:
    ordered = np.sort(np.array(numbers, np.int64))
    if len(double := ordered[1:][ordered[1:] == ordered[:-1]]):
        raise DataError(f"{path}: image number {double[0]} occurs twice; is a shard given twice?")
