"""CorLoc: does the best box of an image lie on an object?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cleave.benchmarks.truth import Truth
from cleave.ops.iou import box_iou
from cleave.types import Array


def correct(truth: Truth, detections: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the detection of highest score has a box IoU >= .5 with any object.

    LOST (arXiv 2109.14279; main_lost.py:323-326, datasets.py:231-279): crowds are no objects,
    VOC's difficult ones are, the boxes of the truth are rounded to whole pixels, areas are
    x1 - x0 times y1 - y0. On equal scores the first detection counts. An image without a
    detection is wrong.
    """
    if not detections:
        return False
    best = max(detections, key=lambda detection: detection["score"])  # the first of equals
    x, y, width, height = best["bbox"]
    boxes = np.round(truth.boxes[_objects(truth)])
    return bool((box_iou(np.array([[x, y, x + width, y + height]]), boxes) >= 0.5).any())


def counts(truth: Truth) -> bool:
    """Whether an image has an object to find; without one it is left out of CorLoc.

    LOST's lists hold no such image but in VOC's "no_hard" setting, which skips them too.
    """
    return bool(_objects(truth).any())


def _objects(truth: Truth) -> Array:
    """(G,) bool: what is an object to LOST."""
    return ~truth.crowd | truth.difficult
