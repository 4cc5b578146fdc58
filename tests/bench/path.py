"""The whole pseudo-mask path of a photo, beside the reference's way of it (`reference.py`).

From features that are there already: graph, three cuts, CRF, run lengths. And from the JPEG:
decoding, ViT-S/8 and all of that. Features there already are synthetic (`ncut.synthetic_features`)
at CutLER's threshold; the network has random weights, and the threshold joins as many pairs as in a
photo. Masks are compared pixel by pixel: the chains share photo, weights and sign rule alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean

import numpy as np

from cleave.backbones.vit import Vit
from cleave.graphs.cosine import Cosine
from cleave.io.coco import encode_annotations
from cleave.io.images import load_pixels
from cleave.masks.maskcut import MaskCut
from cleave.ops import affinity
from cleave.types import FeatureMap, Image, Scene, Size
from tests.bench import reference
from tests.bench.harness import Row, timed
from tests.bench.ncut import synthetic_features
from tests.bench.photos import QUALITY, SIZE, photo

MODEL = "vit_small_patch8_224.dino"
SEEN, GRID = Size(480, 480), Size(60, 60)
CACHED, WHOLE = 3, 2  # photos
THRESHOLD = 0.15  # CutLER's, for features that are there already
JOINED = 0.3  # share of the pairs of ViT keys above the threshold
TWIN = "maskcut.py's way: affinity and dense eigh for each cut, a CRF for each mask"
WHOLE_TWIN = f"hook on a whole forward pass, softmax written out; then {TWIN}"


def rows() -> Iterator[Row]:
    yield from with_mean("features to masks", TWIN, from_features())
    yield from with_mean("JPEG to masks, ViT-S/8", WHOLE_TWIN, from_jpegs())


Pair = tuple[float, list[dict], float, list[dict]]  # seconds and masks, ours and the reference's


def with_mean(name: str, twin: str, pairs: Iterable[Pair]) -> Iterator[Row]:
    """A line a photo, and their mean."""
    found = []
    for number, (ours, mine, naive, other) in enumerate(pairs):
        found.append((ours, naive, *agreement(mine, other)))
        yield Row(f"{name}, photo {number}", "CPU s", ours, naive, said(*found[-1][2:]), twin)
    ours, naive, same, ious = zip(*found, strict=True)
    agrees = said(sum(same), [iou for some in ious for iou in some])
    yield Row(f"{name}, mean", "CPU s", fmean(ours), fmean(naive), agrees, twin)


def from_features() -> Iterator[Pair]:
    for seed in range(CACHED):
        features, pixels = synthetic_features(seed), photo(910 + seed)
        grid = FeatureMap({"key": features.reshape(*GRID, -1)}, SIZE, SEEN, 8)
        ours = timed(lambda g=grid, p=pixels: our_masks(g, p, THRESHOLD), 3)
        yield *ours, *timed(lambda f=features, p=pixels: their_masks(f, p, THRESHOLD))


def from_jpegs() -> Iterator[Pair]:
    from PIL import Image as pillow

    # Two networks of the same weights: the twin switches off the fused attention of its own.
    vit, plain = (Vit(model=MODEL, weights="random") for _ in range(2))
    plain([Image("x", np.zeros((8, 8, 3), np.uint8))])  # builds it before the clock starts
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(WHOLE):
            path = Path(folder, f"{seed}.jpg")
            pillow.fromarray(photo(920 + seed)).save(path, quality=QUALITY)
            threshold = usual_threshold(vit, path)
            ours = timed(lambda p=path, t=threshold: our_path(vit, p, t), 2)
            yield *ours, *timed(lambda p=path, t=threshold: their_path(plain, p, t))


def our_masks(features: FeatureMap, pixels: np.ndarray, threshold: float) -> list[dict]:
    graph = Cosine(threshold=threshold)(features, None, np.random.default_rng(0))
    found = MaskCut()(Scene(Image("photo", pixels), graph=graph))
    return [annotation["segmentation"] for annotation in encode_annotations(found)]


def their_masks(features: np.ndarray, pixels: np.ndarray, threshold: float) -> list[dict]:
    patches = reference.mask_cut(features, threshold)
    masks = reference.refined(reference.resized(pixels), patches, pixels.shape[:2])
    return reference.encoded(masks)


def our_path(vit: Vit, path: Path, threshold: float) -> list[dict]:
    pixels = load_pixels(path)
    return our_masks(vit([Image("photo", pixels)])[0], pixels, threshold)


def their_path(vit: Vit, path: Path, threshold: float) -> list[dict]:
    pixels, record = reference.photo(path), vit.record
    keys = reference.keys(vit._network, reference.resized(pixels), record.mean, record.std)
    return their_masks(keys, pixels, threshold)


def usual_threshold(vit: Vit, path: Path) -> float:
    """What joins JOINED of the pairs; builds the network before the clock starts."""
    key = vit([Image("photo", load_pixels(path))])[0].facets["key"]
    return float(np.quantile(affinity.cosine(key.reshape(-1, key.shape[-1])), 1 - JOINED))


def agreement(ours: list[dict], theirs: list[dict]) -> tuple[int, list[float]]:
    """How many masks are the same to the pixel, and each one's IoU with that of the same rank."""
    from pycocotools import mask as rle

    ious = [0.0] * max(len(ours), len(theirs))
    for rank, pair in enumerate(zip(ours, theirs, strict=False)):
        ious[rank] = float(rle.iou([pair[0]], [pair[1]], [0])[0, 0])
    return sum(iou == 1 for iou in ious), ious


def said(same: int, ious: list[float]) -> str:
    return f"masks {same}/{len(ious)}, IoU at least {min(ious, default=1):.5f}"
