"""OpenImages: photos that its CSV of boxes names; only benchmarks read the boxes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import MinLen

from cleave.datasets.listed import Listed, named
from cleave.io.images import printable
from cleave.io.listing import Found, expanded, read_list, status
from cleave.spec import ConfigError
from cleave.types import DataError


@dataclass(frozen=True, kw_only=True)
class OpenImages(Listed):
    """OpenImages V6 (validation: 41,620 images): a folder of JPEGs and its CSV of boxes.

    The photos are the resized copies (at most 1,024 px a side) that OpenImages hands out: they
    carry no EXIF rotation, and boxes are given in their frame.
    """

    truth: ClassVar[Literal["boxes"]] = "boxes"

    images: Annotated[str, MinLen(1)]  # folder of IMAGE_ID.jpg
    annotations: Annotated[str, MinLen(1)]  # validation-annotations-bbox.csv
    list_file: str | None = None  # text file of image ids, one per line; without, those of the CSV

    @property
    def photos(self) -> Path:
        return expanded(self.images)

    def _kind(self) -> str:
        return "openimages"

    def _sources(self) -> list[str]:
        path = expanded(self.annotations)
        if not path.is_file():
            place = printable(path.absolute())
            raise ConfigError(f"annotations: there is no file {place}; check the spelling")
        parts = [status(path)]
        return parts if self.list_file is None else [*parts, *read_list(self.list_file)]

    def _files(self) -> Iterator[Found]:
        if self.list_file is not None:
            return named(map(str.strip, read_list(self.list_file)), ".jpg")
        return named(self._ids(), ".jpg")

    def _ids(self) -> Iterator[str]:
        """The first column of the CSV."""
        where = printable(self.annotations)
        try:
            with open(expanded(self.annotations), encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                if "ImageID" not in (reader.fieldnames or ()):
                    raise DataError(f"{where}: has no column ImageID")
                for line in reader:
                    yield line["ImageID"]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{where}: not a readable CSV file ({error})") from None
