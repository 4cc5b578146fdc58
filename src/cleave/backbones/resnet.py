"""Dense convolutional features of a ResNet, through torchvision."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Len

from cleave.backbones.inputs import Seen, encode_by_size, normalised
from cleave.io.device import device, inference
from cleave.io.images import resize
from cleave.io.weights import Weights
from cleave.networks.published import ARCHITECTURES, RESNETS, record
from cleave.spec import ConfigError, nearest
from cleave.types import FeatureMap, Image, Size

if TYPE_CHECKING:
    from torch import Tensor

    from cleave.networks.resnet import DenseResNet

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}  # px of the input a cell


@dataclass(frozen=True, kw_only=True)
class ResNet(Seen):
    """Features of a stage of a ResNet: DenseCL, MoCo v2, DINO, SwAV, or supervised.

    `key` is what the stage gives out, after its last rectifier; FreeSOLO's queries and keys are
    both made of it. `dense` is DenseCL's dense projection of it, the space in which DenseCL's loss
    compares; its published files lack that head, a whole training checkpoint has it. The defaults
    are those of FreeSOLO's code (configs/freesolo/freemask.yaml, detectron2's test resize); stages
    below res5 are ours.

    The network runs on a GPU if torch finds one, else on the CPU.
    """

    model: str = "densecl_r101"  # cleave doctor lists them; or resnet18, 34, 50, 101
    weights: str | None = None  # None: the published ones; a file; or "random"
    sha256: str | None = None  # of the file in `weights`: another file is refused
    seed: Annotated[int, Ge(0)] = 0  # of random weights
    stage: Literal["res2", "res3", "res4", "res5"] = "res5"  # of stride 4, 8, 16 or 32
    facets: tuple[Literal["key", "dense"], ...] = ("key",)
    # Ours: with several, the image is seen at each of them times its size, and the maps are brought
    # to the grid of the size itself bilinearly and averaged. The papers have one.
    scales: Annotated[tuple[Annotated[float, Gt(0)], ...], Len(1)] = (1.0,)
    size: Annotated[int, Gt(0)] = 800  # px, of the short side; detectron2
    keep_aspect: bool = True  # False: squeezed into a square, as CutLER's ViTs
    max_side: Annotated[int, Gt(0)] = 1333  # with keep_aspect; detectron2
    batch: Annotated[int, Gt(0)] = 1  # images at once; helps a GPU on small images alone
    precision: Literal["float32", "bfloat16"] = "float32"  # the latter is 2x faster on some CPUs

    gpu: ClassVar[bool] = True
    licence: ClassVar[str] = (
        "of the weights: GPL-3.0 (DenseCL), MIT (MoCo v2), Apache-2.0 (DINO), CC-BY-NC-4.0 (SwAV)"
    )

    def __post_init__(self):
        if self.model not in (*RESNETS, *ARCHITECTURES):
            hint = nearest(self.model, (*RESNETS, *ARCHITECTURES))
            raise ConfigError(f"model: no {self.model!r}; {hint}")
        if self.weights is None and self.model not in RESNETS:
            raise ConfigError(
                f"model: {self.model} alone is an architecture: give a file, or random, as "
                f"weights:, or name one with published weights: {', '.join(RESNETS)}"
            )
        if not self.facets or len(set(self.facets)) < len(self.facets):
            raise ConfigError(f"facets: at least one, each once; got {list(self.facets)}")
        if "dense" in self.facets and self.stage != "res5":
            raise ConfigError(f"facets: dense is a projection of stage res5, not of {self.stage}")
        if self.sha256 is not None and self.weights in (None, "random"):
            raise ConfigError("sha256 is that of a file; give the file as weights:")

    @functools.cached_property
    def record(self) -> Weights:
        """What is known of the weights: licence, and what they were trained on."""
        return record(self.model, self.weights)

    @property
    def saw_labels(self) -> str:
        """Which labels the training saw, for the report; empty: none."""
        return self.record.labels or ""

    def __call__(self, images: Sequence[Image]) -> list[FeatureMap]:
        """Features of each image, in order; images of one size go through the network together."""
        return encode_by_size(images, self._input_size, self._encode, self.batch)

    @property
    def _stride(self) -> int:
        return STRIDES[self.stage]

    def _input_size(self, image: Size) -> Size:
        return self.seen(image, self._stride)

    @functools.cached_property
    def _network(self) -> DenseResNet:
        from cleave.networks.resnet import load

        return load(
            self.model,
            self.weights,
            stage=self.stage,
            dense="dense" in self.facets,
            seed=self.seed,
            sha256=self.sha256,
        ).to(device())

    def _encode(self, images: list[Image], seen: Size) -> list[FeatureMap]:
        grid = Size(*(side // self._stride for side in seen))
        sizes = [Size(*(max(round(n * s), 1) * self._stride for n in grid)) for s in self.scales]
        found = [self._maps(images, size, grid) for size in sizes]
        averages = {name: sum(maps[name] for maps in found) / len(found) for name in self.facets}
        arrays = {
            name: value.permute(0, 2, 3, 1).contiguous().cpu().numpy()
            for name, value in averages.items()
        }
        return [
            FeatureMap(
                {name: values[i] for name, values in arrays.items()},
                image.size,
                seen,
                self._stride,
            )
            for i, image in enumerate(images)
        ]

    def _maps(self, images: list[Image], seen: Size, grid: Size) -> dict[str, Tensor]:
        """(B, C, h, w) of each facet, on `grid` whatever the size at which the images are seen."""
        import torch
        from torch.nn.functional import interpolate

        # bilinear is what detectron2 resizes with, and so FreeSOLO
        pixels = np.stack([resize(image.pixels, seen, "bilinear") for image in images])
        half = torch.autocast(device(), torch.bfloat16, enabled=self.precision == "bfloat16")
        with inference(), half:
            maps = self._network(normalised(pixels, self.record, device()))
            return {
                name: value.float()
                if value.shape[2:] == grid
                else interpolate(value.float(), grid, mode="bilinear", align_corners=False)
                for name, value in maps.items()
            }
