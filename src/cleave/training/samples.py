"""What a detector trains on: every mask of a data set, held compactly, and one image at a time."""

from __future__ import annotations

import base64
import itertools
import logging
import zlib
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cleave.io.coco import MaskFile, read_masks
from cleave.io.images import ImageRecord
from cleave.ops import rle
from cleave.types import Array, DataError, Image, Size

log = logging.getLogger("cleave")

Read = Callable[[ImageRecord], Image]


@dataclass(frozen=True)
class Sample:
    """One image with its n masks, n at least 1, as they lie in the files."""

    pixels: Array  # (H, W, 3) uint8 RGB
    masks: Array  # (n, H, W) bool, none empty
    scores: Array  # (n,) float32 in [0, 1]
    labels: Array  # (n,) int64, 0 where the file has none
    trust: Array | None = None  # (n, h, w) float16 in [0, 1] on the patch grid
    id: str = ""


class Annotations:
    """The masks of all the shards of a data set: run lengths and compressed trust as in the files.

    Everything lies in a few flat buffers, for a Python object an annotation would alone exceed the
    4 GB that 1.3 million images may take. Images come in the order of their ids, whatever the
    shards. Those without a mask are left out, as detectron2 does (`filter_empty`), which CutLER
    trains with.
    """

    def __init__(self, paths: Iterable[Path]):
        """Reads mask files, one in memory at a time.

        Raises:
            DataError: no file, files of different specs, an image twice, a score outside [0, 1],
                or not one mask in all of them.
        """
        self.info: Mapping[str, Any] = {}
        self.empty: list[str] = []  # ids of the images without a mask
        self._texts = _Blobs()  # id, path and digest of each image
        self._shapes = array("q")  # height, width and number of each
        self._ends = array("q", [0])  # masks up to and with each image
        self._scores, self._labels = array("f"), array("i")
        self._counts, self._trust = _Blobs(), _Blobs()  # of each mask
        ids: list[str] = []
        for path in paths:
            records, masks = read_masks(path)
            self._agree(path, masks.info)
            for record in records:
                (ids if self._add(record, masks, path) else self.empty).append(record.id)
        self._order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
        self._require(ids)
        self.empty.sort()
        found = f"{len(self)} images with {len(self._scores)} masks"
        log.info("annotations: %s; %d images without a mask left out", found, len(self.empty))

    def __len__(self) -> int:
        """Number of images with a mask."""
        return len(self._order)

    @property
    def count(self) -> int:
        """Number of masks of all images."""
        return len(self._scores)

    @property
    def dataset(self) -> dict[str, Any]:
        """Spec of the data set that the images are of."""
        return dict(self.info["dataset"])

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers; Python's own overhead is a constant beside it."""
        arrays = (self._shapes, self._ends, self._scores, self._labels)
        blobs = (self._texts, self._counts, self._trust)
        return sum(len(a) * a.itemsize for a in arrays) + sum(b.nbytes for b in blobs)

    @property
    def pixel_bytes(self) -> int:
        """Bytes of all the images, decoded."""
        shapes = np.frombuffer(self._shapes, np.int64).reshape(-1, 3)
        return 3 * int((shapes[:, 0] * shapes[:, 1]).sum())

    def record(self, index: int) -> ImageRecord:
        """The image with the index-th id."""
        place = int(self._order[index])
        identity, path, digest = (
            self._texts[3 * place + k].decode("utf-8", "surrogatepass") for k in range(3)
        )
        height, width, number = self._shapes[3 * place : 3 * place + 3]
        return ImageRecord(identity, path, height, width, number, digest)

    def sample(self, index: int, read: Read) -> Sample:
        """Decodes an image and its masks.

        Args:
            index: in [0, len).
            read: gives the pixels of a record; a data set's own method.

        Raises:
            DataError: masks or trust that cannot be decoded, an image of another size than its
                masks, or whatever `read` raises.
        """
        record, place = self.record(index), int(self._order[index])
        pixels = read(record).pixels
        if pixels.shape[:2] != (record.height, record.width):
            raise DataError(
                f"image {record.id!r} is {pixels.shape[:2]} (height, width), "
                f"its masks {(record.height, record.width)}"
            )
        rows = range(self._ends[place], self._ends[place + 1])
        masks = np.stack([self._mask(row, record.size) for row in rows])
        scores = np.array(self._scores[rows.start : rows.stop], np.float32)
        labels = np.array(self._labels[rows.start : rows.stop], np.int64)
        return Sample(pixels, masks, scores, labels, self._maps(rows, record.id), record.id)

    def _add(self, record: ImageRecord, masks: MaskFile, path: Path) -> bool:
        """Takes in one image, and says whether it has a mask."""
        found = [a for a in masks.annotations(record.id) if a["area"] > 0]
        for annotation in found:
            if not 0 <= annotation["score"] <= 1:
                raise DataError(
                    f"{path}: image {record.id!r} has a mask of score {annotation['score']}; "
                    "training needs scores in [0, 1]"
                )
            self._scores.append(annotation["score"])
            self._labels.append(annotation.get("label", 0))
            self._counts.append(annotation["segmentation"]["counts"].encode("ascii"))
            self._trust.append(_pack_trust(annotation.get("trust")))
        if found:
            for text in (record.id, record.path, record.digest):
                self._texts.append(text.encode("utf-8", "surrogatepass"))
            self._shapes.extend((record.height, record.width, record.number))
            self._ends.append(len(self._scores))
        return bool(found)

    def _agree(self, path: Path, info: Mapping[str, Any]) -> None:
        self.info = self.info or info
        if info != self.info:
            raise DataError(f"{path}: made by another spec or version than the files before it")

    def _require(self, ids: list[str]) -> None:
        if not ids:
            raise DataError(
                f"nothing to train on: no mask in any of {len(self.empty)} images; "
                "look at the masks stage"
            )
        ordered = [ids[place] for place in self._order]
        for one, other in itertools.pairwise(ordered):
            if one == other:
                raise DataError(f"image {one!r} is in two mask files; is a shard given twice?")

    def _mask(self, row: int, size: Size) -> Array:
        return rle.decode({"size": list(size), "counts": self._counts[row].decode("ascii")})

    def _maps(self, rows: range, image_id: str) -> Array | None:
        """(n, h, w) float16; a mask without a map is trusted everywhere, and None if all are."""
        packed = [self._trust[row] for row in rows]
        maps = [_unpack_trust(blob, image_id) for blob in packed if blob]
        if not maps:
            return None
        if len({found.shape for found in maps}) > 1:
            raise DataError(f"image {image_id!r}: trust maps on different grids; remake the masks")
        known = iter(maps)
        return np.stack([next(known) if blob else np.ones_like(maps[0]) for blob in packed])


