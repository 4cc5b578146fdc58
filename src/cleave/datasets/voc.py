"""Pascal VOC: photos that the lists of its splits name; only benchmarks read its labels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen

from cleave.datasets.listed import Listed, folder_fingerprint, named
from cleave.io.images import printable
from cleave.io.listing import Found, expanded, folder, read_list
from cleave.spec import ConfigError, nearest

_OF_A_CLASS = re.compile(r"\s-?[01]\s*$")  # 000005 -1: whether the class is in the image


@dataclass(frozen=True, kw_only=True)
class Voc(Listed):
    """Pascal VOC in its own layout: JPEGImages, ImageSets, Annotations, SegmentationObject.

    With boxes as truth the splits are those of ImageSets/Main (VOC07: trainval 5,011 and test
    4,952 images), with masks those of ImageSets/Segmentation (VOC12: trainval 2,913).
    """

    root: Annotated[str, MinLen(1)]  # the folder of a year, like VOCdevkit/VOC2007
    splits: Annotated[tuple[str, ...], MinLen(1)] = ("trainval",)  # names of lists, joined
    truth: Literal["boxes", "masks"] = "boxes"
    # Objects marked difficult: ignored like crowds in AP and AR (our default, CutLER says nothing)
    # or objects like others. CorLoc counts them in both cases, as LOST does. Boxes only.
    difficult: Literal["ignore", "count"] = "ignore"

    @property
    def photos(self) -> Path:
        return expanded(self.root) / "JPEGImages"

    def label_fingerprint(self) -> str:
        """A text that changes with the label files, which it does not open."""
        name = "SegmentationObject" if self.truth == "masks" else "Annotations"
        return folder_fingerprint(expanded(self.root) / name, "root")

    def _kind(self) -> str:
        return "voc"

    def _sources(self) -> list[str]:
        return list(self._names())

    def _files(self) -> Iterator[Found]:
        return named(self._names(), ".jpg")

    def _names(self) -> Iterator[str]:
        """Names without suffix, split by split."""
        lists = expanded(self.root) / "ImageSets"
        lists = folder(lists / ("Segmentation" if self.truth == "masks" else "Main"), "root")
        for split in self.splits:
            path = lists / f"{split}.txt"
            if not path.is_file():
                known = (found.stem for found in lists.glob("*.txt") if "_" not in found.stem)
                raise ConfigError(f"splits: no list {printable(path)}; {nearest(split, known)}")
            for line in read_list(path):
                if _OF_A_CLASS.search(line):
                    raise ConfigError(
                        f"splits: {printable(path)}: {line!r} is not the name of an image; the "
                        "lists of single classes cannot be used"
                    )
                yield line.strip()
