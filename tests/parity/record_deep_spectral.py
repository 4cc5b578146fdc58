"""Runs Deep Spectral Methods and records what it answers, for the parity test of ours.

    python tests/parity/record_deep_spectral.py deep-spectral-segmentation

with a checkout of lukemelas/deep-spectral-segmentation@b89b650, pymatting, scikit-learn and
scikit-image. `goldens/README.md` says what was patched.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import types
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from PIL import Image as Pillow
from record_reference import GRID, SEEDS, pack, random_signs
from recording import GOLDENS, main

from cleave.masks.deep_spectral import DeepSpectral
from cleave.ops.cluster import kmeans
from cleave.types import FeatureMap, Image, Scene, Size

GOLDEN = GOLDENS / "deep_spectral.npz"
PATCH, PAIRS = 2, 5  # pixels; K of the README's commands, the constant vector included
WEIGHTS = (0.0, 10.0)  # of colours: the commands' and the function's own default


class Answer(NamedTuple):
    values: np.ndarray  # (K,) the eigenvalues
    single: np.ndarray  # (h, w) bool, single-region segmentation
    box: np.ndarray  # x0 y0 x1 y1 in pixels, object localisation
    adaptive: np.ndarray  # (h, w) segments by the eigengap, 0 the background
    four: np.ndarray  # (h, w) four segments


def picture(seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: noisy shades, so that no two distances of colours are equal."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[: GRID * PATCH, : GRID * PATCH] / (GRID * PATCH)
    shades = np.stack([row, column, 0.5 + 0.5 * np.sin(9 * row * column)], -1)
    shades[(row - 0.4) ** 2 + (column - 0.6) ** 2 < 0.04] = 0.8, 0.2, 0.1
    return np.uint8(np.clip(235 * shades + rng.uniform(0, 20, shades.shape), 0, 255))


def scene_of(signs: np.ndarray, pixels: np.ndarray) -> Scene:
    size = Size(*pixels.shape[:2])
    features = FeatureMap({"key": signs.astype(np.float32)}, size, size, PATCH)
    return Scene(Image("parity", pixels), features=features)


best = functools.partial(kmeans, starts=100)  # draws then no longer decide between optima


class OurKMeans:
    """Stands for scikit-learn's, whose draws and early stop decide between optima as good."""

    def __init__(self, n_clusters: int):
        self._clusters = int(n_clusters)

    def fit_predict(self, points: np.ndarray) -> np.ndarray:
        return best(points, self._clusters).astype(np.int32)


class Reference:
    """The reference's steps, on the CPU and with a k-means whose draws are fixed."""

    def __init__(self, checkout: Path, patches: set[str]):
        for name, attribute in (("fire", "Fire"), ("accelerate", "Accelerator")):
            sys.modules[name] = types.SimpleNamespace(**{attribute: None})
        sys.modules["datasets"] = types.SimpleNamespace(bbox_iou=None)
        sys.path[:0] = [str(checkout / folder) for folder in ("extract", "object-localization")]
        import extract
        import object_discovery
        import torch

        torch.Tensor.cuda = lambda tensor: tensor
        sklearns = functools.partial(extract.KMeans, n_init=10, random_state=0)
        extract.KMeans = OurKMeans if "kmeans" in patches else sklearns
        self._extract, self._discovery, self._torch = extract, object_discovery, torch

    def __call__(self, signs: np.ndarray, pixels: np.ndarray, weight: float) -> Answer:
        extract, torch = self._extract, self._torch
        h, w, channels = signs.shape
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            Pillow.fromarray(pixels).save(folder / "photo.jpg", format="png")
            keys = torch.from_numpy(signs.reshape(1, -1, channels).astype(np.float32))
            shape = (1, 3, h * PATCH, w * PATCH)
            found = {"k": keys, "file": "photo.jpg", "id": "photo", "patch_size": PATCH}
            torch.save({**found, "shape": shape}, folder / "features.pth")
            features, pairs = str(folder / "features.pth"), str(folder / "photo.pth")
            extract._extract_eig((0, features), PAIRS, name, name, image_color_lambda=weight)
            segments = []
            for index, adaptive in enumerate((True, False)):
                out = folder / str(index)
                out.mkdir()
                extract._extract_multi_region_segmentations(
                    (0, (features, pairs)), adaptive, 4, True, False, str(out), 1_000_000
                )
                segments.append(np.asarray(Pillow.open(out / "photo.png")))
            out = folder / "single"
            out.mkdir()
            extract._extract_single_region_segmentations((0, (features, pairs)), 0.0, str(out))
            single = np.asarray(Pillow.open(out / "photo.png")) > 0
            values = torch.load(pairs)["eigenvalues"].numpy()
        # The box of the released main.py: patches of 8 or 16 pixels, of which it knows the grid.
        size = (3, 8 * h, 8 * w)
        box = self._discovery.get_bbox_from_patch_mask(torch.from_numpy(single), size)
        return Answer(values, single, box // 8 * PATCH, *segments)


def record(reference: Reference) -> None:
    pixels = picture()
    signs = [random_signs(seed) for seed in SEEDS]
    answers = [[reference(s, pixels, weight) for s in signs] for weight in WEIGHTS]
    table = {
        name: np.array([[getattr(a, name) for a in row] for row in answers])
        for name in Answer._fields
    }
    table["single"] = np.stack([pack(row) for row in table["single"]])
    np.savez_compressed(GOLDEN, pixels=pixels, **table)


def partition(labels: np.ndarray) -> set[bytes]:
    """The segments without the background, whatever their numbers."""
    return {(labels == number).tobytes() for number in np.unique(labels) if number}


def ours(signs: np.ndarray, pixels: np.ndarray, weight: float) -> dict[str, object]:
    """What cleave says: the largest component's box, the whole side, segments of both kinds."""
    shown = scene_of(signs, pixels)
    fields = {"colour_weight": weight, "eigenvectors": PAIRS - 1, "refine": "none"}
    largest = DeepSpectral(**fields)(shown)
    whole = DeepSpectral(**fields, parts="whole")(shown)
    with mock.patch("cleave.masks.deep_spectral.kmeans", best):
        segments = [
            DeepSpectral(**fields, regions="multi", parts="whole", clusters=clusters)(shown).masks
            for clusters in (None, 4)
        ]
    grid = (slice(None), slice(None, None, PATCH), slice(None, None, PATCH))
    return {
        "single": whole.masks[grid][0],
        "box": largest.boxes[0],
        "adaptive": {np.ascontiguousarray(mask).tobytes() for mask in segments[0][grid]},
        "four": {np.ascontiguousarray(mask).tobytes() for mask in segments[1][grid]},
    }


def agreement(reference: Reference, count: int) -> str:
    """On how many of `count` random images, for each weight, cleave gives the same."""
    same = {weight: dict.fromkeys(("single", "box", "adaptive", "four"), 0) for weight in WEIGHTS}
    for seed in range(count):
        signs, pixels = random_signs(seed), picture(seed)
        for weight in WEIGHTS:
            theirs, found = reference(signs, pixels, weight), ours(signs, pixels, weight)
            for name in ("single", "box"):
                same[weight][name] += np.array_equal(getattr(theirs, name), found[name])
            for name in ("adaptive", "four"):
                same[weight][name] += partition(getattr(theirs, name)) == found[name]
    return f"identical on {same} of {count}"


if __name__ == "__main__":
    main(Reference, record, agreement, ["deep_spectral"], ["kmeans"])
