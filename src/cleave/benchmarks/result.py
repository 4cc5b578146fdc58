"""What every benchmark takes and gives: the annotations of an image, and scores with resamples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cleave.benchmarks import bootstrap
from cleave.io.coco import MaskFile, encode_annotations
from cleave.io.results import ResultFile
from cleave.types import Array, DataError, MaskSet, Scores, Size


@dataclass(frozen=True)
class Result:
    """Scores of one method on I images, and what comparing it with another one needs."""

    images: tuple[str, ...]
    values: Mapping[str, float]  # metric -> per cent, or a count; NaN where not defined
    samples: Mapping[str, Array]  # metric -> (S,) values on the bootstrap resamples
    quality: Mapping[str, float]  # image -> mean best IoU of its objects, per cent; none without

    @property
    def scores(self) -> Scores:
        """Metrics with `_low` and `_high`; one that is not defined (no such object) is missing."""
        return bootstrap.with_intervals(self.values, self.samples)

    def minus(self, other: Result) -> Scores:
        """Paired differences to another method on the same images.

        Raises:
            DataError: other images or other resamples.
        """
        if self.images != other.images:
            raise DataError("a paired difference needs two methods scored on the same images")
        return bootstrap.difference(self.values, other.values, self.samples, other.samples)


def annotations(predicted: Mapping[str, MaskSet], image: str, size: Size) -> list[dict[str, Any]]:
    """The predictions of one image as COCO annotations; none where it is missing.

    Args:
        predicted: image id to masks; those of a `MaskFile` or `ResultFile` are not decoded.
        size: of the truth.

    Raises:
        DataError: masks of another size.
    """
    if image not in predicted:
        return []
    raw = isinstance(predicted, MaskFile | ResultFile)
    found = predicted.annotations(image) if raw else encode_annotations(predicted[image])
    sizes = {tuple(annotation["segmentation"]["size"]) for annotation in found}
    if wrong := sizes - {tuple(size)}:
        raise DataError(f"{image!r}: masks of size {min(wrong)}, the truth has {tuple(size)}")
    return found
