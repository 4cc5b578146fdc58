"""What a reader of labels gives: the labelled instances of one image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cleave.ops import rle
from cleave.ops.boxes import bounds
from cleave.types import Array, DataError, Size

Json = dict[str, Any]
log = logging.getLogger("cleave")


@dataclass(frozen=True)
class Truth:
    """The G labelled instances of one image; masks are kept as RLE and decoded on demand.

    A crowd is a region of things that nobody separated: it is ignored when masks are matched and
    never counts as an object (evaluation protocol of COCO, `iscrowd`). A group box, a DontCare
    region and a void border are crowds too. A difficult object is one that matching ignores like a
    crowd but that CorLoc counts (LOST, arXiv 2109.14279, datasets.py:251-279).
    """

    size: Size
    boxes: Array  # (G, 4) float64, x0 y0 x1 y1 in pixels with exclusive ends
    areas: Array  # (G,) float64 pixels, as annotated: decides the size bin
    crowd: Array  # (G,) bool
    categories: tuple[str, ...]  # names, for the reader's eyes; no metric looks at them
    segmentations: tuple[Json, ...] | None  # compressed RLE; None where only boxes are labelled
    difficult: Array = field(default_factory=lambda: np.zeros(0, bool))  # (G,) bool, of the crowds

    def __post_init__(self):
        if not len(self.difficult):
            object.__setattr__(self, "difficult", np.zeros(len(self.boxes), bool))

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
            rows, columns = bounds(mask)
            boxes[i] = columns.start, rows.start, columns.stop, rows.stop
        return cls(
            size,
            boxes,
            masks.sum((1, 2)).astype(np.float64),
            np.zeros(len(masks), bool) if crowd is None else np.asarray(crowd, bool),
            tuple(categories),
            tuple(rle.encode(mask) for mask in masks),
        )

    @classmethod
    def of_boxes(
        cls,
        where: str,
        size: Size,
        boxes: Sequence[Sequence[float]],
        categories: Sequence[str],
        crowd: Sequence[bool],
        difficult: Sequence[bool] | None = None,
    ) -> Truth:
        """Truth of boxes alone, cut at the border of the image; the area is the box's.

        Args:
            where: file and image, for messages.
            size: of the image.
            boxes: (G, 4) x0 y0 x1 y1 in pixels with exclusive ends, as annotated.
            categories, crowd, difficult: of each box; a difficult one is matched like a crowd.

        Raises:
            DataError: a box that is not finite, or that ends before it begins.
        """
        found = np.array(boxes, np.float64).reshape(-1, 4)
        wrong = ~np.isfinite(found).all(1) | (found[:, 2:] < found[:, :2]).any(1)
        if wrong.any():
            box = found[wrong.argmax()].tolist()
            raise DataError(f"{where}: the box {box} ends before it begins, or is no box at all")
        hard = np.zeros(len(found), bool) if difficult is None else np.array(difficult, bool)
        inside = found.clip(0, [size.width, size.height, size.width, size.height])
        areas = (inside[:, 2:] - inside[:, :2]).prod(1)
        if (areas == 0).any():  # as an object it could never be found: named, and left out
            first = found[(areas == 0).argmax()].tolist()
            log.warning("%s: %d boxes without area, like %s", where, (areas == 0).sum(), first)
        kept = areas > 0
        ignored = np.array(crowd, bool).reshape(-1) | hard
        names = tuple(name for name, keep in zip(categories, kept, strict=True) if keep)
        return cls(size, inside[kept], areas[kept], ignored[kept], names, None, hard[kept])
