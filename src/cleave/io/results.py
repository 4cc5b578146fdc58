"""Predictions as COCO results lists, of which one image at a time is in memory.

A detector says a hundred things about each image: 5,000 images are 200 MB of text, and as Python
objects nearly 1 GB. So the list is gone through once, to find where each image stands in it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cleave.io.atomic import require_whole
from cleave.io.coco import decode_annotations
from cleave.io.images import ImageRecord
from cleave.types import DataError, MaskSet

Json = dict[str, Any]
_MARK = re.compile(r"\s*([\[,\]])\s*")
_BLOCK = 1 << 22  # bytes of the file that are looked at together


class ResultFile(Mapping[str, MaskSet]):
    """Image id to MaskSet, read from the file and decoded when asked for."""

    def __init__(self, path: Path, records: Sequence[ImageRecord]):
        """Finds the results of each image.

        Args:
            path: of a list as `write_predictions`, or any detector of masks, writes it.
            records: every image of the data set; those without a result have no masks.

        Raises:
            DataError: not a results list, damaged, a result without a mask, or a result for an
                image that is not among the records.
        """
        self._path = Path(path)
        self._records = {record.id: record for record in records}
        self._places: dict[int, list[tuple[int, int]]] = defaultdict(list)  # first byte, past last
        before = None
        try:
            require_whole(self._path)
            for start, end, result in _results(self._path):
                if not {"image_id", "segmentation", "score"} <= result.keys():
                    raise ValueError("a result needs image_id, segmentation and score")
                places = self._places[result["image_id"]]
                if result["image_id"] == before:  # nothing but a comma is between them
                    start = places.pop()[0]
                places.append((start, end))
                before = result["image_id"]
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: not a list of COCO results ({error!r})") from None
        if strangers := self._places.keys() - {record.number for record in records}:
            raise DataError(
                f"{path}: results for image {min(strangers, key=str)}, not in the data set"
            )

    def __getitem__(self, image_id: str) -> MaskSet:
        """The masks of an image.

        Raises:
            DataError: the file was damaged; the text names it.
        """
        size = self._records[image_id].size
        try:
            return decode_annotations(self.annotations(image_id), size)
        except (DataError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self._path}: results of {image_id!r}: {error}; delete it to redo it"
            ) from None

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._records  # Mapping's own would decode the masks to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def annotations(self, image_id: str) -> list[Json]:
        """The results of one image in the order of the file, undecoded.

        Raises:
            DataError: a text that is no text.
        """
        found: list[Json] = []
        with open(self._path, "rb") as file:
            for start, end in self._places.get(self._records[image_id].number, ()):
                file.seek(start)
                try:
                    found += json.loads(b"[" + file.read(end - start) + b"]")
                except ValueError as error:
                    raise DataError(f"{self._path}: {error}; delete it to redo it") from None
        return [_with_extent(result) for result in found]


def _results(path: Path) -> Iterator[tuple[int, int, Json]]:
    """First byte, byte past the last, and content of each element of a JSON list."""
    scan, text, base, position, opening = json.JSONDecoder().raw_decode, "", 0, 0, True
    with open(path, "rb") as file:
        while True:
            try:
                mark = _MARK.match(text, position)
                if mark is None or (mark[1] == "[") != opening:
                    raise ValueError(f"no list at byte {base + position}")
                if mark[1] == "]" or (opening and text.startswith("]", mark.end())):
                    return
                result, end = scan(text, mark.end())
            except ValueError:
                block = file.read(_BLOCK)  # what stands there may go on behind what was read
                if not block:
                    raise
                # A character a byte keeps the places; what JSON is made of is the same in both.
                text, base, position = text[position:] + block.decode("latin-1"), base + position, 0
                continue
            yield base + mark.end(), base + end, result
            position, opening = end, False


def _with_extent(result: Json) -> Json:
    """A COCO result with `area` and `bbox`, which other detectors leave out."""
    from pycocotools import mask as coco

    result.pop("crc32", None)  # of the file, in its last result
    segmentation = result["segmentation"]
    result["score"] = float(result["score"])
    if "area" not in result:
        result["area"] = int(coco.area(segmentation))
    if "bbox" not in result:
        result["bbox"] = coco.toBbox(segmentation).tolist()
    return result
