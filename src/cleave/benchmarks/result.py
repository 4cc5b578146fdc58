"""What every benchmark takes and gives: the annotations of an image, and scores with resamples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cleave.benchmarks import bootstrap
from cleave.io.coco import MaskFile, encode_annotations
from cleave.io.results import ResultFile
from cleave.spec import ConfigError
from cleave.types import Array, DataError, MaskSet, Scores, Size

if TYPE_CHECKING:
    from cleave.benchmarks.truth import Truth


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


def require_truth(truth: str | None) -> None:
    """Refuses a data set without labels, before anything is computed.

    Raises:
        ConfigError: `truth`, what it labels, is None.
    """
    if truth is None:
        raise ConfigError("dataset: it has no ground truth, so nothing can be scored on it")


def scored_images(truths: Mapping[str, Truth], predicted: Mapping[str, MaskSet]) -> tuple[str, ...]:
    """The images to score on, sorted: all that have a truth.

    Raises:
        DataError: none, or predictions for an image without truth.
    """
    if not truths:
        raise DataError("no images to score on")
    images = tuple(sorted(truths))
    if strangers := sorted(set(predicted) - set(images)):
        raise DataError(f"predictions for {strangers[0]!r}, an image without truth")
    return images


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