class _Blobs:
    """Byte strings one after another in one buffer."""

    def __init__(self):
        self._data, self._ends = bytearray(), array("q", [0])

    def append(self, blob: bytes) -> None:
        self._data += blob
        self._ends.append(len(self._data))

    def __getitem__(self, index: int) -> bytes:
        return bytes(self._data[self._ends[index] : self._ends[index + 1]])

    @property
    def nbytes(self) -> int:
        return len(self._data) + len(self._ends) * self._ends.itemsize


def _pack_trust(trust: Mapping[str, Any] | None) -> bytes:
    """Height and width, two bytes each, and the compressed levels of the file; b"" without."""
    if trust is None:
        return b""
    return np.array(trust["size"], "<u2").tobytes() + base64.b64decode(trust["counts"])


def _unpack_trust(blob: bytes, image_id: str) -> Array:
    """(h, w) float16, exactly as `cleave.io.coco` decodes it."""
    height, width = np.frombuffer(blob[:4], "<u2").tolist()
    try:
        levels = np.frombuffer(zlib.decompress(blob[4:]), np.uint8).reshape(height, width)
    except (zlib.error, ValueError) as error:
        raise DataError(f"image {image_id!r}: trust map cannot be read ({error})") from None
    return (levels.astype(np.float32) / 255).astype(np.float16)
