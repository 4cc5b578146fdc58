"""Depth by diffusion: Marigold, through diffusers."""

from __future__ import annotations

import functools
import importlib.util
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt

from cleave.depth.common import (
    distance_from_disparity,
    fit_for_network,
    model_fingerprint,
    stored_size,
)
from cleave.io.device import device, inference
from cleave.io.weights import Weights, hub_file
from cleave.ops.resample import average
from cleave.spec import ConfigError
from cleave.types import DataError, DepthMap, Image

MARIGOLD = Weights(
    name="Marigold depth v1-1",
    hub="prs-eth/marigold-depth-v1-1",
    resize="long side 768, the aspect kept",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    licence="unknown to cleave: see the model card",
    trained_on="renderings, from Stable Diffusion 2 (arXiv 2312.02145)",
    labels="depth of rendered images; captions, in Stable Diffusion",
)


@dataclass(frozen=True, kw_only=True)
class Marigold:
    """Affine-invariant depth of Marigold (arXiv 2312.02145); needs the extra `diffusion`.

    Which version CutS3D used is not stated; it cites the paper of the first, v1-0.
    """

    model: str = MARIGOLD.hub  # on the hub, or a folder as `save_pretrained` writes it
    steps: Annotated[int, Gt(0)] | None = None  # None: the model's own (v1-1: 4; v1-0: 10 or more)
    ensemble: Annotated[int, Gt(0)] = 1  # predictions that are averaged; diffusers' default
    resolution: Annotated[int, Gt(0)] | None = None  # long side, pixels; None: the model's own
    seed: Annotated[int, Ge(0)] = 0  # of the noise, together with the image's id
    max_side: Annotated[int, Gt(0)] = 640  # pixels of the stored map

    gpu: ClassVar[bool] = True
    licence: ClassVar[str] = MARIGOLD.licence

    def __post_init__(self):
        if importlib.util.find_spec("diffusers") is None:
            raise ConfigError(
                "marigold needs diffusers: pip install --constraint constraints.txt "
                "-e '.[diffusion]'; or use zoedepth or depth_anything"
            )

    @property
    def saw_labels(self) -> str:
        """Which labels its training saw, for the report."""
        return MARIGOLD.labels if self.model == MARIGOLD.hub else f"depth ({self.model})"

    def fingerprint(self) -> str:
        """A text that changes with the files of a model that is a folder; opens none of them."""
        return model_fingerprint(self.model)

    @functools.cached_property
    def _pipeline(self) -> Any:
        import torch
        from diffusers import MarigoldDepthPipeline

        source = self.model
        if not Path(source).is_dir():  # asks first, so that no network is an error at once
            hub_file(source, ("model_index.json",), instead="Or give a folder as model:")
        try:
            pipeline = MarigoldDepthPipeline.from_pretrained(source, use_safetensors=True)
        except Exception as error:  # of a damaged folder anything may come
            reason = " ".join(str(error).split())[:300]
            raise DataError(f"model {source}: cannot be loaded: {reason}") from None
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(device(), torch.float32)

    def __call__(self, image: Image) -> DepthMap:
        import torch

        seed = np.random.SeedSequence([self.seed, zlib.crc32(image.id.encode())])
        number = int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1))
        with inference():
            found = self._pipeline(
                fit_for_network(image.pixels).astype(np.float32) / 255,
                num_inference_steps=self.steps,
                ensemble_size=self.ensemble,
                processing_resolution=self.resolution,
                generator=torch.Generator("cpu").manual_seed(number),  # the same on every device
                output_type="np",
            )
        values = np.asarray(found.prediction).reshape(found.prediction.shape[1:3])
        values = average(values, stored_size(image.size, self.max_side)).astype(np.float32)
        if self._pipeline.config.prediction_type == "disparity":
            values = distance_from_disparity(values)
        return DepthMap(values, "relative")
