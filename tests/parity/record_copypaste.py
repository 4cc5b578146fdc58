"""Runs CutLER's copy-paste and records what it makes of small images, for the parity test.

`goldens/README.md` has the command, the commit and what was replaced.
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from recording import GOLDENS

SIDE, CASES = 24, 60
# Sizes at which CutLER's resize of masks, bilinear and cast to bool, grows none of them: masks are
# made of blocks of 2 x 2 pixels, and shrunk by half or not at all.
RATIOS = (0.5, 1.0)


class Masks:
    """As much of detectron2's BitMasks as the code calls."""

    def __init__(self, tensor: torch.Tensor):
        self.tensor = tensor

    def __getitem__(self, index) -> Masks:
        return Masks(self.tensor[index])

    def get_bounding_boxes(self) -> Boxes:
        boxes = torch.zeros(len(self.tensor), 4)
        for box, mask in zip(boxes, self.tensor, strict=True):
            rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
            box[:] = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        return Boxes(boxes)


class Boxes:
    """As much of detectron2's Boxes as the code calls."""

    def __init__(self, tensor: torch.Tensor):
        self.tensor, self.device = tensor, tensor.device

    def __getitem__(self, index) -> Boxes:
        return Boxes(self.tensor[index])

    def scale(self, x: float, y: float) -> None:
        self.tensor[:, 0::2] *= x
        self.tensor[:, 1::2] *= y


class Instances:
    """As much of detectron2's Instances as the code calls."""

    def __init__(self, masks: Masks, boxes: Boxes, classes: torch.Tensor):
        self.gt_masks, self.gt_boxes, self.gt_classes = masks, boxes, classes

    def __len__(self) -> int:
        return len(self.gt_classes)

    def __getitem__(self, index) -> Instances:
        return Instances(self.gt_masks[index], self.gt_boxes[index], self.gt_classes[index])

    def to(self, device) -> Instances:
        return self

    @staticmethod
    def cat(parts: list[Instances]) -> Instances:
        masks = Masks(torch.cat([p.gt_masks.tensor for p in parts]))
        boxes = Boxes(torch.cat([p.gt_boxes.tensor for p in parts]))
        return Instances(masks, boxes, torch.cat([p.gt_classes for p in parts]))


class Dice:
    """In place of `random` and `np.random`: answers what the case says, in the code's order."""

    def __init__(self, case: dict):
        self.case = case

    def random(self) -> float:
        return 0.5

    def uniform(self, low: float, high: float) -> float:
        return self.case["ratio"]

    def randint(self, low: int, high: int) -> int:
        if low == 1:  # np.random.randint(1, n): how many
            return self.case["count"]
        asked, self.asked = getattr(self, "asked", 0), getattr(self, "asked", 0) + 1
        return int(self.case["offset"][1 - asked])  # w_shift first

    def choice(self, n: int, count: int, replace: bool) -> np.ndarray:
        return self.case["order"][:count]


def random_case(seed: int) -> dict:
    """Two images with masks, and all that is random of the paste."""
    rng = np.random.default_rng(seed)
    case = {"ratio": RATIOS[seed % 2]}
    for name, least, most, largest in (("target", 0, 4, 6), ("source", 1, 12, 5)):
        count = int(rng.integers(least, most))
        masks = np.zeros((count, SIDE // 2, SIDE // 2), bool)
        for k, mask in enumerate(masks):
            top, left = rng.integers(0, SIDE // 2 - 2, 2)
            height, width = rng.integers(1, largest, 2)
            mask[top : top + height, left : left + width] = True
            masks[:k] &= ~mask
        masks = masks[masks.any((1, 2))].repeat(2, 1).repeat(2, 2)
        case[f"{name}_masks"] = masks
        case[f"{name}_pixels"] = rng.integers(0, 256, (3, SIDE, SIDE)).astype(np.uint8)
    n = len(case["source_masks"])
    case["count"] = 1 if n == 1 else int(rng.integers(1, n))
    if seed % 10 == 9 and len(
        case["target_masks"]
    ):  # the columns of the first target: none hides it, all together do
        columns = np.arange(SIDE // 2).repeat(2) == np.arange(SIDE // 2)[:, None]
        masks = case["target_masks"][0] & columns[:, None]
        case["source_masks"] = masks[masks.any((1, 2))]
        n = case["count"] = len(case["source_masks"])
    case["order"] = rng.permutation(n)
    side = int(case["ratio"] * SIDE)
    case["offset"] = rng.integers(0, SIDE - side + 1, 2)  # rows, columns
    return case


def reference(repository: Path):
    """The method `copy_and_paste` of CutLER's trainer, without detectron2 around it."""
    source = (repository / "cutler/engine/train_loop.py").read_text()
    found = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == "copy_and_paste"
    ]

    def run(case: dict) -> dict:
        dice = Dice(case)
        numpy = SimpleNamespace(random=dice)
        names = {
            "torch": torch, "F": F, "random": dice, "np": numpy,
            "Instances": Instances, "BitMasks": Masks,
        }  # fmt: skip
        exec(compile(ast.Module(found[:1], []), "train_loop.py", "exec"), names)
        settings = SimpleNamespace(
            cfg_COPY_PASTE_RATE=1.0, cfg_COPY_PASTE_RANDOM_NUM=True, cfg_COPY_PASTE_MIN_RATIO=0.3,
            cfg_COPY_PASTE_MAX_RATIO=1.0, cfg_VISUALIZE_COPY_PASTE=False,
        )  # fmt: skip
        (result,) = names["copy_and_paste"](
            settings, [data(case, "source")], [data(case, "target")]
        )
        return result

    return run


def data(case: dict, name: str) -> dict:
    masks = Masks(torch.from_numpy(case[f"{name}_masks"].copy()))
    first = 100 if name == "source" else 0  # classes say which mask is which
    classes = torch.arange(len(masks.tensor)) + first
    instances = Instances(masks, masks.get_bounding_boxes(), classes)
    return {"image": torch.from_numpy(case[f"{name}_pixels"].copy()), "instances": instances}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("repository", type=Path, help="a checkout of facebookresearch/CutLER")
    run = reference(parser.parse_args().repository)
    golden: dict[str, list] = {"pixels": [], "masks": [], "boxes": [], "classes": [], "counts": []}
    for seed in range(CASES):
        case = random_case(seed)
        result = run(case)
        found = result["instances"]
        golden["pixels"].append(result["image"].numpy() ^ case["target_pixels"])  # mostly zeros
        golden["counts"].append(len(found))
        golden["masks"] += list(np.packbits(found.gt_masks.tensor.numpy(), axis=2))
        golden["boxes"] += found.gt_boxes.tensor.tolist()
        golden["classes"] += found.gt_classes.tolist()
    arrays = {name: np.array(values).astype(np.uint8) for name, values in golden.items()}
    np.savez_compressed(GOLDENS / "copypaste.npz", **arrays)


if __name__ == "__main__":
    main()
