"""Reading weights into a network: a file either fits whole or is refused.

Every tensor of the network must be in it, in its shape, and nothing may be left over but what its
format is known to have beside. Each format is one function from our names to its names; reading
inverts it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cleave.io.weights import check_sha256, misfits, read_tensors, summarise
from cleave.networks.network import PyramidNetwork
from cleave.networks.settings import Common
from cleave.spec import ConfigError
from cleave.types import DataError

Names = dict[str, str]  # ours to the file's
State = Mapping[str, Any]  # name to tensor, of a file
# Network, state and path of a file to its names of the network's tensors, and the state to take
Format = Callable[[Any, State, Path], tuple[Names, State]]
Rule = tuple[str, str | Callable[[re.Match], str]]  # what a name begins with, and its replacement
SHOWN = 10  # names of each kind in an error

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


def read_trunk(path: Path, network: PyramidNetwork, *, sha256: str | None = None) -> None:
    """Fills the trunk of a network from an image network's checkpoint; see `fill_trunk`."""
    state = open_weights(Path(path), sha256)
    fill_trunk(network.trunk, state, network.architecture.trunk, Path(path))


def fill_trunk(trunk: torch.nn.Module, state: Mapping[str, Any], kind: str, path: Path) -> None:
    """Fills an image network without its classifier from a published checkpoint.

    Known: torchvision's names (also DINO's), bare or in DINO's {teacher, student}, MoCo v2's
    module.encoder_q, DenseCL's and mmcv's {state_dict: backbone...}; detectron2's names, as in
    CutLER's dino_RN50_pretrain_d2_format.pkl.

    Args:
        trunk: with torchvision's names; changed in place, or not at all.
        state: of the file, from `open_weights`.
        kind: what the trunk is, for errors.
        path: of the file, for errors.

    Raises:
        DataError: as `fill`.
    """
    own = list(trunk.state_dict())
    for theirs in (own, [trunk_name(name) for name in own]):
        for prefix in _TRUNK_PREFIXES:
            if prefix + theirs[0] in state:
                names = {name: prefix + renamed for name, renamed in zip(own, theirs, strict=True)}
                return fill(trunk, state, names, _TRUNK_EXTRAS, path)
    raise DataError(
        f"weights {path}: not those of a {kind}; it holds {summarise(map(str, state), SHOWN)}"
    )


def open_weights(path: Path, digest: str | None) -> dict[str, Any]:
    """The state dict of a file, out of its container and of a distributed run.

    Args:
        path: .pth, .pth.tar, .pt, .pkl or .safetensors.
        digest: the file's sha256, checked before it is read; None: not checked.

    Raises:
        DataError: a file that cannot be read, is another, or holds no tensors.
    """
    if digest is not None:
        check_sha256(path, digest)
    contents = read_tensors(path)
    for container in _CONTAINERS:
        if isinstance(contents.get(container), Mapping):
            contents = contents[container]
    if not any(isinstance(value, Tensor) for value in contents.values()):
        raise DataError(f"weights {path}: no tensors in it, only {summarise(map(str, contents))}")
    return dict(contents)


def fill_detector(
    network: PyramidNetwork,
    path: Path,
    formats: Mapping[str, Format],
    extras: re.Pattern,
    known: str,
    *,
    sha256: str | None = None,
) -> None:
    """Fills a detector from a checkpoint of this package, or in a format that its kind knows.

    Args:
        network: changed in place, or not at all.
        path: .pth, .pt, .pkl or .safetensors.
        formats: by the prefix of some of their names; ours (`trunk.`) is known beside them.
        extras: of tensors that may be left over.
        known: whose files these are, for errors.
        sha256: of the file, checked before it is read.

    Raises:
        DataError: not readable, or not the weights of this network; the text lists what is
            missing, left over, or of another shape.
    """
    state = open_weights(path, sha256)
    for prefix, format_ in {"trunk.": _own, **formats}.items():
        if any(name.startswith(prefix) for name in state):
            names, state = format_(network, state, path)
            return fill(network, state, names, extras, path)
    raise DataError(
        f"weights {path}: not those of {known}; it holds {summarise(map(str, state), SHOWN)}"
    )


def _own(network: PyramidNetwork, state: Mapping[str, Any], path: Path) -> tuple[Names, State]:
    return {name: name for name in network.state_dict()}, state


def check_pixels(state: Mapping[str, Any], network: PyramidNetwork, path: Path) -> dict[str, Any]:
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


def fill(
    module: torch.nn.Module, state: Mapping[str, Any], names: Names, extras: re.Pattern, path: Path
) -> None:
    """Loads what has been checked to fit; `num_batches_tracked` may be missing or left over.

    Args:
        module: changed in place, or not at all.
        state: of the file.
        names: of each tensor of the module, in the file.
        extras: of tensors that may be left over.
        path: of the file, for errors.

    Raises:
        DataError: what is missing, left over, of another shape or not finite.
    """
    own = module.state_dict()
    needed = {n: theirs for n, theirs in names.items() if not n.endswith(_COUNTER)}
    spare = {name for name in state if name.endswith(_COUNTER) or extras.match(name)}
    problems = {
        **misfits(own, state, needed),
        "left over": sorted(state.keys() - set(names.values()) - spare),
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


def detectron2_rules(architecture: Common) -> list[Rule]:
    """detectron2's names of trunk and pyramid.

    Raises:
        ConfigError: a trunk that detectron2 does not have.
    """
    if not architecture.trunk.startswith("resnet"):
        raise ConfigError(f"detectron2 has no {architecture.trunk}; its trunks are ResNets")
    return [
        (r"trunk\.(.+)", lambda m: f"backbone.bottom_up.{trunk_name(m[1])}"),
        *pyramid_rules("backbone.fpn_lateral", "backbone.fpn_output", 2, ""),
    ]


def trunk_name(name: str) -> str:
    """detectron2's name of a tensor of torchvision's ResNet."""
    if not name.startswith("layer"):
        name = f"stem.{name}"
    name = re.sub(r"^layer(\d)", lambda m: f"res{int(m[1]) + 1}", name)
    name = re.sub(r"\bbn(\d)", r"conv\1.norm", name)
    return name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")


def pyramid_rules(lateral: str, output: str, first: int, inside: str) -> Iterable[Rule]:
    """`inside` is torchvision's Sequential around each convolution; detectron2 has none."""
    for ours, theirs in (("laterals", lateral), ("outputs", output)):
        for level in range(4):
            prefix = rf"pyramid\.{ours}\.{level}"
            yield rf"{prefix}\.conv\.", f"{theirs}{level + first}{inside}."
            norm = ".1" if inside else ".norm"
            yield rf"{prefix}\.norm\.", f"{theirs}{level + first}{norm}."


def renamer(*rules: Rule) -> Callable[[str], str]:
    """Applies the first rule that a name begins with; other names are kept."""

    def rename(name: str) -> str:
        for pattern, replacement in rules:
            renamed, count = re.subn(f"^{pattern}", replacement, name)
            if count:
                return renamed
        return name

    return rename
