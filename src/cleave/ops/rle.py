"""Masks to and from COCO's compressed run-length encoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cleave.types import Array, DataError


def encode(mask: Array) -> dict[str, Any]:
    """(H, W) bool to {"size": [H, W], "counts": str}; `counts` is text, ready for JSON."""
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def decode(rle: Mapping[str, Any]) -> Array:
    """{"size": [H, W], "counts": str} to (H, W) bool.

    pycocotools hands back uninitialised memory where counts that were cut short end, so this
    decodes by itself.

    Raises:
        DataError: size or counts are missing, or the counts are not text, not RLE, or do not fill
            the size exactly.
    """
    if np.shape(rle.get("size")) != (2,) or "counts" not in rle:
        raise DataError(f"RLE: expected size [H, W] and counts, got {dict(rle)!r:.80}")
    height, width = rle["size"]
    lengths = runs(rle["counts"])
    if lengths.sum() != height * width:
        raise DataError(f"RLE of {lengths.sum()} pixels for a mask of {height} x {width}")
    values = np.arange(len(lengths)) % 2 == 1  # the first run is background
    return np.ascontiguousarray(np.repeat(values, lengths).reshape(width, height).T)


def runs(counts: str) -> Array:
    """The run lengths in COCO's compressed text, background first: (R,) int64.

    Every number is written in base 32, low digit first, one character each: bit 5 says that more
    follow, bit 4 of the last is the sign. From the fourth on it is the difference to the run two
    before.

    Raises:
        DataError: not text, a character out of range, an unfinished number, or a negative run.
    """
    if not isinstance(counts, str):
        raise DataError(f"RLE: expected counts as text, got {type(counts).__name__}")
    digits = np.frombuffer(counts.encode("utf-8"), np.uint8).astype(np.int64) - ord("0")
    if len(digits) == 0 or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise DataError(f"RLE: not a run-length text: {counts!r:.80}")
    ends = np.flatnonzero((digits & 32) == 0)
    starts = np.r_[0, ends[:-1] + 1]
    places = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    if places.max() > 7:
        raise DataError(f"RLE: a run longer than any image: {counts!r:.80}")
    numbers = np.add.reduceat((digits & 31) << (5 * places), starts)
    numbers -= np.where(digits[ends] & 16, 1 << (5 * (places[ends] + 1)), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    if numbers.min() < 0:
        raise DataError(f"RLE: a run of negative length: {counts!r:.80}")
    return numbers
