"""Which detections hit which objects, found once an image; and AP and AR of any resample of them.

The greedy matching of COCO (pycocotools, cocoeval.py:evaluateImg) is done by faster-coco-eval.
Its result is kept per image, so that the accumulation, done here, can weight every image: a
bootstrap sample is a vector of counts, and the data set itself is the vector of ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np

from cleave.benchmarks.truth import Truth
from cleave.types import Array, DataError

Kind = Literal["box", "mask"]
AREAS = ("all", "S", "M", "L")  # limits 32^2 and 96^2 pixels, both ends included: COCO's
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of IoU
RECALLS = np.linspace(0.0, 1.0, 101)
FEW = 3  # what MaskCut makes of an image at most (CutLER, arXiv 2301.11320, Sec. 3.1)
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
    leading: tuple[Array, ...]  # I x (<= FEW, G) float64: IoU of the best detections with the same


def match(
    truths: Sequence[Truth], detections: Sequence[Sequence[Mapping[str, Any]]], kind: Kind, cap: int
) -> Matches:
    """Matches detections to truth, image by image.

    Args:
        truths: of I images, of one at least.
        detections: of the same images, COCO annotations with `bbox`, `area`, `segmentation`,
            `score`; at most `cap` of an image are looked at, best first, earlier first on ties.
        kind: whether boxes or masks are compared. Detections fall into size bins by their own
            box or mask area, objects by their annotated area (for both kinds), as in pycocotools.
        cap: largest number of detections an image.
    """
    return join([match_some(truths, detections, kind, cap)])


class Part(NamedTuple):
    """`Matches` of some images, whose detections come image by image; and their scores."""

    scores: Array
    image: Array
    rank: Array
    hit: Array
    ignored: Array
    positives: Array
    best: list[Array]
    leading: list[Array]


def match_some(
    truths: Sequence[Truth],
    detections: Sequence[Sequence[Mapping[str, Any]]],
    kind: Kind,
    cap: int,
    first: int = 0,
) -> Part:
    """As `match`, for images of which the first one has the index `first` among all."""
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
    best, leading = [], []
    for index, truth in enumerate(truths):
        overlaps = np.asarray(evaluator.ious[index + 1, 1])  # (detections, G), or empty
        overlaps = overlaps if overlaps.size else np.zeros((0, len(truth)))
        overlaps = overlaps[:, ~truth.crowd]
        best.append(overlaps.max(0, initial=0.0))
        leading.append(overlaps[:FEW].copy())
    return _collect(evaluator._evalImgs_cpp, len(truths), best, leading, first)


def recalled(overlaps: Array) -> float:
    """How many objects the detections find, mean over the IoU thresholds.

    As COCO matches: each detection, best first, takes the free object that it covers best.

    Args:
        overlaps: (D, G) IoU, detections in descending order of score; crowds left out.
    """
    found = 0
    for threshold in THRESHOLDS:
        free = np.ones(overlaps.shape[1], bool)
        for row in overlaps:
            covered = np.where(free & (row >= threshold), row, -1.0)
            if covered.max(initial=-1.0) >= 0:
                free[covered.argmax()] = False
        found += int((~free).sum())
    return found / len(THRESHOLDS)


def join(parts: Sequence[Part]) -> Matches:
    """The matches of all images from those of some after others."""
    scores, image, rank, hit, ignored, positives, best, leading = zip(*parts, strict=True)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return Matches(
        np.concatenate(image)[order],
        np.concatenate(rank)[order],
        np.concatenate(hit, axis=2)[:, :, order],
        np.concatenate(ignored, axis=2)[:, :, order],
        np.concatenate(positives, axis=1),
        tuple(chain.from_iterable(best)),
        tuple(chain.from_iterable(leading)),
    )


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


def _collect(
    evaluated: Sequence[Any], images: int, best: list[Array], leading: list[Array], first: int
) -> Part:
    """Joins the per-image records, which come area by area and within it image by image."""
    # The state that the records are pickled by; they have no other face to Python.
    states = [record.__getstate__() for record in evaluated]
    if len(states) != len(AREAS) * images or any(len(state) != 6 for state in states):
        raise DataError("this version of faster-coco-eval keeps its matches in another form")
    grid = [states[i * images : (i + 1) * images] for i in range(len(AREAS))]
    scores = [np.array(state[2], np.float64) for state in grid[0]]
    count = len(THRESHOLDS)

    def joined(column: int) -> Array:  # (A, T, D)
        rows = [[np.array(s[column]).reshape(count, -1) for s in row] for row in grid]
        return np.stack([np.concatenate(row, axis=1).astype(bool) for row in rows])

    found, ignored = joined(0), joined(4)
    return Part(
        np.concatenate(scores),
        np.repeat(np.arange(first, first + images), [len(s) for s in scores]),
        np.concatenate([np.arange(len(s)) for s in scores]),
        found & ~ignored,
        ignored,
        np.array([[np.sum(~np.array(s[3], bool)) for s in row] for row in grid], np.int64),
        best,
        leading,
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
    result = np.full((len(weights), len(AREAS), len(THRESHOLDS)), np.nan)
    for a in range(len(AREAS)):
        # Detections that some threshold keeps: most of what one threshold keeps, all others do.
        kept = np.flatnonzero((matches.rank < cap) & ~matches.ignored[a].all(0))
        image, bins = matches.image[kept], _bins(matches, a, kept)
        step = max(1, _CHUNK // max(1, len(kept)))
        for start in range(0, len(weights), step):
            part = slice(start, start + step)
            counts = np.ascontiguousarray(columns[:, part])
            seen = np.cumsum(counts[image], axis=0, dtype=np.int32)  # (n, S) detections so far
            passed = _Passed(total[part, a])
            for t, found in enumerate(bins):
                result[part, a, t] = _envelope_mean(found, seen, counts, passed)
    return result


@dataclass(frozen=True)
class _Bin:
    """Where the K hits of one size bin and threshold stand among the n detections of the bin."""

    rows: Array  # (K,) of the hits
    images: Array  # (K,) of the hits
    dropped: Array  # (X,) images of the detections that this threshold alone ignores
    before: Array  # (K,) how many of those stand before each hit


def _bins(matches: Matches, a: int, kept: Array) -> list[_Bin]:
    """One for each threshold."""
    image, found = matches.image[kept], []
    for t in range(len(THRESHOLDS)):
        rows = np.flatnonzero(matches.hit[a, t, kept])
        dropped = np.flatnonzero(matches.ignored[a, t, kept])
        found.append(_Bin(rows, image[rows], image[dropped], np.searchsorted(dropped, rows)))
    return found


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


def _envelope_mean(hits: _Bin, seen: Array, columns: Array, passed: _Passed) -> Array:
    """(S,) AP of one size bin and threshold: seen (n, S) detections so far, columns (I, S).

    The precision at a recall is the best one at it or above: each hit counts for the recalls that
    it is the first to reach.
    """
    found = np.cumsum(columns[hits.images], axis=0, dtype=np.int32)  # (K, S) hits so far
    ranked = seen[hits.rows]  # (K, S)
    if len(hits.dropped):
        dropped = np.cumsum(columns[hits.dropped], axis=0, dtype=np.int32)
        dropped = np.concatenate([np.zeros((1, columns.shape[1]), np.int32), dropped])
        ranked = ranked - dropped[hits.before]
    precision = found / np.maximum(ranked, 1)
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    first = np.diff(passed(found), axis=0, prepend=0)  # (K, S) recalls
    return np.where(passed.defined, (envelope * first).sum(0) / len(RECALLS), np.nan)


def average_recall(matches: Matches, weights: Array, cap: int) -> Array:
    """Share of the objects found among the best `cap` of an image, by size bin and IoU threshold.

    Args and Returns as for `average_precision`.
    """
    within = matches.rank < cap
    images = matches.positives.shape[1]
    found = np.zeros((images, len(AREAS), len(THRESHOLDS)))
    for a, t in np.ndindex(found.shape[1:]):
        found[:, a, t] = np.bincount(matches.image[within & matches.hit[a, t]], minlength=images)
    hits = np.tensordot(weights.astype(np.float64), found, 1)  # (S, A, T)
    total = (weights @ matches.positives.T)[:, :, None].astype(np.float64)
    return np.divide(hits, total, out=np.full(hits.shape, np.nan), where=total > 0)
