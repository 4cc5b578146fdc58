"""Runs AdelaiDet's SOLOv2 and FreeSOLO's losses on made-up weights, for the parity test of ours.

    python tests/parity/record_solov2.py AdelaiDet FreeSOLO

with detectron2 and cv2 installed, and the checkouts of aim-uofa/AdelaiDet (recorded at 3672122,
non-commercial) and NVlabs/FreeSOLO (at 340311b, non-commercial).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from record_detectron2 import made_up_shapes, values_of
from recording import GOLDENS, pictures

GOLDEN = GOLDENS / "solov2.npz"
SIZES = ((160, 224), (208, 152))  # height, width: multiples of four; the frame pads both
ORIGINALS = ((90, 126), (104, 76))  # of the photos that they are resized from
KEPT = 12  # masks of an image
SMALL = {"NUM_INSTANCE_CONVS": 2, "INSTANCE_CHANNELS": 64, "MASK_CHANNELS": 64}
SMALL |= {"NUM_KERNELS": 32, "NUM_MASKS": 32, "NUM_CLASSES": 2, "MAX_PER_IMG": KEPT}
# Of predictors: how far their outputs spread, so that scores and masks differ
SPREAD = {"cate_pred": 2.5, "kernel_pred": 1.5}
BASE = [
    *("MODEL.DEVICE", "cpu", "MODEL.MASK_ON", True, "MODEL.META_ARCHITECTURE", "SOLOv2"),
    *("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "MODEL.BACKBONE.FREEZE_AT", 0),
    *("MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"]),
    *("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.STRIDE_IN_1X1", False),
    *("MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN", "INPUT.FORMAT", "RGB"),
    *("MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"]),
    *("MODEL.PIXEL_MEAN", [123.675, 116.280, 103.530]),
    *("MODEL.PIXEL_STD", [58.395, 57.120, 57.375]),
]  # configs/DenseCL/SOLOv2_R50_1x_DenseCL.yaml, for one process


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Made-up weights under AdelaiDet's names, the same on every machine: float32."""
    return {name: _values(name, shape) for name, shape in shapes.items()}


def _values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.startswith("backbone."):
        return values_of(name, shape)
    rng = np.random.default_rng([0, zlib.crc32(name.encode())])
    noise = rng.standard_normal(shape, dtype=np.float32)
    if len(shape) == 1:
        lowered = 3.0 if name == "ins_head.cate_pred.bias" else 0.0
        return 0.1 * noise + np.float32(name.endswith("weight")) - np.float32(lowered)
    spread = next((v for part, v in SPREAD.items() if part in name), np.sqrt(2))
    noise -= noise.mean(tuple(range(1, len(shape))), keepdims=True)
    return noise * np.float32(spread / np.sqrt(np.prod(shape[1:])))


