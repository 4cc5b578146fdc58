"""Runs the code of CutLER and TokenCut and records what it answers, for the parity tests.

`goldens/README.md` has the command, the commits and what was patched.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import scipy.linalg
from recording import GOLDENS, main

from cleave.masks.maskcut import MaskCut
from cleave.masks.tokencut import TokenCut
from cleave.ops import bits
from cleave.ops.ncut import with_sign
from cleave.types import Image, PatchGraph, Scene, Size

GRID, CHANNELS, PATCH = 28, 32, 4
TAU = {"maskcut": 0.15, "tokencut": 0.2}  # the papers' thresholds
SEEDS = (
    *(15, 22, 25),  # three masks; a dropped mask that the next cut finds again
    *(42, 54, 88, 153, 298),  # masks dropped as too small, or as too much like the one before
    *(30, 31, 94, 249),  # several patches share the peak
)


def random_signs(seed: int) -> np.ndarray:
    """(h, w, C) int8 of +1 and -1: discs of a few classes on a ground, with noise, hashed.

    Cosines of such vectors are multiples of 1/16, so none is near a threshold and every machine
    gets the same graph.
    """
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:GRID, :GRID] / (GRID - 1)
    classes = rng.standard_normal((4, 12))
    content = np.broadcast_to(classes[0], (GRID, GRID, 12)).copy()
    for _ in range(rng.integers(1, 7)):
        y, x, radius = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.06, 0.35)
        disc = (row - y) ** 2 + ((column - x) * rng.uniform(0.6, 1.6)) ** 2 < radius**2
        content[disc] = classes[rng.integers(1, 4)]
    content += rng.uniform(0, 1.2) * np.stack([row, column] * 6, -1) * rng.standard_normal(12)
    content += rng.uniform(0.1, 0.7) * rng.standard_normal(content.shape)
    return np.where(content @ rng.standard_normal((12, CHANNELS)) > 0, 1, -1).astype(np.int8)


def scene_of(signs: np.ndarray, tau: float) -> Scene:
    """What cleave's methods see of these features, on an image of one pixel a patch."""
    h, w, channels = signs.shape
    flat = signs.reshape(-1, channels).astype(int)
    graph = PatchGraph(bits.pack(flat @ flat.T > tau * channels), Size(h, w), Size(h, w))
    return Scene(Image("parity", np.zeros((h, w, 3), np.uint8)), graph=graph)


def pack(masks: np.ndarray) -> np.ndarray:
    return np.packbits(masks.reshape(len(masks), -1), axis=1)


def unpack(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape))
    return np.unpackbits(packed, axis=1, count=count).reshape(-1, *shape).astype(bool)


class Reference:
    """CutLER and its submodule TokenCut: functions patched at the eigenvector and nowhere else."""

    def __init__(self, checkout: Path, patches: set[str]):
        folders = ("maskcut", "third_party", "third_party/TokenCut")
        sys.path[:0] = [str(checkout / folder) for folder in folders]
        import crf
        import maskcut
        import object_discovery

        self.crf, self._maskcut, self._tokencut = crf.densecrf, maskcut, object_discovery
        maskcut.eigh = object_discovery.eigh = self._eigh
        self._patches = patches

    def _eigh(self, *args, **kwargs):
        values, vectors = scipy.linalg.eigh(*args, **kwargs)
        first = vectors[:, 0]
        if "ties" in self._patches:  # patches that share the peak do so exactly: the first is taken
            first = np.round(first / np.abs(first).max(), 8)
        vectors[:, 0] = with_sign(first) if "sign" in self._patches else first
        return values, vectors

    def maskcut(self, signs: np.ndarray) -> np.ndarray:
        """(3, h, w) bool in the order of the cuts, later masks without the earlier ones."""
        import torch

        side = GRID * PATCH
        flat = torch.from_numpy(signs.reshape(-1, CHANNELS).T.astype(np.float32))
        _, masks, _ = self._maskcut.maskcut_forward(
            flat, [GRID, GRID], [PATCH, PATCH], [side, side], TAU["maskcut"], N=3, cpu=True
        )
        return (np.stack(masks) > 0)[:, ::PATCH, ::PATCH]

    def tokencut(self, signs: np.ndarray) -> np.ndarray:
        """(1, h, w) bool."""
        import torch

        flat = np.concatenate([np.ones((1, CHANNELS)), signs.reshape(-1, CHANNELS)])
        tokens = torch.from_numpy(flat[None].astype(np.float32))  # the first is CLS
        size = (3, GRID * PATCH, GRID * PATCH)
        result = self._tokencut.ncut(tokens, [GRID, GRID], [PATCH, PATCH], size, TAU["tokencut"])
        return result[2][None] > 0


def record(reference: Reference) -> None:
    record_cuts(reference)
    record_crf(reference)


def record_cuts(reference: Reference) -> None:
    signs = np.stack([random_signs(seed) for seed in SEEDS])
    np.savez_compressed(
        GOLDENS / "cuts.npz",
        signs=np.packbits(signs > 0, axis=-1),
        maskcut=np.stack([pack(reference.maskcut(s)) for s in signs]),
        tokencut=np.stack([pack(reference.tokencut(s)) for s in signs]),
    )


def record_crf(reference: Reference) -> None:
    """A small image of two shaded shapes, and coarse masks that are half a block off."""
    row, column = np.mgrid[:64, :80]
    disc = (row - 26) ** 2 + (column - 24) ** 2 < 18**2
    box = (abs(row - 38) < 16) & (abs(column - 60) < 12)
    pixels = np.stack([90 + row // 2, 120 + column // 4, 60 + (row + column) // 5], -1)
    pixels[disc], pixels[box] = (200, 60, 50), (40, 60, 190)
    pixels = (pixels + np.random.default_rng(7).integers(-6, 7, pixels.shape)).astype(np.uint8)
    blocks = [np.roll(shape, (3, -4), (0, 1))[4::8, 4::8] for shape in (disc, box, disc | box)]
    before = np.stack(blocks).repeat(8, 1).repeat(8, 2)
    after = np.stack([reference.crf(pixels, mask.astype(float)) for mask in before]) > 0
    np.savez_compressed(GOLDENS / "crf.npz", pixels=pixels, before=pack(before), after=pack(after))


def agreement(reference: Reference, count: int) -> str:
    """On how many of `count` random images cleave and the reference give the same masks."""
    same = {"maskcut": 0, "tokencut": 0}
    for seed in range(count):
        signs = random_signs(seed)
        for name, method in (("maskcut", MaskCut(refine="none")), ("tokencut", TokenCut())):
            theirs = getattr(reference, name)(signs)
            ours = method(scene_of(signs, TAU[name])).masks
            same[name] += np.array_equal(theirs[theirs.any((1, 2))], ours)
    return f"identical on {same} of {count}"


if __name__ == "__main__":
    main(Reference, record, agreement, ["cutler"], ["sign", "ties"])
