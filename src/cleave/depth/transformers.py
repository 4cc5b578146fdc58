"""Monocular depth networks through Hugging Face transformers."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Gt

from cleave.depth.common import (
    distance_from_disparity,
    fit_for_network,
    model_fingerprint,
    stored_size,
)
from cleave.io.device import device, inference
from cleave.io.weights import Weights, hub_file, summarise
from cleave.types import Array, DataError, DepthMap, Image, Size

if TYPE_CHECKING:
    from torch import Tensor

ZOEDEPTH = Weights(
    name="ZoeD-M12-NK",
    hub="Intel/zoedepth-nyu-kitti",
    resize="reflect padding, then 384 x 512 with the aspect kept, in multiples of 32",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    licence="MIT",
    trained_on="12 data sets of relative depth, then NYU Depth v2 and KITTI (arXiv 2302.12288)",
    labels="depth from sensors, stereo and reconstruction",
)
DEPTH_ANYTHING = Weights(
    name="Depth Anything V2 Small",
    hub="depth-anything/Depth-Anything-V2-Small-hf",
    resize="518 x 518 with the aspect kept, in multiples of 14",
    licence="Apache-2.0",
    trained_on="62M photos, taught by a network trained on 595k renderings (arXiv 2406.09414)",
    labels="depth of rendered images",
)
_FILES = ("config.json", "preprocessor_config.json", "model.safetensors")


@dataclass(frozen=True, kw_only=True)
class ZoeDepth:
    """Metric depth of ZoeDepth (arXiv 2302.12288), in metres."""

    model: str = ZOEDEPTH.hub  # on the hub, or a folder as `save_pretrained` writes it
    # flip: average with the mirrored image: twice the time. Off, as in the library's default;
    # which one CutS3D used is not stated.
    flip: bool = False
    max_side: Annotated[int, Gt(0)] = 640  # pixels of the stored map

    gpu: ClassVar[bool] = True
    licence: ClassVar[str] = ZOEDEPTH.licence

    @property
    def saw_labels(self) -> str:
        """Which labels its training saw, for the report."""
        return _saw_labels(self.model, ZOEDEPTH)

    def fingerprint(self) -> str:
        """A text that changes with the files of a model that is a folder; opens none of them."""
        return model_fingerprint(self.model)

    @functools.cached_property
    def _network(self) -> tuple[Any, Any]:
        return _load(self.model, "ZoeDepthForDepthEstimation", "zoedepth")

    def __call__(self, image: Image) -> DepthMap:
        processor, network = self._network
        pixels = fit_for_network(image.pixels)
        with inference():
            seen = _prepare(processor, pixels)
            outputs = network(pixel_values=seen)
            mirrored = network(pixel_values=seen.flip(3)) if self.flip else None
            found = processor.post_process_depth_estimation(
                outputs,
                source_sizes=[pixels.shape[:2]],
                target_sizes=[tuple(stored_size(image.size, self.max_side))],
                outputs_flipped=mirrored,
            )
        metres = _array(found, stored_size(image.size, self.max_side))
        return DepthMap(np.maximum(metres, 0), "metre")  # bicubic may undershoot


@dataclass(frozen=True, kw_only=True)
class DepthAnything:
    """Relative depth of Depth Anything V2 (arXiv 2406.09414), inverted to distance.

    Its metric versions are taken as they are, in metres. Base and Large are CC-BY-NC-4.0.
    """

    model: str = DEPTH_ANYTHING.hub  # on the hub, or a folder as `save_pretrained` writes it
    max_side: Annotated[int, Gt(0)] = 640  # pixels of the stored map

    gpu: ClassVar[bool] = True
    licence: ClassVar[str] = DEPTH_ANYTHING.licence

    @property
    def saw_labels(self) -> str:
        """Which labels its training saw, for the report."""
        return _saw_labels(self.model, DEPTH_ANYTHING)

    def fingerprint(self) -> str:
        """A text that changes with the files of a model that is a folder; opens none of them."""
        return model_fingerprint(self.model)

    @functools.cached_property
    def _network(self) -> tuple[Any, Any]:
        return _load(self.model, "DepthAnythingForDepthEstimation", "depth_anything")

    def __call__(self, image: Image) -> DepthMap:
        processor, network = self._network
        size = stored_size(image.size, self.max_side)
        with inference():
            outputs = network(pixel_values=_prepare(processor, fit_for_network(image.pixels)))
            found = processor.post_process_depth_estimation(outputs, target_sizes=[tuple(size)])
        values = _array(found, size)
        if network.config.depth_estimation_type == "metric":
            return DepthMap(np.maximum(values, 0), "metre")
        return DepthMap(distance_from_disparity(values), "relative")


def _saw_labels(model: str, known: Weights) -> str:
    return known.labels if model == known.hub else f"depth (see the model card of {model})"


def _prepare(processor: Any, pixels: Array) -> Tensor:
    """(1, 3, h, w) float32 on the device."""
    inputs = processor(images=pixels, return_tensors="pt", input_data_format="channels_last")
    return inputs["pixel_values"].to(device())


def _array(found: list[dict[str, Tensor]], size: Size) -> Array:
    """(h, w) float32; the processors squeeze away a side of one pixel."""
    return found[0]["predicted_depth"].float().cpu().numpy().reshape(size)


def _load(model: str, network_class: str, model_type: str) -> tuple[Any, Any]:
    """Image processor and network, in evaluation mode on the device.

    Raises:
        DataError: not to be had, damaged, of another architecture, or weights missing.
    """
    folder = _folder(model)
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"model {model}: config.json is not a model's ({error!r})") from None
    if found != model_type:
        raise DataError(f"model {model}: is of type {found!r}, expected {model_type!r}")
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        network, report = getattr(transformers, network_class).from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,  # never a pickle
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # of a damaged folder anything may come
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"model {model}: cannot be loaded: {reason}") from None
    if report["missing_keys"]:  # the library would leave these random, with a warning
        raise DataError(
            f"model {model}: weights missing: {summarise(sorted(report['missing_keys']))}"
        )
    return processor, network.eval().requires_grad_(False).to(device())


def _folder(model: str) -> Path:
    if Path(model).is_dir():
        return Path(model)
    if Path(model).is_absolute() or model.count("/") != 1:
        raise DataError(f"model {model}: no such folder, and no name on the hub (owner/name)")
    instead = "Or give a downloaded folder (config.json, preprocessor_config.json, "
    instead += "model.safetensors) as model:, or take depth from `files` or `flat`"
    files = [hub_file(model, (name,), instead=instead) for name in _FILES]
    return files[0].parent
