"""Weights of SOLOv2: ours, and those of AdelaiDet and FreeSOLO, which are detectron2's in names."""

from __future__ import annotations

import re
from pathlib import Path

from cleave.networks.weights import (
    Names,
    State,
    check_pixels,
    detectron2_rules,
    fill_detector,
    renamer,
)
from cleave.solo.network import SOLOv2

# In FreeSOLO's files: the head of semantic embeddings, which its loss does not train, and a count.
_EXTRAS = re.compile(r"ins_head\.emb_pred\.|_iter$")


def read_detector(path: Path, network: SOLOv2, *, sha256: str | None = None) -> None:
    """Fills a network from a checkpoint of this package, of AdelaiDet or of FreeSOLO.

    What a file does not say, the network must have: RGB or BGR, and where a block has its stride.
    Ours takes RGB and has the stride in the 3 x 3 convolution, like FreeSOLO and AdelaiDet's
    DenseCL/SOLOv2_R50_1x_DenseCL.yaml. AdelaiDet's SOLOv2/R50_3x.yaml and R101_3x.yaml take BGR
    and have it in the 1 x 1 convolution: their files fit here too, and would find little.
    FreeSOLO's own need trunk resnet101, norm frozen, fpn_norm none and classes 2.

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
        {"backbone.bottom_up.": _adelaidet},
        _EXTRAS,
        "a SOLOv2 of cleave, AdelaiDet or FreeSOLO",
        sha256=sha256,
    )


def _adelaidet(network: SOLOv2, state: State, path: Path) -> tuple[Names, State]:
    return adelaidet_names(network), check_pixels(state, network, path)


def adelaidet_names(network: SOLOv2) -> Names:
    """AdelaiDet's name of each of the network's tensors.

    Raises:
        ConfigError: a trunk that detectron2 does not have.
    """
    rename = renamer(
        *detectron2_rules(network.architecture),
        (r"instances\.(category|kernel)_tower\.(\d+)\.(conv|norm)\.", _tower),
        (r"instances\.category\.", "ins_head.cate_pred."),
        (r"instances\.kernel\.", "ins_head.kernel_pred."),
        (r"features\.levels\.(\d)\.(\d)\.conv\.", r"mask_head.convs_all_levels.\1.conv\2.0."),
        (r"features\.levels\.(\d)\.(\d)\.norm\.", r"mask_head.convs_all_levels.\1.conv\2.1."),
        (r"features\.output\.conv\.", "mask_head.conv_pred.0."),
        (r"features\.output\.norm\.", "mask_head.conv_pred.1."),
    )
    return {name: rename(name) for name in network.state_dict()}


def _tower(match: re.Match) -> str:
    """Convolution, norm and activation stand one after another there."""
    kind, number, part = match.groups()
    place = 3 * int(number) + (part == "norm")
    return f"ins_head.{'cate' if kind == 'category' else kind}_tower.{place}."
