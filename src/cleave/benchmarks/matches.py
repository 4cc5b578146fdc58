"""Which detections hit which objects, found once an image; and AP and AR of any resample of them.

The greedy matching of COCO (pycocotools, cocoeval.py:evaluateImg) is done by faster-coco-eval.
Its result is kept per image, so that the accumulation, done here, can weight every image: a
bootstrap sample is a vector of counts, and the data set itself is the vector of ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cleave.benchmarks.truth import Truth
from cleave.types import Array, DataError

Kind = Literal["box", "mask"]
AREAS = ("all", "S", "M", "L")  # limits 32^2 and 96^2 pixels, both ends included: COCO's
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of IoU
RECALLS = np.linspace(0.0, 1.0, 101)
_CHUNK = 1 << 21  # detections x samples at a time: bounds the memory of the bootstrap


@dataclass(frozen=True)
class Matches:
    """Detections of I images in descending order of score, and what COCO's matching made of them.

    A detection that is neither hit nor `ignored` is a false positive.
    """

    image: Array  # (D,) int64 index of the image
    rank: Array  # (D,) int64, 0 for the best of its image
    hit: Array  # (A, T, D) bool: matched to an object that counts in this size bin
    ignored: Array  # (A, T, D) bool: matched to a crowd, or outside the size bin
    positives: Array  # (A, I) int64 objects that count
    best_iou: tuple[Array, ...]  # I x (G,) float64: of each object but crowds, over detections


def match(
    truths: Sequence[Truth], detections: Sequence[Sequence[Mapping[str, Any]]], kind: Kind, cap: int
) -> Matches:
    """Matches detections to truth, image by image.

    Args:
        truths: of I images.
        detections: of the same images, COCO annotations with `bbox`, `area`, `segmentation`,
            `score`; at most `cap` of an image are looked at, best first, earlier first on ties.
        kind: whether boxes or masks are compared. Detections fall into size bins by their own
            box or mask area, objects by their annotated area (for both kinds), as in pycocotools.
        cap: largest number of detections an image.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    evaluator = COCOeval_faster(
        COCO(_truth_annotations(truths, kind)),
        COCO(_detection_annotations(truths, detections, kind)),
        {"box": "bbox", "mask": "segm"}[kind],
        separate_eval=True,
        rle_iou_max_workers=1,
    )
    evaluator.params.maxDets = [cap]
    evaluator.params.iouThrs = THRESHOLDS
    evaluator.evaluate()
    best = []
    for index, truth in enumerate(truths):
        overlaps = np.asarray(evaluator.ious[index + 1, 1])  # (detections, G), or empty
        highest = overlaps.max(0) if overlaps.size else np.zeros(len(truth))
        best.append(highest[~truth.crowd])
    return _collect(evaluator._evalImgs_cpp, len(truths), tuple(best))


def _truth_annotations(truths: Sequence[Truth], kind: Kind) -> dict[str, Any]:
    annotations = []
    for index, truth in enumerate(truths):
        if kind == "mask" and truth.segmentations is None:
            raise DataError("this data set labels boxes only; set iou_types: [box]")
        for i, (x0, y0, x1, y1) in enumerate(truth.boxes.tolist()):
            annotation = {
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": float(truth.areas[i]),
                "iscrowd": int(truth.crowd[i]),
            }
            if kind == "mask":
                annotation["segmentation"] = truth.segmentations[i]
            annotations.append((index, annotation))
    return _dataset(truths, annotations)


def _detection_annotations(
    truths: Sequence[Truth], detections: Sequence[Sequence[Mapping[str, Any]]], kind: Kind
) -> dict[str, Any]:
    annotations = []
    for index, found in enumerate(detections):
        for detection in found:
            area = detection["bbox"][2] * detection["bbox"][3]
            annotation = {"bbox": detection["bbox"], "area": area, "score": detection["score"]}
            if kind == "mask":
                annotation |= {"area": detection["area"], "segmentation": detection["segmentation"]}
            annotations.append((index, annotation | {"iscrowd": 0}))
    return _dataset(truths, annotations)


def _dataset(truths: Sequence[Truth], annotations: list) -> dict[str, Any]:
    return {
        "info": {},
        "images": [
            {"id": i + 1, "height": t.size.height, "width": t.size.width}
            for i, t in enumerate(truths)
        ],
        "annotations": [
            annotation | {"id": number, "image_id": index + 1, "category_id": 1}
            for number, (index, annotation) in enumerate(annotations, 1)
        ],
        "categories": [{"id": 1, "name": "fg"}],
    }


