"""Runs LOST and DINO's attention masks and records what they answer, for the parity tests.

    python tests/parity/record_lost.py LOST dino

with checkouts of valeoai/LOST@fcedbec and facebookresearch/dino@7c446df. `goldens/README.md` says
what was patched.
"""

from __future__ import annotations

import runpy
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from record_reference import SEEDS, pack, random_signs
from recording import GOLDENS, main

from cleave.masks.dino_seg import DinoSeg
from cleave.masks.lost import Lost
from cleave.types import FeatureMap, Image, Scene, Size

GOLDEN = GOLDENS / "lost.npz"
HEADS, SHAPE, MASS = 6, (14, 18), 0.6


def random_attention(seed: int) -> np.ndarray:
    """(heads, h, w) float32: a few blobs a head, no two patches of a head alike."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[: SHAPE[0], : SHAPE[1]] / (SHAPE[0] - 1)
    maps = np.zeros((HEADS, *SHAPE))
    for head in maps:
        for _ in range(rng.integers(1, 5)):
            y, x, radius = rng.uniform(0, 1), rng.uniform(0, 1.3), rng.uniform(0.05, 0.3)
            head += rng.uniform(0.2, 1) * np.exp(
                -((row - y) ** 2 + (column - x) ** 2) / (2 * radius**2)
            )
        head += 0.3 * rng.random(SHAPE)
    ranks = maps.reshape(HEADS, -1).argsort(1).argsort(1).reshape(maps.shape)
    # Whole numbers, all different, and far from a sum at which round-off would decide.
    return (ranks**3 // 100 + ranks + 1).astype(np.float32)


def scene_of(keys: np.ndarray, attention: np.ndarray | None = None) -> Scene:
    """What cleave's methods see, on an image of one pixel a patch."""
    size = Size(*keys.shape[:2])
    features = FeatureMap(
        {"key": keys.astype(np.float32)},
        size,
        size,
        1,
        attention=attention,
        heads=1 if attention is None else len(attention),
    )
    return Scene(Image("parity", np.zeros((*size, 3), np.uint8)), features=features)


class Reference:
    """The references' functions, with a stable sort where a patch says so."""

    def __init__(self, lost: Path, dino: Path, patches: set[str]):
        sys.modules["datasets"] = types.SimpleNamespace(bbox_iou=None)
        sys.path.insert(0, str(lost))
        import object_discovery
        import torch

        self._torch = torch
        self._module, self._dino = object_discovery, dino
        self._label, self._labels = object_discovery.scipy.ndimage.label, None
        object_discovery.scipy = types.SimpleNamespace(
            ndimage=types.SimpleNamespace(label=self._watched)
        )
        # Its loop over the components leaves the last one out; the other loop counts with an int.
        object_discovery.range = lambda n: range(n + isinstance(n, np.integer))
        if "ties" in patches:
            argsort = torch.argsort
            object_discovery.torch = types.SimpleNamespace(
                **{name: getattr(torch, name) for name in ("sum", "float32", "sort", "cumsum")},
                argsort=lambda values, **kwargs: argsort(values, stable=True, **kwargs),
            )

    def _watched(self, mask):
        labels, count = self._label(mask)
        self._labels = labels
        return labels, count

    def lost(self, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(h, w) bool, the component whose box it gives, and the box (x0, y0, x1, y1)."""
        h, w, channels = signs.shape
        tokens = self._torch.from_numpy(signs.reshape(1, -1, channels).astype(np.float32))
        box, _, _, seed = self._module.lost(tokens, [h, w], [1, 1], (3, h, w), k_patches=100)
        return self._labels == self._labels.flat[int(seed)], box

    def largest(self, attention: np.ndarray, head: int) -> np.ndarray:
        """The box (x0, y0, x1, y1) of LOST's DINO-seg."""
        heads, h, w = attention.shape
        rows = np.concatenate([np.zeros((heads, 1)), attention.reshape(heads, -1)], 1)
        tokens = self._torch.from_numpy(np.repeat(rows[None, :, None], 2, axis=2))
        return np.array(self._module.dino_seg(tokens.float(), (h, w), 1, head=head))

    def whole(self, attention: np.ndarray) -> np.ndarray:
        """(heads, h, w) bool of DINO's own script, which is run to its end."""
        heads, h, w = attention.shape
        rows = np.concatenate([np.zeros((heads, 1)), attention.reshape(heads, -1)], 1)
        tokens = np.broadcast_to(rows[None, :, None], (1, heads, h * w + 1, h * w + 1))
        model = types.SimpleNamespace(
            parameters=list,
            eval=lambda: None,
            to=lambda device: None,
            get_last_selfattention=lambda image: self._torch.from_numpy(tokens.copy()).float(),
        )
        stub = types.ModuleType("vision_transformer")
        stub.vit_tiny = lambda patch_size, num_classes: model
        sys.modules.update(vision_transformer=stub, utils=types.ModuleType("utils"))
        with tempfile.TemporaryDirectory() as folder:
            Pillow.new("RGB", (8 * w, 8 * h)).save(f"{folder}/photo.png")
            sys.argv = ["visualize_attention", "--arch", "vit_tiny", "--output_dir", folder]
            sys.argv += ["--threshold", str(MASS), "--image_path", f"{folder}/photo.png"]
            sys.argv += ["--image_size", str(8 * h), str(8 * w)]
            script = self._dino / "visualize_attention.py"
            names = runpy.run_path(str(script), run_name="__main__")
        return names["th_attn"][:, ::8, ::8] > 0


def record(reference: Reference) -> None:
    """LOST on the features of `cuts.npz`, DINO-seg on attention that the test draws anew."""
    signs = np.stack([random_signs(seed) for seed in SEEDS])
    masks, boxes = zip(*(reference.lost(s) for s in signs), strict=True)
    maps = [random_attention(seed) for seed in range(4)]
    np.savez_compressed(
        GOLDEN,
        lost=pack(np.stack(masks)),
        boxes=np.stack(boxes),
        attention=np.stack(maps).astype(np.uint32),
        largest=np.stack([[reference.largest(m, head) for head in range(HEADS)] for m in maps]),
        whole=np.stack([pack(reference.whole(m)) for m in maps]),
    )


def agreement(reference: Reference, count: int) -> str:
    """On how many of `count` random images cleave and the references give the same."""
    same = {"lost": 0, "dino_seg": 0}
    for seed in range(count):
        signs = random_signs(seed)
        ours = Lost()(scene_of(signs)).masks
        same["lost"] += np.array_equal(ours, reference.lost(signs)[0][None])
        attention = random_attention(seed)
        shown = scene_of(np.zeros((*SHAPE, 1)), attention)
        boxes = [DinoSeg(head=head)(shown).boxes[0] for head in range(HEADS)]
        theirs = [reference.largest(attention, head) for head in range(HEADS)]
        same["dino_seg"] += np.array_equal(boxes, theirs)
    return f"identical on {same} of {count}"


if __name__ == "__main__":
    main(Reference, record, agreement, ["lost", "dino"], ["ties"])
