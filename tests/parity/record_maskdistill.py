"""Runs the code of MaskDistill's initial masks and records what it answers, for the parity tests.

`goldens/README.md` has the command, the commit and what was patched.
"""

from __future__ import annotations

import argparse
import sys
import types
from pathlib import Path

import numpy as np
from record_reference import CHANNELS, GRID, pack, random_signs
from recording import GOLDENS, main

from cleave.masks.maskdistill import MaskDistill
from cleave.types import FeatureMap, Image, Scene, Size

HEADS = 8  # of 4 channels
SEEDS = (0, 3, 6, 8, 17, 21, 33, 40, 58, 71)
VARIANTS = {  # heads that the code averages, and whether it keeps half of the mass
    "paper": (HEADS, None),
    "code": (5, 0.5),
}


def class_query(seed: int, signs: np.ndarray) -> np.ndarray:
    """(C,) int8 that the keys resemble rather than not: all products are whole numbers.

    The code divides the scores by their sum, which means nothing where that is negative; cleave
    then leaves them as they are.
    """
    query = np.random.default_rng([seed, 1]).integers(-9, 10, CHANNELS)
    five = query[: CHANNELS // HEADS * VARIANTS["code"][0]]
    total = (signs[..., : len(five)].astype(int) @ five).sum()
    return np.int8(query if total > 0 else -query)


def ours(signs: np.ndarray, query: np.ndarray, heads: int, mass: float | None) -> np.ndarray:
    """(1, h, w) bool."""
    size = Size(*signs.shape[:2])
    features = FeatureMap(
        {"key": signs.astype(np.float32)},
        size,
        size,
        1,
        heads=HEADS,
        cls_query=query.astype(np.float32),
    )
    scene = Scene(Image("parity", np.zeros((*size, 3), np.uint8)), features=features)
    return MaskDistill(heads=heads, mass=mass)(scene).masks


class Reference:
    """The reference's mask_generator; of equal scores the first patch is taken for the better.

    With `ties` the share of the mass holds all patches that score as the least one in it does;
    otherwise the sort decides which.
    """

    def __init__(self, checkout: Path, patches: set[str]):
        import torch

        for name in ("skimage", "skimage.measure", "termcolor", "models", "models.models_vit"):
            sys.modules[name] = types.ModuleType(name)
        sys.modules["skimage"].measure = sys.modules["skimage.measure"]
        sys.modules["skimage.measure"].find_contours = None
        sys.modules["termcolor"].colored = None
        sys.path.insert(0, str(checkout))
        import gen_masks

        self._code = gen_masks
        self._threshold, self._ties = gen_masks.threshold_attention, "ties" in patches
        torch.topk = self._topk

    def _topk(self, values, k, **_options):
        found, order = values.sort(descending=True, stable=True)
        return found[:k], order[:k]

    def _keep(self, scores, share):
        kept = self._threshold(scores.clone(), share)
        return scores >= scores[kept].min() if self._ties else kept

    def __call__(
        self, signs: np.ndarray, query: np.ndarray, heads: int, mass: float | None
    ) -> np.ndarray:
        """(1, h, w) bool."""
        import torch

        self._code.threshold_attention = self._keep if mass else lambda scores, _: scores == scores
        tokens = np.zeros((2, 1 + GRID * GRID, CHANNELS), np.float32)  # CLS first
        tokens[0, 0], tokens[1, 1:] = query, signs.reshape(-1, CHANNELS)
        split = torch.from_numpy(tokens).unflatten(2, (HEADS, -1)).transpose(1, 2)
        arguments = argparse.Namespace(heads=heads, topk=0.4)
        return self._code.mask_generator(split[:1], split[1:], GRID, arguments)[None]


def record(reference: Reference) -> None:
    signs = np.stack([random_signs(seed) for seed in SEEDS])
    queries = np.stack([class_query(*case) for case in zip(SEEDS, signs, strict=True)])
    answers = {
        name: pack(
            np.concatenate([reference(s, q, *variant) for s, q in zip(signs, queries, strict=True)])
        )
        for name, variant in VARIANTS.items()
    }
    np.savez_compressed(
        GOLDENS / "maskdistill.npz",
        signs=np.packbits(signs > 0, axis=-1),
        queries=queries,
        **answers,
    )


def agreement(reference: Reference, count: int) -> str:
    """On how many of `count` random images cleave and the reference give the same mask."""
    same = dict.fromkeys(VARIANTS, 0)
    for seed in range(count):
        signs = random_signs(seed)
        query = class_query(seed, signs)
        for name, variant in VARIANTS.items():
            theirs = reference(signs, query, *variant)
            same[name] += np.array_equal(theirs, ours(signs, query, *variant))
    return f"identical on {same} of {count}"


if __name__ == "__main__":
    main(Reference, record, agreement, ["maskdistill"], ["ties"])
