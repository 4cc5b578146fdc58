"""Runs the region losses of CutLER and of CuVLER on made-up weights, for the parity test of ours.

    python tests/parity/record_losses.py CutLER CuVLER

with detectron2 importable (02b5c4e; nothing of it that must be compiled is used) and checkouts of
facebookresearch/CutLER@cca0a270 and shahaf-arica/CuVLER@b7a9cc41. Both define the same packages,
so each runs in a process of its own.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import torch
from recording import GOLDENS

from cleave.ops.targets import Targets
from cleave.rcnn.regions import Regions
from cleave.rcnn.settings import Architecture, Losses

GOLDEN = GOLDENS / "losses.json"
HEIGHT, WIDTH, CHANNELS, PROPOSALS = 64, 96, 8, 40

# Every proposal is drawn, so that the result does not hang on random numbers.
SMALL = Architecture(
    trunk="resnet18", fpn_channels=CHANNELS, box_width=16, mask_channels=8, mask_convolutions=1,
    roi_batch=1000, roi_positive=1.0,
)  # fmt: skip

# CutLER: one object an image, where its choice of objects is ours (see `drop_weights`).
# CuVLER: one stage, since later ones of its cascade ask for a field that nothing sets.
CASES = {
    "cutler": (SMALL, Losses(drop_loss=True), 1),
    "cuvler": (
        dataclasses.replace(SMALL, ious=(0.5,)),
        Losses(drop_loss=False, soft_targets=True),
        4,
    ),
}


def filled(regions: Regions) -> Regions:
    """The heads with made-up weights, the same on every machine."""
    state = {}
    for name, value in regions.state_dict().items():
        rng = np.random.default_rng([0, zlib.crc32(name.encode())])
        state[name] = torch.from_numpy(0.2 * rng.standard_normal(tuple(value.shape))).float()
        if ".deltas." in name:
            state[name] *= 0.5
    regions.load_state_dict(state)
    return regions.train()


def scene(objects: int) -> tuple[list, list, list]:
    """Maps p2 … p5 of two images, their proposals and their targets."""
    rng = np.random.default_rng(7)
    shapes = [(2, CHANNELS, HEIGHT // s, WIDTH // s) for s in (4, 8, 16, 32)]
    maps = [torch.from_numpy(rng.standard_normal(shape)).float() for shape in shapes]
    proposals, targets = [], []
    for _ in range(2):
        near = boxes(rng, objects)
        around = near.repeat(PROPOSALS // 4 // objects, 1)
        shift = torch.from_numpy(rng.integers(-6, 7, tuple(around.shape))).float()
        proposals.append(torch.cat((boxes(rng, PROPOSALS), around + shift)))
        masks = torch.zeros((objects, HEIGHT, WIDTH), dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks, near.int().tolist(), strict=True):
            mask[y0:y1, x0 : x0 + (x1 - x0) * 2 // 3] = True
        scores = torch.from_numpy(rng.uniform(0.1, 1, objects)).float()
        targets.append(Targets(near, masks, scores, torch.zeros(objects, dtype=torch.int64)))
    return maps, proposals, targets


def boxes(rng: np.random.Generator, count: int) -> torch.Tensor:
    """(count, 4) float32 whole pixels, at least 16 a side."""
    corner = rng.integers(0, (WIDTH - 48, HEIGHT - 40), (count, 2))
    return torch.from_numpy(np.hstack((corner, corner + rng.integers(16, 40, (count, 2))))).float()


def reference_name(name: str, stages: int) -> str:
    """Our name of a weight of the heads in detectron2's code."""
    part, *middle, layer, kind = name.split(".")
    if part == "mask_head":
        names = {"upsample": "deconv", "masks": "predictor"}
        layer = names.get(layer) or f"mask_fcn{int(layer) + 1}"
        return f"mask_head.{layer}.{kind}"
    stage = f".{middle[0]}" if stages > 1 else ""
    names = {
        "classes": f"box_predictor{stage}.cls_score",
        "deltas": f"box_predictor{stage}.bbox_pred",
    }
    return f"{names.get(layer, f'box_head{stage}.{layer}')}.{kind}"


