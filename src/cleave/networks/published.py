"""Published weights of ResNets: where they are, their terms, and what they learned from.

One list for detectors, which begin with them, and for backbones. No author states a whole sha256 of
a file, so none is checked here; a section's own `sha256` is.
"""

from __future__ import annotations

from dataclasses import replace

from cleave.io.weights import Weights

_RESIZE = "bilinear, aspect kept (detectron2)"
_DENSECL = "xinlongwang/DenseCL"
_FACEBOOK = "https://dl.fbaipublicfiles.com"
_TORCHVISION = "https://download.pytorch.org/models"


def _densecl(file: str) -> Weights:
    return Weights(
        name="DenseCL (arXiv 2011.09157)",
        hub=_DENSECL,
        url=f"https://huggingface.co/{_DENSECL}/resolve/main/{file}",
        resize=_RESIZE,
        licence="GPL-3.0",
        trained_on="ImageNet-1k without labels",
    )


def _facebook(name: str, path: str, licence: str) -> Weights:
    return Weights(
        name=name,
        url=f"{_FACEBOOK}/{path}",
        resize=_RESIZE,
        licence=licence,
        trained_on="ImageNet-1k without labels",
    )


def _supervised(file: str) -> Weights:
    return Weights(
        name="torchvision IMAGENET1K_V1",
        url=f"{_TORCHVISION}/{file}",
        resize=_RESIZE,
        licence="BSD-3-Clause",
        trained_on="ImageNet-1k with its labels",
        labels="the classes of ImageNet-1k",
    )


# A name ends in the depth of its network.
RESNETS: dict[str, Weights] = {
    "densecl_r50": _densecl("densecl_r50_imagenet_200ep.pth"),
    "densecl_r101": _densecl("densecl_r101_imagenet_200ep.pth"),
    "dino_r50": _facebook(
        "DINO (arXiv 2104.14294)",
        "dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth",
        "Apache-2.0",
    ),
    "moco_v2_r50": _facebook(
        "MoCo v2 (arXiv 2003.04297), 800 epochs",
        "moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar",
        "MIT (CC-BY-NC-4.0 until January 2023)",
    ),
    "supervised_r18": _supervised("resnet18-f37072fd.pth"),
    "supervised_r50": _supervised("resnet50-0676ba61.pth"),
    "swav_r50": _facebook(
        "SwAV (arXiv 2006.09882), 800 epochs",
        "deepcluster/swav_800ep_pretrain.pth.tar",
        "CC-BY-NC-4.0",
    ),
}
ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "resnet101")


def architecture(model: str) -> str:
    """torchvision's name of a network of `RESNETS` or `ARCHITECTURES`."""
    return f"resnet{model.rpartition('_r')[2]}" if model in RESNETS else model


def record(model: str, weights: str | None) -> Weights:
    """What is known about the weights of `model`.

    Args:
        model: of `RESNETS` or `ARCHITECTURES`.
        weights: None for the published ones, "random" or a file.
    """
    if model in RESNETS and weights != "random":
        return RESNETS[model]
    known = Weights(name=str(weights), resize=_RESIZE, licence="Apache-2.0", trained_on="nothing")
    if weights == "random":
        return known
    unknown = "unknown to cleave: ask whoever trained the file"
    return replace(known, licence="of whoever trained it", trained_on=unknown, labels=unknown)