def objects(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of one picture: (9, H, W) bool ellipses, their boxes (9, 4) float32 and labels (9,)."""
    rng, (height, width) = np.random.default_rng(10 + number), SIZES[number]
    masks, boxes = np.zeros((9, height, width), bool), np.zeros((9, 4), np.float32)
    y, x = np.mgrid[:height, :width]
    for mask, box in zip(masks, boxes, strict=True):
        radius, centre = rng.uniform(4, 80, 2), rng.uniform(0, SIZES[number])
        mask |= ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2 <= 1
        box[:] = x[mask].min(), y[mask].min(), x[mask].max() + 1, y[mask].max() + 1
    return masks, boxes, rng.integers(0, 2, 9)


def coarse() -> dict[str, np.ndarray]:
    """Inputs of FreeSOLO's losses: Lab colours, what lies in the image, masks and their logits."""
    rng = np.random.default_rng(5)
    base = rng.normal(0, 3, (3, 4, 5)).repeat(4, 1).repeat(4, 2)
    lab = (base + rng.normal(0, 0.8, base.shape)).astype(np.float32)
    inside = np.ones((16, 20), np.float32)
    inside[:, 18:] = 0
    logits = rng.normal(0, 2, (3, 16, 20)).astype(np.float32)
    masks = np.zeros((3, 16, 20), np.uint8)
    masks[0, 2:9, 3:12], masks[1, 5:15, 10:17], masks[2, 0:6, 0:4] = 1, 1, 1
    masks[:, ::3, ::4] = 0
    return {"lab": lab, "inside": inside, "logits": logits, "masks": masks}


def load(folder: Path, name: str):
    """The folder of a package's SOLOv2 alone; the rest of it needs compiled parts."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def configuration(checkout: Path, **changes):
    """AdelaiDet's defaults, which its file adds to those of detectron2."""
    from detectron2.config import get_cfg

    exec((checkout / "adet/config/defaults.py").read_text(), {})
    config = get_cfg()
    config.merge_from_list(BASE)
    for name, value in changes.items():
        config.MODEL.SOLOV2[name] = value
    return config


def reference(kind, config):
    """AdelaiDet's SOLOv2 with the made-up weights."""
    import torch

    model = kind(config).eval()
    made = weights(made_up_shapes(model))
    model.load_state_dict({n: torch.from_numpy(v) for n, v in made.items()}, strict=False)
    return model


def inputs(learn: bool) -> list[dict]:
    import torch
    from detectron2.structures import BitMasks, Boxes, Instances

    found = []
    for number, picture in enumerate(pictures(SIZES)):
        height, width = ORIGINALS[number]
        image = torch.from_numpy(picture).permute(2, 0, 1).float()
        entry = {"image": image, "height": height, "width": width}
        if learn:
            masks, boxes, labels = map(torch.from_numpy, objects(number))
            entry["instances"] = Instances(SIZES[number])
            entry["instances"].gt_boxes = Boxes(boxes)
            entry["instances"].gt_classes = labels
            entry["instances"].gt_masks = BitMasks(masks)
        found.append(entry)
    return found


def record_detector(checkout: Path) -> dict[str, np.ndarray]:
    import torch

    package = load(checkout / "adet/modeling/solov2", "adet_solov2")
    model, found = reference(package.SOLOv2, configuration(checkout, **SMALL)), {}
    published = package.SOLOv2(configuration(checkout))
    for key, shapes in (("", made_up_shapes(published)), ("small_", made_up_shapes(model))):
        found[f"{key}names"] = np.array(list(shapes))
        found[f"{key}shapes"] = np.array([" ".join(map(str, s)) for s in shapes.values()])
    with torch.no_grad():
        for number, entry in enumerate(inputs(False)):  # alone, or `enlarge` would differ
            instances = model([entry])[0]["instances"]
            found[f"scores_{number}"] = instances.scores.numpy()
            found[f"labels_{number}"] = instances.pred_classes.numpy()
            found[f"masks_{number}"] = np.packbits(instances.pred_masks.numpy())
        instances = [entry["instances"] for entry in inputs(True)]
        frame = [side // 4 for side in np.max([(160, 224), (224, 160)], 0).tolist()]
        masks, labels, _, cells = model.get_ground_truth(instances, frame)
        for number in range(len(SIZES)):
            found[f"owned_{number}"] = torch.cat([c.flatten() for c in labels[number]]).numpy()
            starts = np.cumsum([0] + [n * n for n in model.num_grids])
            found[f"cells_{number}"] = np.concatenate(
                [np.array(c, int) + s for c, s in zip(cells[number], starts, strict=False)]
            )
            flat = torch.cat(masks[number]).flatten(1).long().numpy()
            found[f"sums_{number}"] = np.stack([flat.sum(1), flat @ np.arange(flat.shape[1])])
        model.train()
        model.backbone.eval()  # batch norms as they are
        losses = model(inputs(True))
    found |= {name: value.numpy() for name, value in losses.items()}
    return found


def record_free(checkout: Path) -> dict[str, np.ndarray]:
    """FreeSOLO's mask losses of a level, and what they are made of."""
    import torch
    from detectron2.modeling import META_ARCH_REGISTRY

    META_ARCH_REGISTRY._obj_map.pop("SOLOv2")  # AdelaiDet's
    package = types.ModuleType("free_solov2")  # without its __init__, which needs scikit-image
    package.__path__ = [str(checkout / "freesolo/modeling/solov2")]
    sys.modules["free_solov2"] = package
    solo, utils = (importlib.import_module(f"free_solov2.{name}") for name in ("solov2", "utils"))
    given = {name: torch.from_numpy(value) for name, value in coarse().items()}
    alike = utils.get_images_color_similarity(given["lab"][None], given["inside"], 3, 2)
    logits, cells = given["logits"], [0, 1, 2]
    model = types.SimpleNamespace(
        _iter=torch.full([1], 499.0), _warmup_iters=1000, pairwise_size=3, pairwise_dilation=2,
        pairwise_color_thresh=0.3, ins_loss_weight=1.0, num_classes=1, num_embs=128,
        focal_loss_weight=1.0, focal_loss_alpha=0.25, focal_loss_gamma=2.0,
    )  # fmt: skip
    targets = (
        [[given["masks"]]], [[torch.zeros((2, 2), dtype=torch.int64)]],
        [[torch.ones(4, dtype=torch.bool)]], [[cells]], [[torch.ones((2, 2, 128))]],
        [alike],
    )  # fmt: skip
    kernels = [torch.eye(3)[None, :, [0, 1, 2, 0]].reshape(1, 3, 2, 2)]  # cell i gives map i
    losses = solo.SOLOv2.loss(
        model, [torch.zeros((1, 1, 2, 2))], kernels, [torch.ones((1, 128, 2, 2))], logits[None],
        targets,
    )  # fmt: skip
    found = {f"free_{name}": value.numpy() for name, value in losses.items()}
    return found | {"free_alike": np.packbits(alike[0].numpy() >= 0.3)}


def main(adelaidet: str, freesolo: str) -> None:
    found = record_detector(Path(adelaidet)) | record_free(Path(freesolo))
    np.savez_compressed(GOLDEN, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