def configured(case: str, architecture: Architecture, losses: Losses):
    """detectron2's config of the heads."""
    from detectron2.config import get_cfg

    config = get_cfg()
    if case == "cutler":
        from config import add_cutler_config as add

        name, mask = "CustomCascadeROIHeads", "MaskRCNNConvUpsampleHead"
    else:
        from cad.config.config import add_cuvler_config as add

        name, mask = "CustomStandardROIHeads", "CustomMaskRCNNConvUpsampleHead"
    add(config)
    heads = config.MODEL.ROI_HEADS
    heads.NAME, heads.IN_FEATURES, heads.NUM_CLASSES = name, ["p2", "p3", "p4", "p5"], 1
    heads.BATCH_SIZE_PER_IMAGE, heads.POSITIVE_FRACTION = 1000, 1.0
    heads.USE_DROPLOSS, heads.DROPLOSS_IOU_THRESH = losses.drop_loss, losses.drop_iou
    if losses.soft_targets:
        heads.USE_SOFT_TARGETS = True
    box, masks = config.MODEL.ROI_BOX_HEAD, config.MODEL.ROI_MASK_HEAD
    box.NAME, box.NUM_FC, box.FC_DIM = "FastRCNNConvFCHead", 2, architecture.box_width
    box.POOLER_RESOLUTION, box.CLS_AGNOSTIC_BBOX_REG = 7, True
    masks.NAME, masks.NUM_CONV, masks.CONV_DIM = mask, 1, architecture.mask_channels
    masks.POOLER_RESOLUTION, config.MODEL.MASK_ON = 14, True
    return config


def record(case: str, checkout: str) -> dict[str, float]:
    """Losses as the reference computes and names them."""
    sys.path.insert(0, str(Path(checkout, "cutler") if case == "cutler" else checkout))
    # Imported for coloured output, which is never made
    sys.modules["colored"] = types.SimpleNamespace(fg=str, bg=str, attr=str)
    if case == "cuvler":  # its __init__ imports the training script
        package = sys.modules["cad"] = types.ModuleType("cad")
        package.__path__ = [str(Path(checkout, "cad"))]
        from cad.modeling.roi_heads import build_roi_heads
    else:
        from modeling.roi_heads import build_roi_heads
    from detectron2.layers import ShapeSpec
    from detectron2.structures import BitMasks, Boxes, Instances
    from detectron2.utils.events import EventStorage

    architecture, losses, objects = CASES[case]
    levels = {f"p{k}": ShapeSpec(channels=CHANNELS, stride=2**k) for k in (2, 3, 4, 5)}
    heads = build_roi_heads(configured(case, architecture, losses), levels).train()
    stages = len(architecture.ious)
    state = filled(Regions(architecture, losses)).state_dict()
    heads.load_state_dict({reference_name(k, stages): v for k, v in state.items()})
    maps, proposals, targets = scene(objects)
    given, truth = [], []
    for where, target in zip(proposals, targets, strict=True):
        item = Instances((HEIGHT, WIDTH))
        item.proposal_boxes, item.objectness_logits = Boxes(where), torch.zeros(len(where))
        given.append(item)
        item = Instances((HEIGHT, WIDTH))
        item.gt_boxes, item.gt_classes = Boxes(target.boxes), target.labels
        item.gt_masks, item.gt_scores = BitMasks(target.masks), target.scores
        truth.append(item)
    with EventStorage(0):
        _, found = heads(None, dict(zip(levels, maps, strict=True)), given, truth)
    return {name: round(value.item(), 6) for name, value in found.items()}


def main(*checkouts: str) -> None:
    results = {}
    for case, checkout in zip(CASES, checkouts, strict=True):
        program = "import json, record_losses as r; print(json.dumps(r.record(%r, %r)))"
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program % (case, checkout)],
            cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        results[case] = json.loads(done.stdout.splitlines()[-1])
    GOLDEN.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
