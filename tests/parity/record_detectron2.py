"""Runs detectron2's own detectors on made-up weights, for the parity test of ours.

    python tests/parity/record_detectron2.py

with detectron2 installed (recorded at 02b5c4e, Apache-2.0, with torch 2.14 on one CPU core).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
from recording import GOLDENS, pictures

GOLDEN = GOLDENS / "detectron2.npz"
KEPT = 40  # detections of an image in the golden
SIZES = ((160, 224), (208, 150), (130, 330))  # height, width; the pyramid pads each differently
ORIGINALS = ((320, 448), (333, 240), (130, 330))  # of the photos that they are resized from

# model_zoo/configs/Base-RCNN-FPN.yaml and CutLER-ImageNet/*.yaml of facebookresearch/CutLER, and
# two for one process on a CPU: SyncBN is BN there.
CUTLER = [
    *("MODEL.DEVICE", "cpu", "MODEL.MASK_ON", True, "INPUT.FORMAT", "RGB"),
    *("MODEL.META_ARCHITECTURE", "GeneralizedRCNN"),
    *("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "MODEL.BACKBONE.FREEZE_AT", 0),
    *("MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"]),
    *("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.STRIDE_IN_1X1", False),
    *("MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN"),
    *("MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"]),
    *("MODEL.ANCHOR_GENERATOR.SIZES", [[32], [64], [128], [256], [512]]),
    *("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", [[0.5, 1.0, 2.0]]),
    *("MODEL.RPN.IN_FEATURES", ["p2", "p3", "p4", "p5", "p6"]),
    *("MODEL.RPN.PRE_NMS_TOPK_TRAIN", 2000, "MODEL.RPN.PRE_NMS_TOPK_TEST", 1000),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", 4000, "MODEL.RPN.POST_NMS_TOPK_TEST", 1000),
    *("MODEL.RPN.NMS_THRESH", 0.65, "MODEL.ROI_HEADS.IN_FEATURES", ["p2", "p3", "p4", "p5"]),
    *("MODEL.ROI_HEADS.NUM_CLASSES", 1, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0),
    *("MODEL.ROI_HEADS.POSITIVE_FRACTION", 0.25, "TEST.DETECTIONS_PER_IMAGE", 100),
    *("MODEL.ROI_BOX_HEAD.NAME", "FastRCNNConvFCHead", "MODEL.ROI_BOX_HEAD.NUM_FC", 2),
    *("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7, "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", 14),
    *("MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead", "MODEL.ROI_MASK_HEAD.NUM_CONV", 4),
    *("MODEL.PIXEL_MEAN", [123.675, 116.280, 103.530]),
    *("MODEL.PIXEL_STD", [58.395, 57.120, 57.375]),
]
HEADS = {
    "mask_rcnn": ["MODEL.ROI_HEADS.NAME", "StandardROIHeads"],
    "cascade": [
        *("MODEL.ROI_HEADS.NAME", "CascadeROIHeads"),
        *("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True),
    ],
}
# Of predictors: how far their outputs spread, so that scores, boxes and masks differ
SPREAD = {
    "objectness_logits": 1.0,
    "anchor_deltas": 0.3,
    "cls_score": 0.5,
    "bbox_pred": 0.7,
    "mask_head.predictor": 2.0,
}


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Made-up weights under detectron2's names, the same on every machine: float32.

    Convolutions keep the variance (He et al., arXiv 1502.01852, eq. 10), residuals add a tenth.
    Without the mean over their inputs, or one region would look like the other after ten layers.
    """
    return {name: values_of(name, shape) for name, shape in shapes.items()}


def values_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng([0, zlib.crc32(name.encode())])
    noise = rng.standard_normal(shape, dtype=np.float32)
    if name.endswith("running_var"):
        return np.exp(0.1 * noise)
    if len(shape) == 1:
        residual = 0.3 if name.endswith("conv3.norm.weight") else 1.0
        return np.float32(residual) * (0.1 * noise + name.endswith("norm.weight"))
    spread = next((v for part, v in SPREAD.items() if part in name), np.sqrt(2))
    inputs = (0, 2, 3) if "deconv" in name else tuple(range(1, len(shape)))
    noise -= noise.mean(inputs, keepdims=True)
    fan_in = shape[0] if "deconv" in name else np.prod(shape[1:])
    return noise * np.float32(spread / np.sqrt(fan_in))


def reference(heads: str):
    """detectron2's GeneralizedRCNN with CutLER's configuration and the made-up weights."""
    import torch
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    config = get_cfg()
    config.merge_from_list([*CUTLER, *HEADS[heads]])
    model = build_model(config).eval()
    made = weights(made_up_shapes(model))
    state = {name: torch.from_numpy(value) for name, value in made.items()}
    model.load_state_dict(state, strict=False)  # without the counters of batches
    return model


def made_up_shapes(model) -> dict[str, tuple[int, ...]]:
    """Shapes of what `weights` makes, by detectron2's names."""
    return {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def detect(model) -> list:
    """detectron2's Instances of each picture, with full-size bool masks."""
    import torch

    inputs = [
        {"image": torch.from_numpy(p).permute(2, 0, 1).float(), "height": h, "width": w}
        for p, (h, w) in zip(pictures(SIZES), ORIGINALS, strict=True)
    ]
    with torch.inference_mode():
        return [output["instances"] for output in model(inputs)]


def main() -> None:
    found = {}
    for heads in HEADS:
        model = reference(heads)
        shapes = made_up_shapes(model)
        found[f"{heads}_names"] = np.array(list(shapes))
        found[f"{heads}_shapes"] = np.array([" ".join(map(str, s)) for s in shapes.values()])
        for number, instances in enumerate(detect(model)):
            key = f"{heads}_{number}"
            found[f"{key}_boxes"] = instances.pred_boxes.tensor[:KEPT].numpy()
            found[f"{key}_scores"] = instances.scores[:KEPT].numpy()
            found[f"{key}_areas"] = instances.pred_masks[:KEPT].sum((1, 2)).int().numpy()
            found[f"{key}_count"] = np.array(len(instances))
    np.savez_compressed(GOLDEN, **found)


if __name__ == "__main__":
    main()
