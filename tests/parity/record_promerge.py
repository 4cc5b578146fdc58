"""Runs the code of ProMerge and records what it answers, for the parity tests.

`goldens/README.md` has the command and the commit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
from record_reference import CHANNELS, GRID, pack, random_signs
from recording import GOLDENS, main

from cleave.masks.promerge import ProMerge
from cleave.types import FeatureMap, Image, Scene, Size

WIDTH = 768  # channels that the code insists on; those beyond CHANNELS are zero
PATCH = 8
SEEDS = (2, 19, 29, 34, 42, 52, 64, 79, 103, 155)
# Names of the code's arguments, with the defaults of run_script.sh, and another set of them.
PUBLISHED = {
    "stride": 4,
    "bipartition_tau": 0.2,
    "cc_maskarea_tau": 0.5,
    "iou_filter_tau": 0.8,
    "foreground_include_tau": 0.1,
    "intersection_merge_tau": 0.5,
    "merge_ioa_tau": 0.1,
    "dino_merge_tau": 0.1,
}
OTHER = PUBLISHED | {
    "stride": 3,
    "bipartition_tau": 0.3,
    "cc_maskarea_tau": 0.9,
    "iou_filter_tau": 0.4,
    "foreground_include_tau": 0.2,
    "dino_merge_tau": 0.35,
}
FIELDS = {
    "stride": "stride",
    "bipartition_tau": "affinity",
    "cc_maskarea_tau": "component",
    "iou_filter_tau": "inside_background",
    "foreground_include_tau": "like_background",
    "intersection_merge_tau": "overlap",
    "merge_ioa_tau": "similar_overlap",
    "dino_merge_tau": "similarity",
}
SETS = {"published": PUBLISHED, "other": OTHER}


def ours(signs: np.ndarray, arguments: dict) -> np.ndarray:
    """(M, h, w) bool in the order of `ordered`."""
    size = Size(*signs.shape[:2])
    features = FeatureMap({"key": signs.astype(np.float32)}, size, size, 1)
    scene = Scene(Image("parity", np.zeros((*size, 3), np.uint8)), features=features)
    fields = {FIELDS[name]: value for name, value in arguments.items()}
    return ordered(ProMerge(refine="none", **fields)(scene).masks)


def ordered(masks: np.ndarray) -> np.ndarray:
    """The masks in an order of their own: the code keeps them in a set."""
    return np.array(sorted(masks, key=lambda mask: mask.tobytes()), bool).reshape(-1, GRID, GRID)


class Reference:
    """The reference on the CPU, stopped where masks go to the CRF."""

    def __init__(self, checkout: Path):
        import torch

        torch.Tensor.cuda = lambda tensor: tensor
        self._found: list[np.ndarray] = []
        colours = types.ModuleType("detectron2.utils.colormap")
        colours.random_color = None
        self._stand_in("detectron2", "detectron2.utils", "dino")
        sys.modules["detectron2.utils.colormap"] = colours
        self._stand_in("crf")
        sys.modules["crf"].densecrf = self._keep
        sys.path.insert(0, str(checkout / "promerge"))
        import promerge

        self._class = promerge.ProMerge

    def _stand_in(self, *names: str) -> None:
        for name in names:
            sys.modules[name] = types.ModuleType(name)

    def _keep(self, _pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
        self._found.append(mask[::PATCH, ::PATCH] > 0)
        return mask

    def __call__(self, signs: np.ndarray, arguments: dict) -> np.ndarray:
        """(M, h, w) bool in the order of `ordered`."""
        import torch
        from PIL import Image as Picture

        tokens = np.zeros((1, WIDTH, GRID * GRID), np.float32)
        tokens[0, :CHANNELS] = signs.reshape(-1, CHANNELS).T
        side = GRID * PATCH
        self._found.clear()
        with tempfile.TemporaryDirectory() as folder:
            Picture.new("RGB", (side, side)).save(Path(folder) / "image.png")
            namespace = argparse.Namespace(
                image_dir=folder,
                fixed_size=side,
                img_out_dir=None,
                final_figures_dir=None,
                **arguments,
            )
            self._class(namespace)(lambda _images: torch.from_numpy(tokens))
        return ordered(self._found)


def record(reference: Reference) -> None:
    signs = np.stack([random_signs(seed) for seed in SEEDS])
    answers = {}
    for name, arguments in SETS.items():
        masks = [reference(s, arguments) for s in signs]
        answers[name] = pack(np.concatenate(masks))
        answers[f"{name}_counts"] = np.array([len(m) for m in masks])
    np.savez_compressed(GOLDENS / "promerge.npz", signs=np.packbits(signs > 0, axis=-1), **answers)


def agreement(reference: Reference, count: int) -> str:
    """On how many of `count` random images cleave and the reference give the same masks."""
    same, masks = dict.fromkeys(SETS, 0), dict.fromkeys(SETS, 0)
    for seed in range(count):
        signs = random_signs(seed)
        for name, arguments in SETS.items():
            theirs = reference(signs, arguments)
            same[name] += np.array_equal(theirs, ours(signs, arguments))
            masks[name] += len(theirs)
    return f"identical on {same} of {count}, with {masks} masks"


if __name__ == "__main__":
    main(Reference, record, agreement, ["promerge"])
