"""Weights of detectors and trunks: ours, detectron2's, torchvision's, self-supervised ones.

A file either fits whole or is refused: every tensor of the network must be in it, in its shape,
and nothing may be left over but what `_DETECTOR_EXTRAS` and `_TRUNK_EXTRAS` name. Each format is
one function from our names to its names; reading inverts it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cleave.io.atomic import replacing
from cleave.io.weights import check_sha256, read_tensors, summarise
from cleave.rcnn.network import RCNN
from cleave.spec import ConfigError
from cleave.types import DataError

Names = dict[str, str]  # ours to the file's
SHOWN = 10  # names of each kind in an error

# In published detectors beside their weights: anchors (old detectron2), made anew from the config.
_DETECTOR_EXTRAS = re.compile(r"proposal_generator\.anchor_generator\.cell_anchors\.\d+$")
# In published trunks: classifiers; projection and prediction heads of DINO, MoCo, DenseCL, SwAV;
# MoCo's queues and second encoder; the widening before MobileNetV3's classifier.
_TRUNK_EXTRAS = re.compile(
    r"(module\.)?(stem\.)?(fc|linear|classifier|head|neck|projection_head|prototypes|queue2?"
    r"|queue2?_ptr|encoder_q|encoder_k)(\.|$)|features\.(12|16)\.[01]\."
)
_COUNTER = "num_batches_tracked"  # of batch normalisation; nothing that detection depends on
_CONTAINERS = ("teacher", "state_dict", "model")  # of the weights in a training checkpoint
# Where a trunk's names begin: plain; DINO's teacher and mmcv; DINO's student; MoCo; detectron2
_TRUNK_PREFIXES = (
    *("", "module.", "backbone.", "module.backbone."),
    *("module.encoder_q.", "encoder_q.", "backbone.bottom_up."),
)


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
    path = Path(path)
    state = _open(path, sha256)
    if any(name.startswith("trunk.") for name in state):
        names = {name: name for name in network.state_dict()}
    elif any(name.startswith("backbone.body.") for name in state):
        names, state = torchvision_names(network), _background_last(state)
    elif any(name.startswith("backbone.bottom_up.") for name in state):
        names, state = detectron2_names(network), _check_pixels(state, network, path)
    else:
        raise DataError(
            f"weights {path}: not those of a detector of cleave, detectron2 or torchvision; it "
            f"holds {summarise(map(str, state), SHOWN)}"
        )
    _fill(network, state, names, _DETECTOR_EXTRAS, path)


def read_trunk(path: Path, network: RCNN, *, sha256: str | None = None) -> None:
    """Fills the trunk of a network from an image network's checkpoint.

    Known: torchvision's names (also DINO's), bare or in DINO's {teacher, student}, MoCo v2's
    module.encoder_q, DenseCL's and mmcv's {state_dict: backbone...}; detectron2's names, as in
    CutLER's dino_RN50_pretrain_d2_format.pkl.

    Args:
        path: .pth, .pth.tar, .pt, .pkl or .safetensors.
        network: its trunk is changed in place, or not at all.
        sha256: of the file, checked before it is read.

    Raises:
        DataError: as `read_detector`.
    """
    path = Path(path)
    state = _open(path, sha256)
    own = list(network.trunk.state_dict())
    for theirs in (own, [_trunk_name(name) for name in own]):
        for prefix in _TRUNK_PREFIXES:
            if prefix + theirs[0] in state:
                names = {name: prefix + renamed for name, renamed in zip(own, theirs, strict=True)}
                return _fill(network.trunk, state, names, _TRUNK_EXTRAS, path)
    raise DataError(
        f"weights {path}: not those of a {network.architecture.trunk}; it holds "
        f"{summarise(map(str, state), SHOWN)}"
    )


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
    if not network.architecture.trunk.startswith("resnet"):
        raise ConfigError(f"detectron2 has no {network.architecture.trunk}; its trunks are ResNets")
    rename = _renamer(
        (r"trunk\.(.+)", lambda m: f"backbone.bottom_up.{_trunk_name(m[1])}"),
        *_pyramid_rules("backbone.fpn_lateral", "backbone.fpn_output", 2, ""),
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
    rename = _renamer(
        (r"trunk\.", "backbone.body."),
        *_pyramid_rules("backbone.fpn.inner_blocks.", "backbone.fpn.layer_blocks.", 0, ".0"),
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


def _trunk_name(name: str) -> str:
    """detectron2's name of a tensor of torchvision's ResNet."""
    if not name.startswith("layer"):
        name = f"stem.{name}"
    name = re.sub(r"^layer(\d)", lambda m: f"res{int(m[1]) + 1}", name)
    name = re.sub(r"\bbn(\d)", r"conv\1.norm", name)
    return name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")


Rule = tuple[str, str | Callable[[re.Match], str]]


def _pyramid_rules(lateral: str, output: str, first: int, inside: str) -> Iterable[Rule]:
    """`inside` is torchvision's Sequential around each convolution; detectron2 has none."""
    for ours, theirs in (("laterals", lateral), ("outputs", output)):
        for level in range(4):
            prefix = rf"pyramid\.{ours}\.{level}"
            yield rf"{prefix}\.conv\.", f"{theirs}{level + first}{inside}."
            norm = ".1" if inside else ".norm"
            yield rf"{prefix}\.norm\.", f"{theirs}{level + first}{norm}."


