"""How well features tell instances apart: recall against the number of clusters, and merging."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from cleave.benchmarks import bootstrap, corloc
from cleave.benchmarks.matches import THRESHOLDS
from cleave.benchmarks.result import Result, annotations, require_truth, scored_images
from cleave.benchmarks.truth import Truth
from cleave.ops import components, rle
from cleave.spec import ConfigError
from cleave.types import Array, DataError, MaskSet, Scores

SPLITS = ("single", "multi")  # the only object of its class in the image, or one of several
NO_K = 0  # of masks without labels, which are one set
Ratio = tuple[Array, Array]  # (I,) numerators and denominators of a pooled mean

log = logging.getLogger("cleave")


@dataclass(frozen=True)
class _Compared:
    """What the masks of one image make of its objects, by k."""

    alone: Array  # (G,) bool: the only object of its class; crowds are no objects
    best: Mapping[int, Array]  # (G,) IoU with the best mask
    pairs: Mapping[int, int]  # ordered pairs of one class of which some mask meets the first
    merged: Mapping[int, int]  # of these, those whose first one's best mask covers the second
    masks: int
    saliency: tuple[float, bool] | None = None  # IoU and CorLoc; None without objects or without S


@dataclass(frozen=True, kw_only=True)
class Instanceness:
    """The instance-ness study of arXiv 2311.14665: recall of objects against the clusters' number.

    The paper's definitions are not known (no code, no text at hand), so these are ours. Masks have
    the number of clusters k as label, as `spectral_clusters` writes them; masks without labels,
    those of any other method, are one set. All in per cent, for each k as `<metric>_k<k>`:

    - `recall50_<single|multi>`: objects whose best mask has an IoU of at least `threshold`; those
      that are the only one of their class in the image, and those of which there are several. A
      crowd of the class is company. `recall_<...>` is its mean over IoU .50 to .95.
    - `merge_error`: of ordered pairs of objects of one class in one image, the first of which is
      met by a mask at all, those where the first one's best mask covers at least `covered` of the
      second. The lower the better.

    Without `_k<k>` a recall is that of the best k, chosen on the data set, and `merge_error` that
    at the best k of `recall50_multi`. `saliency_iou` is the mean IoU of the largest object with
    what is salient at `saliency_k` clusters: the union of the masks of score above a half, whose
    clusters hold less than half of the border; of masks without labels, the best-scored one.
    `saliency_CorLoc` is the share of images in which the box of its largest component has an IoU of
    at least .5 with an object's.

    Where a data set has one class for everything, `single` means alone in the image.
    """

    threshold: Annotated[float, Gt(0), Le(1)] = 0.5  # IoU; ours
    covered: Annotated[float, Gt(0), Le(1)] = 0.5  # share of the second object; ours
    saliency_k: Annotated[int, Ge(2)] = 2  # second-hand (note)
    bootstrap: Annotated[int, Ge(0)] = 1000  # resamples of the images; 0 for no intervals
    seed: Annotated[int, Ge(0)] = 0
    baselines: tuple[Literal["centre_box", "patch_truth", "whole_image"], ...] = ()

    def check_truth(self, truth: str | None) -> None:
        """Refuses what a data set has no labels for, before anything is computed.

        Args:
            truth: what the data set labels, "masks" or "boxes"; None for no labels.

        Raises:
            ConfigError: no labels, or boxes only.
        """
        require_truth(truth)
        if truth != "masks":
            raise ConfigError(
                "dataset: it labels boxes only, and whether instances are told apart is seen in "
                "masks; name a data set with masks, or use a benchmark of kind coco"
            )

    def __call__(self, truths: Mapping[str, Truth], predicted: Mapping[str, MaskSet]) -> Scores:
        """Metric to per cent, with intervals."""
        return self.evaluate(truths, predicted).scores

    def evaluate(self, truths: Mapping[str, Truth], predicted: Mapping[str, MaskSet]) -> Result:
        """Scores a method.

        Args:
            truths: image id to truth; all of them are evaluated.
            predicted: image id to masks, with k as labels or without labels.

        Raises:
            DataError: no images, predictions for an image without truth, or of another size.
        """
        images = scored_images(truths, predicted)
        _warn_of_one_class(truths.values())
        compared = [self._compare(image, truths[image], predicted) for image in images]
        metrics = _Metrics(compared, self.threshold)
        once = np.ones((1, len(images)), np.int32)
        values = {name: float(found[0]) for name, found in metrics(once).items()}
        alone = np.concatenate([one.alone for one in compared])
        values |= {
            "images": float(len(images)),
            "objects": float(len(alone)),
            "objects_single": float(alone.sum()),
            "objects_multi": float((~alone).sum()),
        }
        weights = bootstrap.resamples(len(images), self.bootstrap, self.seed)
        samples = metrics(weights) if self.bootstrap else {}
        return Result(images, values, samples, _quality(images, compared))

    def _compare(self, image: str, truth: Truth, predicted: Mapping[str, MaskSet]) -> _Compared:
        from pycocotools import mask as coco

        found = annotations(predicted, image, truth.size)
        if truth.segmentations is None:
            raise DataError(f"{image!r}: labels boxes only, and this benchmark compares masks")
        objects = np.flatnonzero(~truth.crowd)
        names = np.array(truth.categories, object)
        alike = names[objects][:, None] == names[objects]
        alone = (names[objects][:, None] == names).sum(1) == 1
        masks = [annotation["segmentation"] for annotation in found]
        things = [truth.segmentations[i] for i in objects]
        best, pairs, merged = {}, {}, {}
        if masks and things:
            iou = coco.iou(masks, things, [0] * len(things))  # (M, G)
            cover = coco.iou(things, masks, [1] * len(masks))  # (G, M) share of the object
            np.fill_diagonal(alike, False)
            for k, rows in _by_k(found).items():
                best[k], chosen = iou[rows].max(0), rows[iou[rows].argmax(0)]
                some = alike & (best[k] > 0)[:, None]  # first of the pair, second
                pairs[k] = int(some.sum())
                over = np.greater_equal(cover[:, chosen].T, self.covered)
                merged[k] = int((some & over).sum())
        saliency = self._saliency(truth, found) if things else None
        return _Compared(alone, best, pairs, merged, len(masks), saliency)

    def _saliency(
        self, truth: Truth, found: Sequence[Mapping[str, Any]]
    ) -> tuple[float, bool] | None:
        """IoU with the largest object, and whether the box lies on any; None if k is not there."""
        from pycocotools import mask as coco

        if found and all("label" in annotation for annotation in found):
            asked = [a for a in found if a["label"] == self.saliency_k]
            if not asked:
                return None
            salient = [a["segmentation"] for a in asked if a["score"] > 0.5]
        else:
            salient = [a["segmentation"] for a in sorted(found, key=lambda a: -a["score"])[:1]]
        if not salient:
            return 0.0, False
        union = coco.merge(salient)
        largest = max(np.flatnonzero(~truth.crowd), key=lambda i: truth.areas[i])
        iou = coco.iou([union], [truth.segmentations[largest]], [0])[0, 0]
        mask = rle.decode({"size": union["size"], "counts": union["counts"].decode("ascii")})
        parts = components.components(mask)
        box = coco.toBbox(coco.encode(np.asfortranarray(parts[0], np.uint8))).tolist()
        return float(iou), corloc.correct(truth, [{"bbox": box, "score": 1.0}])


def _warn_of_one_class(truths) -> None:
    names = {
        name
        for truth in truths
        for name, crowd in zip(truth.categories, truth.crowd, strict=True)
        if not crowd
    }
    if len(names) == 1:
        log.warning(
            "instanceness: all objects are of one class (%r), so `single` are those that are "
            "alone in their image",
            next(iter(names)),
        )


def _by_k(found: Sequence[Mapping[str, Any]]) -> dict[int, Array]:
    """Indices of the masks of each k, ascending; all of them where some have no label."""
    if not all("label" in annotation for annotation in found):
        return {NO_K: np.arange(len(found))}
    labels = np.array([annotation["label"] for annotation in found])
    return {int(k): np.flatnonzero(labels == k) for k in np.unique(labels)}


def _quality(images: Sequence[str], compared: Sequence[_Compared]) -> dict[str, float]:
    """Image to the mean best IoU of its objects over all masks, per cent."""
    return {
        image: 100.0 * float(np.max(list(one.best.values()), axis=0).mean() if one.best else 0.0)
        for image, one in zip(images, compared, strict=True)
        if len(one.alone)
    }


@dataclass(frozen=True)
class _Metrics:
    """Every metric on any weighting of the images."""

    compared: Sequence[_Compared]
    threshold: float
    ratios: dict[str, Ratio] = field(default_factory=dict)  # what is a pooled mean, by name

    def __post_init__(self):
        for k in self.numbers:
            self._add_recalls(k)
            pairs = [one.pairs.get(k, 0) for one in self.compared]
            merged = [100.0 * one.merged.get(k, 0) for one in self.compared]
            self.ratios[_named("merge_error", k)] = np.array(merged), np.array(pairs)
        seen = np.array([one.saliency is not None for one in self.compared])
        pairs_of = [one.saliency or (0.0, False) for one in self.compared]
        for column, name in enumerate(("saliency_iou", "saliency_CorLoc")):
            self.ratios[name] = np.array([100.0 * float(pair[column]) for pair in pairs_of]), seen
        counts = np.array([one.masks for one in self.compared])
        self.ratios["masks_per_image"] = counts, np.ones(len(counts))

    @property
    def numbers(self) -> list[int]:
        """Each k that some image has; none makes one, of no masks."""
        return sorted({k for one in self.compared for k in one.best}) or [NO_K]

    def _add_recalls(self, k: int) -> None:
        for split in SPLITS:
            at, mean, total = [], [], []
            for one in self.compared:
                chosen = one.alone if split == "single" else ~one.alone
                best = one.best.get(k, np.zeros(len(one.alone)))[chosen]
                at.append(100.0 * (best >= self.threshold).sum())
                mean.append(100.0 * (best[:, None] >= THRESHOLDS).mean(1).sum())
                total.append(chosen.sum())
            for name, hits in (("recall50", at), ("recall", mean)):
                self.ratios[_named(f"{name}_{split}", k)] = np.array(hits), np.array(total)

    def __call__(self, weights: Array) -> dict[str, Array]:
        """Name to (S,) per cent, NaN where undefined.

        Args:
            weights: (S, I) how often each image counts.
        """
        found = {}
        for name, ratio in self.ratios.items():
            top, bottom = (weights @ part.astype(np.float64) for part in ratio)
            undefined = np.full(len(weights), np.nan)
            found[name] = np.divide(top, bottom, out=undefined, where=bottom > 0)
        if self.numbers != [NO_K]:
            found |= self._best(found)
        return found

    def _best(self, found: Mapping[str, Array]) -> dict[str, Array]:
        """Recalls of the best k, and the merge error at the best k of several of a class."""
        best = {}
        for name in (f"{metric}_{split}" for metric in ("recall50", "recall") for split in SPLITS):
            values = np.stack([found[_named(name, k)] for k in self.numbers])  # (K, S)
            best[name] = values.max(0)  # NaN for all k, or for none: it is the objects that lack
        several = np.stack([found[_named("recall50_multi", k)] for k in self.numbers])
        errors = np.stack([found[_named("merge_error", k)] for k in self.numbers])
        chosen = np.where(np.isnan(several), -1.0, several).argmax(0)
        best["merge_error"] = errors[chosen, np.arange(errors.shape[1])]
        return best


def _named(metric: str, k: int) -> str:
    return metric if k == NO_K else f"{metric}_k{k}"
