"""Every plugin by section and name. A class is imported when it is asked for, not before."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from cleave.spec import ConfigError, build, nearest

PLUGINS: dict[str, dict[str, str]] = {
    "datasets": {
        "coco": "cleave.datasets.coco:Coco",
        "folder": "cleave.datasets.folder:Folder",
        "kitti": "cleave.datasets.kitti:Kitti",
        "openimages": "cleave.datasets.openimages:OpenImages",
        "scenes": "cleave.datasets.scenes:Scenes",
        "voc": "cleave.datasets.voc:Voc",
    },
    "pretrain": {
        "neighbour_lda": "cleave.pretrain.neighbour_lda:NeighbourLda",
        "rotary": "cleave.pretrain.config:Pretrain",
    },
    "features": {
        "colour": "cleave.backbones.colour:Colour",
        "kmeans": "cleave.backbones.kmeans:KMeans",
        "lda": "cleave.backbones.lda:Lda",
        "oracle": "cleave.backbones.oracle:Oracle",
        "resnet": "cleave.backbones.resnet:ResNet",
        "rotary": "cleave.backbones.rotary:Rotary",
        "texture": "cleave.backbones.texture:Texture",
        "vit": "cleave.backbones.vit:Vit",
    },
    "depth": {
        "depth_anything": "cleave.depth.transformers:DepthAnything",
        "files": "cleave.depth.files:Files",
        "flat": "cleave.depth.flat:Flat",
        "marigold": "cleave.depth.marigold:Marigold",
        "rendered": "cleave.depth.rendered:Rendered",
        "zoedepth": "cleave.depth.transformers:ZoeDepth",
    },
    "graphs": {
        "cosine": "cleave.graphs.cosine:Cosine",
    },
    "masks": {
        "cleave3d": "cleave.masks.cleave3d:Cleave3D",
        "cuts3d": "cleave.masks.cuts3d:CutS3D",
        "deep_spectral": "cleave.masks.deep_spectral:DeepSpectral",
        "dino_seg": "cleave.masks.dino_seg:DinoSeg",
        "divide_conquer": "cleave.masks.divide_conquer:DivideConquer",
        "freesolo": "cleave.masks.freesolo:FreeSOLO",
        "lost": "cleave.masks.lost:Lost",
        "mae_spectral": "cleave.masks.mae_spectral:MaeSpectral",
        "maskcut": "cleave.masks.maskcut:MaskCut",
        "maskdistill": "cleave.masks.maskdistill:MaskDistill",
        "promerge": "cleave.masks.promerge:ProMerge",
        "spectral_clusters": "cleave.masks.spectral_clusters:SpectralClusters",
        "tokencut": "cleave.masks.tokencut:TokenCut",
        "votecut": "cleave.masks.votecut:VoteCut",
    },
    "detectors": {
        "cascade_mask_rcnn": "cleave.detectors.cascade_mask_rcnn:CascadeMaskRCNN",
        "detectron2": "cleave.detectors.detectron2:Detectron2",
        "mask_rcnn": "cleave.detectors.mask_rcnn:MaskRCNN",
        "mask_rcnn_mobilenet": "cleave.detectors.mask_rcnn:MaskRCNNMobileNet",
        "mask_rcnn_resnet18": "cleave.detectors.mask_rcnn:MaskRCNNResNet18",
        "solov2": "cleave.detectors.solov2:SOLOv2",
        "solov2_resnet18": "cleave.detectors.solov2:SOLOv2ResNet18",
    },
    "benchmarks": {
        "coco": "cleave.benchmarks.coco:CocoBenchmark",
        "instanceness": "cleave.benchmarks.instanceness:Instanceness",
    },
}


def lookup(section: str, kind: str, where: str) -> type:
    """The class registered under `kind`.

    Raises:
        ConfigError: no such plugin; the text lists those there are.
    """
    known = PLUGINS[section]
    if not isinstance(kind, str) or kind not in known:
        raise ConfigError(f"{where}: no kind {kind!r} of {section}; {nearest(kind, known)}")
    module, _, name = known[kind].partition(":")
    return getattr(importlib.import_module(module), name)


def make(section: str, spec: Mapping[str, Any], where: str | None = None) -> Any:
    """Builds a plugin from a spec: a mapping with the key `kind` and the plugin's fields."""
    where = where or section
    if "kind" not in spec:
        raise ConfigError(f"{where}: needs the key 'kind'; {nearest('', PLUGINS[section])}")
    fields = {key: value for key, value in spec.items() if key != "kind"}
    return build(lookup(section, spec["kind"], where), fields, where)
