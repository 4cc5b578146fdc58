"""ViT weights: which there are, and loading them whole or not at all."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleave.io.weights import Weights, check_sha256, hub_file, misfits, read_tensors, summarise
from cleave.spec import ConfigError, nearest
from cleave.types import DataError

if TYPE_CHECKING:
    from torch import Tensor, nn

_SQUARE = "LANCZOS to a square, down to whole patches (CutLER)"
_DINO = "https://dl.fbaipublicfiles.com/dino"
_DINOV2 = "https://dl.fbaipublicfiles.com/dinov2"
_MAE = "https://dl.fbaipublicfiles.com/mae/pretrain"


def _dino(architecture: str, file: str) -> Weights:
    return Weights(
        name="DINO",
        hub=f"timm/{architecture}.dino",
        url=f"{_DINO}/{file}/{file}.pth",
        resize=_SQUARE,
        dino_positions=True,
        licence="Apache-2.0",
        trained_on="ImageNet-1k without labels",
    )


def _dinov2(architecture: str, file: str) -> Weights:
    return Weights(
        name="DINOv2",
        hub=f"timm/{architecture}_dinov2.lvd142m",
        url=f"{_DINOV2}/{file}/{file}_pretrain.pth",
        resize=_SQUARE,
        dino_positions=True,
        licence="Apache-2.0",
        trained_on="LVD-142M without labels (photos chosen by likeness to labeled data sets)",
    )


def _mae(architecture: str, file: str) -> Weights:
    return Weights(
        name="MAE",
        hub=f"timm/{architecture}.mae",
        url=f"{_MAE}/{file}.pth",
        resize=_SQUARE,
        licence="CC-BY-NC-4.0",
        trained_on="ImageNet-1k without labels",
    )


# For ViT-S/8 CutLER (maskcut.py:330-337) and DiffNCuts start from dino_deitsmall8_300ep_pretrain,
# which is another file than the hub's; give it as `weights:` to have exactly theirs.
RECORDS: dict[str, Weights] = {
    "dino_vits8": _dino("vit_small_patch8_224", "dino_deitsmall8_pretrain"),
    "dino_vits16": _dino("vit_small_patch16_224", "dino_deitsmall16_pretrain"),
    "dino_vitb8": _dino("vit_base_patch8_224", "dino_vitbase8_pretrain"),
    "dino_vitb16": _dino("vit_base_patch16_224", "dino_vitbase16_pretrain"),
    "dinov2_vits14": _dinov2("vit_small_patch14", "dinov2_vits14"),
    "dinov2_vitb14": _dinov2("vit_base_patch14", "dinov2_vitb14"),
    "mae_vitb16": _mae("vit_base_patch16_224", "mae_pretrain_vit_base"),
    "mae_vitl16": _mae("vit_large_patch16_224", "mae_pretrain_vit_large"),
    "diffncuts_vits8": Weights(
        name="DiffNCuts (ECCV 2024)",
        resize=_SQUARE,
        dino_positions=True,
        licence="none stated by its authors",
        trained_on="ImageNet-1k without labels, from DINO",
    ),
}
_ARCHITECTURES = {"diffncuts_vits8": "vit_small_patch8_224.dino"}

# Parts of published checkpoints that are no part of the encoder: classifier and projection heads,
# DiffNCuts' head1, head2 and head2d_*, MAE's decoder, the token that stands for a masked patch.
_HEADS = re.compile(r"(head|head_dist|head\d\w*|decoder_\w+|mask_token|pre_logits)(\.|$)")
_CONTAINERS = ("teacher", "state_dict", "model")  # DINO evaluates its teacher


def timm_name(model: str) -> str:
    """timm's name, with its tag, of a model given by a short name or already by timm's."""
    if model in _ARCHITECTURES:
        return _ARCHITECTURES[model]
    return RECORDS[model].hub.removeprefix("timm/") if model in RECORDS else model


def record(model: str, weights: str | None) -> Weights:
    """What is known about the weights of `model`.

    Args:
        model: a short name of `RECORDS` or any name of timm.
        weights: as in `Vit`: None, "random" or a file.

    Raises:
        ConfigError: no such model.
    """
    if weights == "random":
        nothing = {"hub": "", "url": "", "licence": "Apache-2.0", "labels": None}
        return replace(
            record(model, None), name="random", trained_on="nothing: random weights", **nothing
        )
    if model in RECORDS:
        return RECORDS[model]
    published = _pretrained_config(model)
    return Weights(
        name=model,
        hub=published.hf_hub_id or "",
        url=published.url or "",
        mean=tuple(published.mean),
        std=tuple(published.std),
        resize=_SQUARE,
        licence=published.license or "unknown",
        trained_on="unknown to cleave: see the model card",
        labels=labels(model, weights),
    )


def labels(model: str, weights: str | None) -> str | None:
    """Which labels the weights saw in training; does not import timm."""
    if weights == "random":
        return None
    if model in RECORDS:
        return RECORDS[model].labels
    return "unknown to cleave: see the model card"


def _pretrained_config(model: str) -> Any:
    import timm

    base = timm_name(model).partition(".")[0]
    if not timm.is_model(base):
        raise ConfigError(f"model: no {model!r}; short names: {nearest(model, RECORDS)}; or timm's")
    try:
        return timm.models.get_pretrained_cfg(timm_name(model), allow_unregistered=False)
    except RuntimeError as error:
        raise ConfigError(f"model: {model!r}: {error}") from None


def load(model: str, weights: str | None, *, seed: int = 0, sha256: str | None = None) -> nn.Module:
    """Builds a ViT, without classifier, and fills it.

    Args:
        model: a short name or a name of timm.
        weights: None: the hub's; "random": from `seed`; else a file.
        sha256: of the file, checked before it is read.

    Returns:
        the network, float32, on the CPU, in evaluation mode; `dynamic_img_size` is on, so timm
        interpolates the position embeddings bicubically to whatever size comes.

    Raises:
        ConfigError: no such model, or no ViT whose input size may vary.
        DataError: weights missing, unreadable, or not those of this model.
    """
    network = _build(model, seed)
    if weights is None:
        contents = _from_timm(network, read_tensors(_hub_file(model)))
        fill(network, encoder_state(contents), f"of {model}")
    elif weights != "random":
        if sha256 is not None:
            check_sha256(Path(weights), sha256)
        fill(network, encoder_state(read_tensors(Path(weights))), weights)
    return network.eval().requires_grad_(False)


def _build(model: str, seed: int) -> nn.Module:
    import timm
    import torch

    _pretrained_config(model)
    name = timm_name(model).partition(".")[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return timm.create_model(name, num_classes=0, dynamic_img_size=True)
        except TypeError as error:
            raise ConfigError(
                f"model: {model!r} is no ViT that takes images of any size ({error}); those of "
                "timm's vision_transformer, deit and eva are"
            ) from None


def _from_timm(network: nn.Module, contents: Mapping[str, Any]) -> Mapping[str, Any]:
    """Renames the tensors of a hub file as timm would; its own loader would not be strict."""
    module = sys.modules[type(network).__module__]
    return module.checkpoint_filter_fn(dict(contents), network)


def _hub_file(model: str) -> Path:
    if model in RECORDS and not RECORDS[model].hub:
        raise ConfigError(f"model {model}: its weights are on no hub; give their file as weights:")
    published = _pretrained_config(model)
    if not published.hf_hub_id:
        raise ConfigError(f"model {model}: timm knows no weights; give a file as weights:")
    source = f" (the authors' is {published.url})" if published.url else ""
    instead = f"Or give a downloaded file{source} as weights:, or use `weights: random` to try out"
    names = ("model.safetensors", "pytorch_model.bin")
    if published.hf_hub_filename:
        names = (published.hf_hub_filename,)
    return hub_file(published.hf_hub_id, names, instead=instead)


def encoder_state(contents: Mapping[str, Any]) -> dict[str, Tensor]:
    """The encoder's tensors out of a published checkpoint, under timm's names.

    Known: a bare state dict (DINO, DINOv2, timm), DINO's {student, teacher, ...}, MAE's
    {model: ...} with or without its decoder, DiffNCuts' {model, optimizer, epoch} with the encoder
    under `net.` beside its heads; each with or without `module.` of a distributed run.

    Raises:
        DataError: no state dict in it.
    """
    for container in _CONTAINERS:
        if isinstance(contents.get(container), Mapping):
            contents = contents[container]
    state = {name.removeprefix("module."): value for name, value in contents.items()}
    for prefix in ("backbone.", "net."):
        if any(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    state = {name: value for name, value in state.items() if not _HEADS.match(name)}
    if not any(hasattr(value, "shape") for value in state.values()):
        raise DataError(f"no tensors in it, only {summarise(map(str, contents))}")
    return _registers(state)


def _registers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """DINOv2 with registers adds the CLS position to the CLS token in timm's layout."""
    if "register_tokens" not in state:
        return state
    state = dict(state)
    state["reg_token"] = state.pop("register_tokens")
    state["cls_token"] = state["cls_token"] + state["pos_embed"][:, :1]
    state["pos_embed"] = state["pos_embed"][:, 1:]
    return state


def fill(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copies `state` into `network`; every tensor must be there, of the right shape, and no other.

    A square grid of positions of another size is taken over as it is, so it is interpolated once,
    at the size of the image, never twice.

    Raises:
        DataError: what is missing, unexpected or of another shape.
    """
    _match_grid(network, state)
    own = network.state_dict()
    problems = {
        **misfits(own, state, {name: name for name in sorted(own)}),
        "unexpected": sorted(state.keys() - own.keys()),
    }
    if any(problems.values()):
        text = "; ".join(f"{what}: {summarise(names)}" for what, names in problems.items() if names)
        raise DataError(f"weights {source}: not those of this model: {text}")
    network.load_state_dict(state)


def _match_grid(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    stored, own = state.get("pos_embed"), getattr(network, "pos_embed", None)
    if own is None or getattr(stored, "ndim", 0) != 3 or stored.shape == own.shape:
        return
    prefix = 0 if network.no_embed_class else network.num_prefix_tokens
    side = math.isqrt(max(stored.shape[1] - prefix, 0))
    if side and side**2 + prefix == stored.shape[1] and stored.shape[2] == own.shape[2]:
        patch = network.patch_embed.patch_size
        network.set_input_size(img_size=(side * patch[0], side * patch[1]))
