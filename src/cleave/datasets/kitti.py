"""KITTI's object benchmark: frames of a car's camera; only benchmarks read the labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import MinLen

from cleave.datasets.listed import Listed, folder_fingerprint, named
from cleave.io.listing import Found, expanded, folder, read_list, status, walk


@dataclass(frozen=True, kw_only=True)
class Kitti(Listed):
    """KITTI object, training (7,481 images): a folder of PNGs and one of label files.

    Every class counts as an object; DontCare regions are ignored like crowds.
    """

    truth: ClassVar[Literal["boxes"]] = "boxes"

    images: Annotated[str, MinLen(1)]  # training/image_2
    annotations: Annotated[str, MinLen(1)]  # training/label_2, NAME.txt beside image_2/NAME.png
    list_file: str | None = None  # text file naming the images, one per line; without, all

    @property
    def photos(self) -> Path:
        return expanded(self.images)

    def label_fingerprint(self) -> str:
        """A text that changes with the label files, which it does not open."""
        return folder_fingerprint(expanded(self.annotations), "annotations")

    def _kind(self) -> str:
        return "kitti"

    def _sources(self) -> list[str]:
        return [] if self.list_file is None else [status(expanded(self.list_file))]

    def _files(self) -> Iterator[Found]:
        if self.list_file is None:
            return walk(folder(self.photos, "images"))
        return named(map(str.strip, read_list(self.list_file)), ".png")
