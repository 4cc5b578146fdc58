"""What a hierarchy of masks is worth: recall at 1000 masks by size, and of each level alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cleave.benchmarks.matches import AREAS, Kind, Matches, Part, match_some
from cleave.benchmarks.truth import Truth
from cleave.ops.hierarchy import depths
from cleave.types import Array

CAP = 1000  # masks an image: UnSAM, arXiv 2406.20081, Sec. 5; its check.py:157
LEVELS = 4  # of roots, their children and theirs; the last one has all that is deeper

Ratio = tuple[Array, Array]  # (I,) numerators and denominators of a metric that is a pooled mean


class Levels:
    """Gathers, some images after others, what the masks of each level find when they are alone.

    A mask's level is the number of masks that it lies in. Alone, because of two masks that lie on
    one object the matching takes the better scored, so which level found it would be left to
    the scores. A level that finds objects which the levels above miss is worth its masks.
    """

    def __init__(self, kinds: Sequence[Kind]):
        self._kinds = kinds
        self._hits: dict[tuple[Kind, int], list[Array]] = defaultdict(list)
        self._counts: list[Array] = []  # (I, LEVELS)
        self._any = False  # whether a mask has parents

    def add(self, truths: Sequence[Truth], found: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Matches the detections of some images: COCO annotations, with `parent` or without."""
        self._any |= any("parent" in annotation for listed in found for annotation in listed)
        levels = [levels_of(listed) for listed in found]
        counts = [np.bincount(levels_, minlength=LEVELS) for levels_ in levels]
        self._counts.append(np.array(counts).reshape(-1, LEVELS))
        for level in range(LEVELS):
            alone = [
                [annotation for annotation, own in zip(*pair, strict=True) if own == level]
                for pair in zip(found, levels, strict=True)
            ]
            for kind in self._kinds:
                part = match_some(truths, alone, kind, CAP) if any(alone) else None
                self._hits[kind, level].append(_found(part, 0, len(truths)))

    def ratios(self, matches: Mapping[Kind, Matches]) -> dict[str, Ratio]:
        """Metrics of all images: of each size, and if any mask has parents of each level.

        Args:
            matches: by kind, of all levels together; at most `CAP` detections an image count.
        """
        ratios: dict[str, Ratio] = {}
        for kind, together in matches.items():
            for a, size in enumerate(AREAS[1:], 1):
                ratios[f"{kind}_AR{CAP}_{size}"] = (
                    100.0 * _found(together, a, together.positives.shape[1]),
                    together.positives[a],
                )
            for level in range(LEVELS if self._any else 0):
                hits = 100.0 * np.concatenate(self._hits[kind, level])
                ratios[f"{kind}_AR{CAP}_level{level}"] = hits, together.positives[0]
        for level in range(LEVELS if self._any else 0):
            counts = np.concatenate(self._counts)[:, level]
            ratios[f"masks_per_image_level{level}"] = counts, np.ones(len(counts))
        return ratios


def levels_of(annotations: Sequence[Mapping[str, Any]]) -> Array:
    """(M,) int64 level of each detection of an image, `LEVELS` - 1 at most; 0 without parents."""
    parents = [annotation.get("parent", -1) for annotation in annotations]
    return np.minimum(depths(np.array(parents, np.int64)), LEVELS - 1)


def _found(matches: Matches | Part | None, area: int, images: int) -> Array:
    """(I,) objects of a size bin that are found among the best `CAP`, mean over IoU thresholds."""
    if matches is None:
        return np.zeros(images)
    hits = matches.hit[area].mean(0) * (matches.rank < CAP)
    return np.bincount(matches.image, hits, minlength=images)
