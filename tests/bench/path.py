"""The whole pseudo-mask path of a photo, beside the reference's way of it (`reference.py`).

From features that are there already: graph, three cuts, CRF, run lengths. And from the JPEG:
decoding, ViT-S/8 and all of that. Features there already are synthetic (`ncut.synthetic_features`)
at CutLER's threshold; the network has random weights, and the threshold joins as many pairs as in a
photo. Masks are compared run by run: the two chains share nothing but photo, weights and sign rule.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cleave.backbones.vit import Vit
from cleave.graphs.cosine import Cosine
from cleave.io.coco import encode_annotations
from cleave.io.images import load_pixels
from cleave.masks.maskcut import MaskCut
from cleave.ops import affinity
from cleave.ops.render import scene
from cleave.types import FeatureMap, Image, Scene, Size
from tests.bench import reference
from tests.bench.harness import Row, timed
from tests.bench.ncut import synthetic_features

MODEL = "vit_small_patch8_224.dino"
SIZE, SEEN, GRID = Size(480, 640), Size(480, 480), Size(60, 60)
CACHED, WHOLE = 3, 2  # photos
THRESHOLD = 0.15  # CutLER's, for features that are there already
JOINED = 0.3  # share of the pairs of ViT keys above the threshold
TWIN = "maskcut.py's way: affinity and dense eigh for each cut, a CRF for each mask"
WHOLE_TWIN = f"hook on a whole forward pass, softmax written out; then {TWIN}"


def rows() -> Iterator[Row]:
    yield from from_features()
    yield from from_jpegs()


def from_features() -> Iterator[Row]:
    total, same, masks = np.zeros(2), 0, 0
    for seed in range(CACHED):
        features = synthetic_features(seed)
        pixels = scene("crowded", 910 + seed, SIZE).pixels
        grid = FeatureMap({"key": features.reshape(*GRID, -1)}, SIZE, SEEN, 8)
        ours, mine = timed(lambda g=grid, p=pixels: our_masks(g, p, THRESHOLD), 3)
        naive, other = timed(lambda f=features, p=pixels: their_masks(f, p, THRESHOLD))
        total += ours, naive
        same, masks = same + equal(mine, other), masks + len(other)
        agrees = f"masks {equal(mine, other)}/{len(other)}"
        yield Row(f"features to masks, photo {seed}", "CPU s", ours, naive, agrees, TWIN)
    name = f"features to masks, mean of {CACHED}"
    yield Row(name, "CPU s", *(total / CACHED), f"masks {same}/{masks}", TWIN)


def from_jpegs() -> Iterator[Row]:
    from PIL import Image as pillow

    vit = Vit(model=MODEL, weights="random")
    total, same, masks = np.zeros(2), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(WHOLE):
            path = Path(folder, f"{seed}.jpg")
            pillow.fromarray(scene("crowded", 920 + seed, SIZE).pixels).save(path, quality=92)
            threshold = usual_threshold(vit, path)
            ours, mine = timed(lambda p=path, t=threshold: our_path(vit, p, t), 2)
            naive, other = timed(lambda p=path, t=threshold: their_path(vit, p, t))
            total += ours, naive
            same, masks = same + equal(mine, other), masks + len(other)
            agrees = f"masks {equal(mine, other)}/{len(other)}"
            name = f"JPEG to masks, ViT-S/8, photo {seed}"
            yield Row(name, "CPU s", ours, naive, agrees, WHOLE_TWIN)
    name = f"JPEG to masks, ViT-S/8, mean of {WHOLE}"
    yield Row(name, "CPU s", *(total / WHOLE), f"masks {same}/{masks}", WHOLE_TWIN)


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


def equal(ours: list[dict], theirs: list[dict]) -> int:
    """How many masks are the same, run by run, in the same place of the order."""
    return sum(_runs(a) == _runs(b) for a, b in zip(ours, theirs, strict=False))


def _runs(code: dict[str, Any]) -> tuple:
    counts = code["counts"]
    return tuple(code["size"]), counts if isinstance(counts, bytes) else counts.encode()
