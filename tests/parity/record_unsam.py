"""Runs the conquer stage of UnSAM and records what it answers, for the parity tests.

`goldens/README.md` has the command and the commit.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from recording import GOLDENS, main

from cleave.masks.divide_conquer import DivideConquer
from cleave.ops.hierarchy import levels, merge_regions
from cleave.types import FeatureMap, Image, MaskSet, Scene, Size

SIDE, CHANNELS = 16, 12
SEEDS = (0, 1, 2, 3, 4, 5)
THRESHOLDS = (0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
STEPS = ("NMS", "area", "iou", "coverage", "resize_mask", "smallest_square_containing_mask")


def case(seed: int, side: int = SIDE, channels: int = CHANNELS) -> tuple[np.ndarray, np.ndarray]:
    """Features (h, w, C) int8 of nested areas with noise, and given masks (2, h, w) bool.

    The image has one pixel a patch. Whole numbers, so that every machine reads the same.
    """
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:side, :side] / (side - 1)
    features = np.broadcast_to(rng.standard_normal(channels), (side, side, channels)).copy()
    for scale in (0.45, 0.3, 0.2, 0.15, 0.1):
        for _ in range(2):
            y, x, kind = *rng.uniform(0, 1, 2), rng.standard_normal(channels)
            disc = (row - y) ** 2 + (column - x) ** 2 < (scale * rng.uniform(0.7, 1.3)) ** 2
            features[disc] = 0.5 * features[disc] + kind
    features += rng.uniform(0.2, 0.9) * rng.standard_normal(features.shape)
    masks = np.zeros((2, side, side), bool)
    for mask in masks:
        y, x, height, width = *rng.uniform(0.2, 0.8, 2), *rng.uniform(0.25, 0.6, 2)
        mask[((row - y) / height) ** 2 + ((column - x) / width) ** 2 < 1] = True
    return np.rint(features * 12).clip(-127, 127).astype(np.int8), masks


def scene_of(features: np.ndarray, masks: np.ndarray) -> Scene:
    """What cleave's method sees of a case."""
    size = Size(*features.shape[:2])
    return Scene(
        Image("parity", np.zeros((*size, 3), np.uint8)),
        features=FeatureMap({"key": features.astype(np.float32)}, size, size, 1),
        masks=MaskSet(size, masks, np.ones(len(masks))),
    )


def ours(features: np.ndarray, masks: np.ndarray, **fields: object) -> np.ndarray:
    """(M, h, w) bool of the method, its size rule after the refinement aside."""
    method = DivideConquer(**{"refine": "none", "maximum_area": 1.0, **fields})
    return method(scene_of(features, masks)).masks


class Reference:
    """The reference's functions; those of its script without what the script imports."""

    def __init__(self, checkout: Path):
        sys.path.insert(0, str(checkout / "divide_and_conquer"))
        from iterative_merging import iterative_merge
        from PIL import Image as Picture

        self.iterative_merge = iterative_merge
        script = checkout / "divide_and_conquer" / "divide_conquer.py"
        tree = ast.parse(script.read_text())
        tree.body = [node for node in tree.body if getattr(node, "name", "") in STEPS]
        names = {"np": np, "Image": Picture}
        exec(compile(tree, str(script), "exec"), names)
        self.step = SimpleNamespace(**{name: names[name] for name in STEPS})

    def levels(self, features: np.ndarray, thresholds: tuple[float, ...] = THRESHOLDS) -> list:
        """(K, h, w) bool for each threshold that leaves a region; the others are missing."""
        import torch

        found = self.iterative_merge(torch.from_numpy(features.astype(np.float32)), thresholds)
        return [masks > 0 for masks in found]

    def masks(self, features: np.ndarray, given: np.ndarray) -> np.ndarray:
        """The loop of divide_conquer.py:219-249, the box with its last row and column."""
        found = list(given)
        for mask in given:
            top, bottom, left, right = self.step.smallest_square_containing_mask(mask)
            box = slice(top, bottom + 1), slice(left, right + 1)
            pool = []
            for level in self.levels(features[box]):
                for part in level:
                    part = self.step.resize_mask(part, mask[box].shape[::-1]) > 0.5 * 255
                    if self.step.coverage(part, mask[box]) > 0.9:
                        pool.append(np.zeros_like(mask))
                        pool[-1][box] = part
            found += self.step.NMS(pool, 0.9, 5)
        return np.array(found)


def as_labels(masks: np.ndarray) -> np.ndarray:
    """Disjoint regions (K, h, w) numbered by their first patch, as `levels` has them."""
    first = np.argsort([mask.argmax() for mask in masks.reshape(len(masks), -1)])
    return np.max([(n + 1) * masks[i] for n, i in enumerate(first)], axis=0).astype(np.int32)


def same_masks(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two lists hold the same masks, each as often."""
    return sorted(mask.tobytes() for mask in a) == sorted(mask.tobytes() for mask in b)


def same_levels(reference: Reference, features: np.ndarray) -> bool:
    merges = merge_regions(features, lowest=THRESHOLDS[-1])
    here = [labels for labels in levels(merges, THRESHOLDS) if labels.any()]
    there = [as_labels(masks) for masks in reference.levels(features)]
    return len(here) == len(there) and all(map(np.array_equal, here, there))


def record(reference: Reference) -> None:
    cases = [case(seed) for seed in SEEDS]
    labels = np.zeros((len(cases), len(THRESHOLDS), SIDE, SIDE), np.uint8)
    for number, (features, _) in enumerate(cases):
        found = [as_labels(masks) for masks in reference.levels(features)]
        labels[number, : len(found)] = found
    masks = [reference.masks(*one) for one in cases]
    np.savez_compressed(
        GOLDENS / "unsam.npz",
        features=np.stack([features for features, _ in cases]),
        given=np.packbits([given for _, given in cases], axis=-1),
        labels=labels,
        counts=[len(found) for found in masks],
        masks=np.packbits(np.concatenate(masks), axis=-1),
    )


def agreement(reference: Reference, count: int) -> str:
    """On how many random cases of the recorded and of the published size all is equal."""
    small = [case(seed) for seed in range(count)]
    large = [case(seed, 32, 64) for seed in range(count)]
    lines = []
    for name, cases in (("16 x 16 of 12 channels", small), ("32 x 32 of 64", large)):
        equal_levels = sum(same_levels(reference, features) for features, _ in cases)
        equal_masks = sum(same_masks(reference.masks(*one), ours(*one)) for one in cases)
        lines.append(f"{name}: levels equal in {equal_levels}, masks in {equal_masks} of {count}")
    return "\n".join(lines)


if __name__ == "__main__":
    main(Reference, record, agreement, ["unsam"])
