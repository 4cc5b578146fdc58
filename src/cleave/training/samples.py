"""What a detector trains on: every mask of a data set, held compactly, and one image at a time."""

from __future__ import annotations

import base64
import itertools
import logging
import struct
import zlib
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cleave.io.coco import MaskFile, read_masks
from cleave.io.images import ImageRecord
from cleave.ops import rle
from cleave.types import Array, DataError, Image

log = logging.getLogger("cleave")

_HEAD = struct.Struct("<HHI")  # height, width and compressed length of a trust map

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
    """The masks of all the shards of a data set, as compressed run lengths and trust maps.

    Everything lies in a few flat buffers, for a Python object an annotation would alone exceed the
    4 GB that 1.3 million images may take, and the run lengths of an image are deflated together:
    masks with a CRF's ragged border take 1.8 kB each as COCO has them. Images come in the order of
    their ids, whatever the shards. Those without a mask are left out, as detectron2 does for
    CutLER (`FILTER_EMPTY_ANNOTATIONS`).
    """

    def __init__(self, paths: Iterable[Path]):
        """Reads mask files, one in memory at a time.

        Raises:
            DataError: no file, files of different specs, an image twice, a score outside [0, 1],
                or not one mask in all of them.
        """
        self.info: Mapping[str, Any] = {}
        self.empty: list[str] = []  # ids of the images without a mask
        self._texts, self._counts, self._trust = _Blobs(), _Blobs(), _Blobs()  # of each image
        self._sides, self._numbers = array("I"), array("q")  # height, width; COCO number
        self._ends = array("q", [0])  # masks up to and with each image
        self._scores, self._labels = array("f"), array("i")  # of each mask
        ids: list[str] = []
        for path in paths:
            records, masks = read_masks(path)
            self._agree(path, masks.info)
            for record in records:
                (ids if self._add(record, masks, path) else self.empty).append(record.id)
        self._order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
        self._require(ids)
        self.empty.sort()
        found = f"{len(self)} images with {self.count} masks"
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
        arrays = (self._sides, self._numbers, self._ends, self._scores, self._labels)
        blobs = (self._texts, self._counts, self._trust)
        held = sum(len(a) * a.itemsize for a in arrays) + sum(b.nbytes for b in blobs)
        return held + self._order.nbytes

    @property
    def pixel_bytes(self) -> int:
        """Bytes of all the images, decoded."""
        sides = np.frombuffer(self._sides, np.uint32).astype(np.int64)
        return 3 * int((sides[0::2] * sides[1::2]).sum())

    def record(self, index: int) -> ImageRecord:
        """The image with the index-th id."""
        place = int(self._order[index])
        identity, path, digest = self._texts[place].decode("utf-8", "surrogatepass").split("\0")
        height, width = self._sides[2 * place : 2 * place + 2]
        return ImageRecord(identity, path, height, width, self._numbers[place], digest)

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
        size = [record.height, record.width]
        counts = zlib.decompress(self._counts[place]).decode("ascii").split("\n")
        masks = np.stack([rle.decode({"size": size, "counts": text}) for text in counts])
        rows = slice(self._ends[place], self._ends[place + 1])
        scores = np.array(self._scores[rows], np.float32)
        labels = np.array(self._labels[rows], np.int64)
        trust = _unpack_trust(self._trust[place], record.id)
        return Sample(pixels, masks, scores, labels, trust, record.id)

    def _add(self, record: ImageRecord, masks: MaskFile, path: Path) -> bool:
        """Takes in one image, and says whether it has a mask."""
        found = [a for a in masks.annotations(record.id) if a["area"] > 0]
        if not found:
            return False
        for annotation in found:
            if not 0 <= annotation["score"] <= 1:
                raise DataError(
                    f"{path}: image {record.id!r} has a mask of score {annotation['score']}; "
                    "training needs scores in [0, 1]"
                )
        text = "\0".join((record.id, record.path, record.digest))
        counts = "\n".join(a["segmentation"]["counts"] for a in found)
        self._texts.append(text.encode("utf-8", "surrogatepass"))
        self._counts.append(zlib.compress(counts.encode("ascii")))
        self._trust.append(_pack_trust([a.get("trust") for a in found]))
        self._sides.extend((record.height, record.width))
        self._numbers.append(record.number)
        self._scores.extend(a["score"] for a in found)
        self._labels.extend(a.get("label", 0) for a in found)
        self._ends.append(len(self._scores))
        return True

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
        for one, other in itertools.pairwise(ids[place] for place in self._order):
            if one == other:
                raise DataError(f"image {one!r} is in two mask files; is a shard given twice?")


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


def _pack_trust(maps: Sequence[Mapping[str, Any] | None]) -> bytes:
    """For each mask height, width, length and the compressed levels of the file; b"" if no map."""
    if not any(maps):
        return b""
    packed = []
    for found in maps:
        levels = base64.b64decode(found["counts"]) if found else b""
        packed.append(_HEAD.pack(*(found["size"] if found else (0, 0)), len(levels)) + levels)
    return b"".join(packed)


def _unpack_trust(packed: bytes, image_id: str) -> Array | None:
    """(n, h, w) float16, exactly as `cleave.io.coco` decodes it; None if no mask has a map.

    Where some have one, the others are trusted everywhere, as a detector's own masks are.
    """
    maps: list[Array | None] = []
    while packed:
        height, width, length = _HEAD.unpack_from(packed)
        levels, packed = packed[_HEAD.size : _HEAD.size + length], packed[_HEAD.size + length :]
        maps.append(_levels(levels, (height, width), image_id) if length else None)
    known = [found for found in maps if found is not None]
    if len({found.shape for found in known}) > 1:
        raise DataError(f"image {image_id!r}: trust maps on different grids; remake the masks")
    if not known:
        return None
    return np.stack([np.ones_like(known[0]) if found is None else found for found in maps])


def _levels(compressed: bytes, grid: tuple[int, int], image_id: str) -> Array:
    try:
        levels = np.frombuffer(zlib.decompress(compressed), np.uint8).reshape(grid)
    except (zlib.error, ValueError) as error:
        raise DataError(f"image {image_id!r}: trust map cannot be read ({error})") from None
    return (levels.astype(np.float32) / 255).astype(np.float16)
