"""Class-agnostic COCO scores of pseudo-masks or predictions, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, MinLen

from cleave.benchmarks import bootstrap, corloc, hierarchy, published
from cleave.benchmarks.baselines import CEILINGS
from cleave.benchmarks.matches import (
    AREAS,
    FEW,
    THRESHOLDS,
    Matches,
    Part,
    average_precision,
    average_recall,
    join,
    match_some,
    recalled,
)
from cleave.benchmarks.result import Result, annotations, require_truth, scored_images
from cleave.benchmarks.truth import Truth
from cleave.spec import ConfigError, nearest
from cleave.types import Array, MaskSet, Scores

_IMAGES = 1000  # looked at together: bounds the memory
AP_CAP = 100  # COCO's AP and size-binned AR are defined at 100 detections, whatever else is asked
SIZES = AREAS[1:]
Ratio = tuple[Array, Array]  # (I,) numerators and denominators of a metric that is a pooled mean


@dataclass(frozen=True, kw_only=True)
class CocoBenchmark:
    """Class-agnostic AP and AR for boxes and masks, mean best IoU, CorLoc; all in per cent.

    Metrics are named `<mask|box>_<AP|AP50|AP75|AP_S|AP_M|AP_L|AR<n>|AR_S|AR_M|AR_L|AR3_1pct|
    best_iou|best_iou_1pct>`, `CorLoc`, `masks_per_image`; `images` and `objects` are counts.
    `best_iou` is the mean over all objects of the IoU with their best detection. `_1pct` counts the
    objects above 1 % of their image alone; what is smaller is ignored, as COCO ignores crowds.
    Every image of the truth counts, also one without predictions.

    With `hierarchy` also `<mask|box>_AR1000_<S|M|L>` and, for methods whose masks have parents,
    the recall of the masks of one level alone: `<mask|box>_AR1000_level<0|1|2|3>`, 0 for roots and
    3 with all that is deeper, beside `masks_per_image_level<n>`.
    """

    iou_types: Annotated[tuple[Literal["box", "mask"], ...], MinLen(1)] = ("box", "mask")
    max_dets: Annotated[tuple[Annotated[int, Gt(0)], ...], MinLen(1)] = (
        *(1, 10, 100),  # pycocotools; CutLER, train_net.py:67-68
        FEW,
        1000,  # UnSAM, arXiv 2406.20081: never to be mixed with AR100
    )
    bootstrap: Annotated[int, Ge(0)] = 1000  # resamples of the images; 0 for no intervals
    seed: Annotated[int, Ge(0)] = 0
    # Rows beside the methods, that look at nothing or at the truth: see benchmarks.baselines.
    baselines: tuple[Literal["centre_box", "ideal_features", "patch_truth", "whole_image"], ...] = (
        *("whole_image", "centre_box"),
        *("patch_truth", "ideal_features"),
    )
    published: str = ""  # a data set of published.csv, to print its numbers beside these
    hierarchy: bool = False  # AR1000 by size and by level: see benchmarks.hierarchy
    # A row of the table: all others get their paired differences to it, with intervals.
    against: str = ""

    def __post_init__(self):
        if self.against and not self.bootstrap:
            raise ConfigError("against: differences need resamples; write a bootstrap above 0")
        if self.published and self.published not in published.datasets():
            raise ConfigError(
                f"published: no data set {self.published!r} in the published numbers; "
                f"{nearest(self.published, published.datasets())}"
            )

    def check_truth(self, truth: str | None) -> None:
        """Refuses what a data set has no labels for, before anything is computed.

        Args:
            truth: what the data set labels, "masks" or "boxes"; None for no labels.

        Raises:
            ConfigError: no labels, or masks asked for where only boxes are labelled.
        """
        require_truth(truth)
        if truth == "masks":
            return
        wrong = ["iou_types: [box]"] if "mask" in self.iou_types else []
        if {*CEILINGS} & {*self.baselines}:
            kept = ", ".join(name for name in self.baselines if name not in CEILINGS)
            wrong.append(f"baselines: [{kept}]")
        if wrong:
            raise ConfigError(f"dataset: it labels boxes only; write {' and '.join(wrong)}")

    def __call__(self, truths: Mapping[str, Truth], predicted: Mapping[str, MaskSet]) -> Scores:
        """Metric to per cent, with intervals."""
        return self.evaluate(truths, predicted).scores

    def evaluate(self, truths: Mapping[str, Truth], predicted: Mapping[str, MaskSet]) -> Result:
        """Scores a method.

        Args:
            truths: image id to truth; all of them are evaluated.
            predicted: image id to masks; an image that is missing has none. A `MaskFile` or
                `ResultFile` is scored from its RLE, without decoding.

        Raises:
            DataError: no images, predictions for an image without truth, or of another size.
        """
        images = scored_images(truths, predicted)
        labels = [truths[image] for image in images]
        caps = sorted({*self.max_dets, AP_CAP, *([hierarchy.CAP] if self.hierarchy else [])})
        matches, ratios = self._match(images, labels, predicted, caps[-1])
        once = np.ones((1, len(images)), np.int32)
        values = {name: found[0] for name, found in _metrics(matches, ratios, caps, once).items()}
        values["images"] = float(len(images))
        values["objects"] = float(sum((~truth.crowd).sum() for truth in labels))
        weights = bootstrap.resamples(len(images), self.bootstrap, self.seed)
        samples = _metrics(matches, ratios, caps, weights) if self.bootstrap else {}
        best = matches["mask" if "mask" in matches else "box"].best_iou
        quality = {
            image: 100.0 * float(best[i].mean()) for i, image in enumerate(images) if len(best[i])
        }
        return Result(images, values, samples, quality)

    def _match(
        self,
        images: Sequence[str],
        truths: Sequence[Truth],
        predicted: Mapping[str, MaskSet],
        cap: int,
    ) -> tuple[dict[str, Matches], dict[str, Ratio]]:
        """What was hit, by kind, and the metrics that need no order of the detections."""
        parts: dict[str, list[Part]] = {kind: [] for kind in self.iou_types}
        right, numbers = [], []
        levels = hierarchy.Levels(self.iou_types) if self.hierarchy else None
        for start in range(0, len(images), _IMAGES):
            some = truths[start : start + _IMAGES]
            found = [
                annotations(predicted, image, truth.size)
                for image, truth in zip(images[start : start + _IMAGES], some, strict=True)
            ]
            for kind, matched in parts.items():
                matched.append(match_some(some, found, kind, cap, start))
            right += [corloc.correct(*pair) for pair in zip(some, found, strict=True)]
            numbers += [len(one) for one in found]
            if levels:
                levels.add(some, found)
        matches = {kind: join(matched) for kind, matched in parts.items()}
        ratios = _ratios(truths, right, numbers, matches)
        return matches, ratios | (levels.ratios(matches) if levels else {})


def _ratios(
    truths: Sequence[Truth],
    right: Sequence[bool],
    numbers: Sequence[int],
    matches: Mapping[str, Matches],
) -> dict[str, Ratio]:
    """The metrics that are a sum over images divided by another one.

    Args:
        truths, right, numbers: of each image its labels, whether its best detection is on an
            object, and how many detections it has.
        matches: by kind.
    """
    counted = np.array([corloc.counts(truth) for truth in truths], bool)
    ratios = {
        "CorLoc": (100.0 * (counted & np.array(right, bool)), counted),
        "masks_per_image": (np.array(numbers), np.ones(len(truths))),
    }
    for kind, found in matches.items():
        for name, share in (("best_iou", 0.0), ("best_iou_1pct", 0.01)):
            large = [(t.areas > share * t.size.height * t.size.width)[~t.crowd] for t in truths]
            sums = [100.0 * b[keep].sum() for b, keep in zip(found.best_iou, large, strict=True)]
            objects = np.array([keep.sum() for keep in large])
            ratios[f"{kind}_{name}"] = np.array(sums), objects
        hits = [recalled(few[:, keep]) for few, keep in zip(found.leading, large, strict=True)]
        ratios[f"{kind}_AR{FEW}_1pct"] = 100.0 * np.array(hits), objects
    return ratios


def _metrics(
    matches: Mapping[str, Matches], ratios: Mapping[str, Ratio], caps: list[int], weights: Array
) -> dict[str, Array]:
    """Every metric on every weighting of the images: name to (S,) per cent, NaN if undefined."""
    metrics = {}
    for kind, found in matches.items():
        precision = 100.0 * average_precision(found, weights, AP_CAP)  # (S, A, T)
        metrics[f"{kind}_AP"] = precision[:, 0].mean(-1)
        for percent in (50, 75):
            t = int(np.argmin(np.abs(THRESHOLDS - percent / 100)))
            metrics[f"{kind}_AP{percent}"] = precision[:, 0, t]
        recall = {cap: 100.0 * average_recall(found, weights, cap).mean(-1) for cap in caps}
        for cap in caps:
            metrics[f"{kind}_AR{cap}"] = recall[cap][:, 0]
        for a, size in enumerate(SIZES, 1):
            metrics[f"{kind}_AP_{size}"] = precision[:, a].mean(-1)
            metrics[f"{kind}_AR_{size}"] = recall[AP_CAP][:, a]
    for name, (numerator, denominator) in ratios.items():
        top, bottom = (weights @ part.astype(np.float64) for part in (numerator, denominator))
        undefined = np.full(len(weights), np.nan)
        metrics[name] = np.divide(top, bottom, out=undefined, where=bottom > 0)
    return metrics
