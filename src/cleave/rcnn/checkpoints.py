"""Weights of Mask R-CNN and Cascade Mask R-CNN: ours, detectron2's, torchvision's.

A file either fits whole or is refused, as `cleave.networks.weights` has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cleave.io.atomic import replacing
from cleave.networks.weights import (
    Names,
    State,
    check_pixels,
    detectron2_rules,
    fill_detector,
    pyramid_rules,
    renamer,
)
from cleave.rcnn.network import RCNN
from cleave.spec import ConfigError

# In published detectors beside their weights: anchors (old detectron2), made anew from the config.
_DETECTOR_EXTRAS = re.compile(r"proposal_generator\.anchor_generator\.cell_anchors\.\d+$")


def read_detector(path: Path, network: RCNN, *, sha256: str | None = None) -> None:
    """Fills a network from a checkpoint of this package, of detectron2 or of torchvision.

    torchvision's `maskrcnn_resnet50_fpn` fits a network of one stage, one class and no norm in its
    pyramid, but was trained with other conventions (anchors rounded to pixels, ROIAlign not
    aligned, with two samples a cell), so its boxes move by about half a pixel; its background
    class comes first and is moved last. Its `_v2` has other heads and is refused.

    Args:
        path: .pth, .pt, .pkl or .safetensors.
        network: changed in place, or not at all.
        sha256: of the file, checked before it is read.

    Raises:
        DataError: not readable, or not the weights of this network; the text lists what is
            missing, left over, or of another shape.
    """
    fill_detector(
        network,
        Path(path),
        {"backbone.body.": _torchvision, "backbone.bottom_up.": _detectron2},
        _DETECTOR_EXTRAS,
        "a detector of cleave, detectron2 or torchvision",
        sha256=sha256,
    )


def _torchvision(network: RCNN, state: State, path: Path) -> tuple[Names, State]:
    return torchvision_names(network), _background_last(state)


def _detectron2(network: RCNN, state: State, path: Path) -> tuple[Names, State]:
    return detectron2_names(network), check_pixels(state, network, path)


def write_detectron2(network: RCNN, path: Path) -> None:
    """Writes a checkpoint that detectron2 loads; equal weights give equal bytes.

    Args:
        path: .pth, or .pkl for arrays (which numpy from 1.26 on reads).

    Raises:
        ConfigError: another suffix, or a trunk that detectron2 does not have.
    """
    path = Path(path)
    names = detectron2_names(network)
    state = {names[name]: value.detach().cpu() for name, value in network.state_dict().items()}
    if path.suffix == ".pkl":
        import pickle

        arrays = {name: value.numpy() for name, value in state.items()}
        with replacing(path) as temporary:
            temporary.write_bytes(pickle.dumps({"model": arrays, "__author__": "cleave"}, 4))
    elif path.suffix == ".pth":
        # through a file object: torch writes a file's own name, here a temporary one, into it
        with replacing(path) as temporary, open(temporary, "wb") as file:
            torch.save({"model": {k: v.contiguous() for k, v in state.items()}}, file)
    else:
        raise ConfigError(f"{path}: detectron2 reads .pth and .pkl, not {path.suffix!r}")


def detectron2_names(network: RCNN) -> Names:
    """detectron2's name of each of the network's tensors.

    Raises:
        ConfigError: a trunk that detectron2 does not have.
    """
    rename = renamer(
        *detectron2_rules(network.architecture),
        (r"proposals\.conv\.", "proposal_generator.rpn_head.conv."),
        (r"proposals\.objectness\.", "proposal_generator.rpn_head.objectness_logits."),
        (r"proposals\.deltas\.", "proposal_generator.rpn_head.anchor_deltas."),
        (r"regions\.box_heads\.(\d)\.(fc[12])\.", r"roi_heads.box_head.\1.\2."),
        (r"regions\.box_heads\.(\d)\.classes\.", r"roi_heads.box_predictor.\1.cls_score."),
        (r"regions\.box_heads\.(\d)\.deltas\.", r"roi_heads.box_predictor.\1.bbox_pred."),
        (r"regions\.mask_head\.convs\.(\d)\.", lambda m: _numbered("mask_fcn", m[1])),
        (r"regions\.mask_head\.upsample\.", "roi_heads.mask_head.deconv."),
        (r"regions\.mask_head\.masks\.", "roi_heads.mask_head.predictor."),
    )
    names = {name: rename(name) for name in network.state_dict()}
    if not network.architecture.cascade:
        names = {k: v.replace("box_head.0.", "box_head.") for k, v in names.items()}
        names = {k: v.replace("box_predictor.0.", "box_predictor.") for k, v in names.items()}
    return names


def torchvision_names(network: RCNN) -> Names:
    """torchvision's name of each tensor; further stages, which it has not, keep theirs."""
    rename = renamer(
        (r"trunk\.", "backbone.body."),
        *pyramid_rules("backbone.fpn.inner_blocks.", "backbone.fpn.layer_blocks.", 0, ".0"),
        (r"proposals\.conv\.", "rpn.head.conv.0.0."),
        (r"proposals\.objectness\.", "rpn.head.cls_logits."),
        (r"proposals\.deltas\.", "rpn.head.bbox_pred."),
        (r"regions\.box_heads\.0\.fc1\.", "roi_heads.box_head.fc6."),
        (r"regions\.box_heads\.0\.fc2\.", "roi_heads.box_head.fc7."),
        (r"regions\.box_heads\.0\.classes\.", "roi_heads.box_predictor.cls_score."),
        (r"regions\.box_heads\.0\.deltas\.", "roi_heads.box_predictor.bbox_pred."),
        (r"regions\.mask_head\.convs\.(\d)\.", r"roi_heads.mask_head.\1.0."),
        (r"regions\.mask_head\.upsample\.", "roi_heads.mask_predictor.conv5_mask."),
        (r"regions\.mask_head\.masks\.", "roi_heads.mask_predictor.mask_fcn_logits."),
    )
    return {name: rename(name) for name in network.state_dict()}


def _numbered(part: str, index: str) -> str:
    return f"roi_heads.mask_head.{part}{int(index) + 1}."


def _background_last(state: Mapping[str, Any]) -> dict[str, Any]:
    """torchvision's class 0 is background: in the scores ours is the last, in boxes and masks none.

    Box rows of a single class are those of all classes, which is what our heads predict.
    """
    state = dict(state)
    for part in ("weight", "bias"):
        score, box, mask = (
            f"roi_heads.{name}.{part}"
            for name in (
                *("box_predictor.cls_score", "box_predictor.bbox_pred"),
                "mask_predictor.mask_fcn_logits",
            )
        )
        if score in state:
            state[score] = torch.roll(state[score], -1, 0)
        if box in state:
            state[box] = state[box][4:]
        if mask in state:
            state[mask] = state[mask][1:]
    return state
