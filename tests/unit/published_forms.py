"""The containers in which ResNets' authors publish weights, as their training code saves them."""

import argparse

import pytest

torch = pytest.importorskip("torch")


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def detectron2_form(state):
    """As detectron2's tools/convert-torchvision-to-d2.py renames, step by step.

    FreeSOLO's convert-pretrain-to-detectron2.py renames DenseCL's in the same way.
    """
    renamed = {}
    for name, value in state.items():
        name = name if "layer" in name else f"stem.{name}"
        for number in (1, 2, 3, 4):
            name = name.replace(f"layer{number}", f"res{number + 1}")
        for number in (1, 2, 3):
            name = name.replace(f"bn{number}", f"conv{number}.norm")
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        renamed[name] = value
    return renamed


def published(form, whole, neck=None):
    """What a file of this form holds: of torchvision's tensors `whole`, others beside them.

    Args:
        neck: tensors of DenseCL's projection.
    """
    trunk = {name: value for name, value in whole.items() if not name.startswith("fc.")}
    other = {name: value + 1 for name, value in trunk.items()}
    head = {"mlp.0.weight": torch.ones(2), "last_layer.weight_g": torch.ones(2)}
    projection = {"fc.0.weight": torch.ones(2), "fc.2.bias": torch.ones(2)}
    neck = neck or {"mlp.0.weight": torch.ones(2)}
    return {
        "torchvision": lambda: whole,
        "DINO": lambda: trunk,
        "DINO, whole": lambda: {
            "student": prefixed("module.backbone.", other) | prefixed("module.head.", head),
            "teacher": prefixed("backbone.", trunk) | prefixed("head.", head),
            "args": argparse.Namespace(arch="resnet50"),
            "epoch": 800,
        },
        "MoCo v2": lambda: {
            "epoch": 800,
            "arch": "resnet50",
            "state_dict": prefixed("module.encoder_k.", other | projection)
            | prefixed("module.encoder_q.", trunk | projection)
            | {"module.queue": torch.ones(2, 2), "module.queue_ptr": torch.zeros(1).long()},
        },
        "DenseCL": lambda: {"state_dict": trunk, "author": "OpenSelfSup"},
        "DenseCL, detectron2": lambda: {"model": detectron2_form(trunk), "__author__": "x"},
        "DenseCL, whole": lambda: {
            "meta": {"epoch": 200},
            "state_dict": prefixed("backbone.", trunk)
            | prefixed("encoder_q.0.", trunk)
            | prefixed("encoder_k.0.", other)
            | prefixed("encoder_q.1.", neck)
            | prefixed("encoder_k.1.", {name: value + 1 for name, value in neck.items()})
            | {"queue": torch.ones(2), "queue2": torch.ones(2), "queue2_ptr": torch.zeros(1)},
        },
        "SwAV": lambda: (
            prefixed("module.", trunk)
            | {"module.projection_head.0.weight": torch.ones(2)}
            | {"module.prototypes.weight": torch.ones(2)}
        ),
        "CutLER": lambda: {
            "model": {name: value.numpy() for name, value in detectron2_form(whole).items()},
            "__author__": "torchvision",
            "matching_heuristics": True,
        },
    }[form]()