def _numbered(part: str, index: str) -> str:
    return f"roi_heads.mask_head.{part}{int(index) + 1}."


def _renamer(*rules: Rule) -> Callable[[str], str]:
    def rename(name: str) -> str:
        for pattern, replacement in rules:
            renamed, count = re.subn(f"^{pattern}", replacement, name)
            if count:
                return renamed
        return name

    return rename


def _open(path: Path, digest: str | None) -> dict[str, Any]:
    """The state dict of a file, out of its container and of a distributed run."""
    if digest is not None:
        check_sha256(path, digest)
    contents = read_tensors(path)
    for container in _CONTAINERS:
        if isinstance(contents.get(container), Mapping):
            contents = contents[container]
    if not any(isinstance(value, Tensor) for value in contents.values()):
        raise DataError(f"weights {path}: no tensors in it, only {summarise(map(str, contents))}")
    return dict(contents)


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


def _check_pixels(state: Mapping[str, Any], network: RCNN, path: Path) -> dict[str, Any]:
    """Takes out the mean and deviation that old checkpoints carry; they must be the network's."""
    state = dict(state)
    for theirs, ours in (("pixel_mean", "mean"), ("pixel_std", "std")):
        value = state.pop(theirs, None)
        own = getattr(network, ours).cpu().flatten()
        if value is not None and not torch.allclose(value.flatten().float(), own, atol=1e-3):
            raise DataError(
                f"weights {path}: expects pixels of {theirs} {value.flatten().tolist()}, and the "
                f"network has {ours} {own.tolist()} (RGB); detectron2's own models take BGR"
            )
    return state


def _fill(
    module: torch.nn.Module, state: Mapping[str, Any], names: Names, extras: re.Pattern, path: Path
) -> None:
    """Loads what has been checked to fit; `num_batches_tracked` may be missing or left over."""
    own = module.state_dict()
    spare = {name for name in state if name.endswith(_COUNTER) or extras.match(name)}
    needed = {n: theirs for n, theirs in names.items() if not n.endswith(_COUNTER)}
    common = {n: theirs for n, theirs in needed.items() if theirs in state}
    problems = {
        "missing": sorted(set(needed.values()) - state.keys()),
        "left over": sorted(state.keys() - set(names.values()) - spare),
        "of another shape": [
            f"{theirs} {_shape(state[theirs])}, not {tuple(own[n].shape)}"
            for n, theirs in common.items()
            if _shape(state[theirs]) != tuple(own[n].shape)
        ],
        "not finite": [
            theirs
            for theirs in common.values()
            if isinstance(state[theirs], Tensor) and not bool(state[theirs].isfinite().all())
        ],
    }
    if any(problems.values()):
        text = "; ".join(
            f"{len(found)} {what}: {summarise(found, SHOWN)}"
            for what, found in problems.items()
            if found
        )
        raise DataError(f"weights {path}: not those of this network: {text}")
    counters = {n: state.get(names[n], own[n]) for n in own.keys() - needed.keys()}
    module.load_state_dict({n: state[theirs] for n, theirs in needed.items()} | counters)


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None