def _collect(evaluated: Sequence[Any], images: int, best: tuple[Array, ...]) -> Matches:
    """Joins the per-image records, which come area by area and within it image by image."""
    # The state that the records are pickled by; they have no other face to Python.
    states = [record.__getstate__() for record in evaluated]
    if len(states) != len(AREAS) * images or any(len(state) != 6 for state in states):
        raise DataError("this version of faster-coco-eval keeps its matches in another form")
    grid = [states[i * images : (i + 1) * images] for i in range(len(AREAS))]
    scores = [np.array(state[2], np.float64) for state in grid[0]]
    count = len(THRESHOLDS)

    def join(column: int) -> Array:  # (A, T, D)
        return np.stack(
            [
                np.concatenate(
                    [np.array(s[column]).reshape(count, -1) for s in row] or [np.zeros((count, 0))],
                    axis=1,
                ).astype(bool)
                for row in grid
            ]
        )

    found, ignored = join(0), join(4)
    every = np.concatenate(scores) if scores else np.zeros(0)
    order = np.argsort(-every, kind="stable")
    return Matches(
        np.repeat(np.arange(images), [len(s) for s in scores])[order],
        np.concatenate([np.arange(len(s)) for s in scores] or [np.zeros(0, int)])[order],
        (found & ~ignored)[:, :, order],
        ignored[:, :, order],
        np.array([[np.sum(~np.array(s[3], bool)) for s in row] for row in grid], np.int64),
        best,
    )


def average_precision(matches: Matches, weights: Array, cap: int = 100) -> Array:
    """Precision averaged over 101 recalls, by size bin and IoU threshold.

    A detection of weight w stands for w of them in a row. Only hits are looked at: between two
    hits precision falls and recall stands still, so no false positive ever is on the envelope.

    Args:
        matches: of I images.
        weights: (S, I) int, how often each image is in each of S samples.
        cap: detections an image; COCO's AP is defined at 100 whatever the largest cap.

    Returns:
        (S, A, T) float64 in [0, 1]; NaN where a sample has no object of the size.
    """
    columns = np.ascontiguousarray(weights.T.astype(np.int32))  # (I, S)
    total = weights @ matches.positives.T  # (S, A)
    within = matches.rank < cap
    result = np.full((len(weights), len(AREAS), len(THRESHOLDS)), np.nan)
    step = max(1, _CHUNK // max(1, int(within.sum())))
    for start in range(0, len(weights), step):
        part = slice(start, start + step)
        for a in range(len(AREAS)):
            passed = _Passed(total[part, a])
            for t in range(len(THRESHOLDS)):
                kept = within & ~matches.ignored[a, t]
                hit, image = matches.hit[a, t, kept], matches.image[kept]
                result[part, a, t] = _envelope_mean(hit, image, columns[:, part], passed)
    return result


class _Passed:
    """How many of the 101 recalls are reached with k of n objects found, for S numbers n."""

    def __init__(self, total: Array):
        self.defined = total > 0  # (S,)
        numbers, which = np.unique(total, return_inverse=True)
        tables = [
            np.searchsorted(RECALLS, np.arange(n + 1) / max(n, 1), side="right") for n in numbers
        ]
        self._start = np.concatenate([[0], np.cumsum(numbers + 1)])[which]
        self._table = np.concatenate(tables) if tables else np.zeros(0, np.int64)

    def __call__(self, found: Array) -> Array:
        """(K, S) numbers of objects found to (K, S) numbers of recalls reached."""
        return self._table[self._start + found]


def _envelope_mean(hit: Array, image: Array, columns: Array, passed: _Passed) -> Array:
    """(S,) AP of one size bin and threshold: hit (n,), image (n,), columns (I, S).

    The precision at a recall is the best one at it or above: each hit counts for the recalls that
    it is the first to reach.
    """
    seen = np.cumsum(columns[image], axis=0, dtype=np.int32)[hit]  # (K, S) detections so far
    found = np.cumsum(columns[image[hit]], axis=0, dtype=np.int32)  # (K, S) hits so far
    precision = found / np.maximum(seen, 1)
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    first = np.diff(passed(found), axis=0, prepend=0)  # (K, S) recalls
    return np.where(passed.defined, (envelope * first).sum(0) / len(RECALLS), np.nan)


def average_recall(matches: Matches, weights: Array, cap: int) -> Array:
    """Share of the objects found among the best `cap` of an image, by size bin and IoU threshold.

    Args and Returns as for `average_precision`.
    """
    within = matches.rank < cap
    found = np.zeros((matches.positives.shape[1], len(AREAS), len(THRESHOLDS)))
    np.add.at(found, matches.image[within], matches.hit[:, :, within].transpose(2, 0, 1))
    hits = np.tensordot(weights.astype(np.float64), found, 1)  # (S, A, T)
    total = (weights @ matches.positives.T)[:, :, None].astype(np.float64)
    return np.divide(hits, total, out=np.full(hits.shape, np.nan), where=total > 0)
