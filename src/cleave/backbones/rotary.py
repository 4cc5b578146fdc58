"""Dense features of the small backbone that cleave itself pre-trains."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from cleave.backbones.inputs import input_size
from cleave.io.device import device, inference
from cleave.io.images import resize
from cleave.spec import ConfigError
from cleave.types import FeatureMap, Image, Size

if TYPE_CHECKING:
    from cleave.pretrain.model import RotaryVit


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Features of a ViT with rotary positions that the `pretrain` stage trained, without labels.

    Its weights come from a `pretrain` section, by reference, from those that ship with cleave, by
    name, or from a file; `random` ones, of the default architecture, show what training is worth.
    `key`, `query` and `value` are the projections of a block, heads side by side, before the
    rotation, so they tell where a patch is only as far as the network wrote it into the tokens;
    `token` is what the block gives out, after the final norm. Runs on a GPU if torch finds one,
    else on the CPU.
    """

    # A name in cleave/weights, a file that the stage wrote, or "random"; None: those of `pretrain`.
    weights: str | None = None
    sha256: str | None = None  # of the weights: another file is refused
    facet: Literal["key", "query", "value", "token"] = "key"  # CutLER, maskcut.py:277: keys
    cls_attention: bool = False  # keep the attention from CLS to the patches (dino_seg and others)
    block: int = -1  # the block to look into; deeper ones are not computed
    size: Annotated[int, Gt(0)] = 480  # CutLER, maskcut.py:164: squeezed into this square
    batch: Annotated[int, Gt(0)] = 1  # images at once

    gpu: ClassVar[bool] = True
    learned_by: ClassVar[str] = "rotary"  # the kind of section that makes such weights
    saw_labels: ClassVar[str] = ""
    licence: ClassVar[str] = "Apache-2.0; the weights are of whoever trained them"

    def __post_init__(self):
        if self.sha256 is not None and self.weights == "random":
            raise ConfigError("sha256: random weights are of no file")

    @property
    def needs(self) -> frozenset[str]:
        """What the config must refer to: a pre-training, where no file is named."""
        return frozenset({"weights"} if self.weights is None else ())

    def __call__(self, images: Sequence[Image]) -> list[FeatureMap]:
        chunks = [images[i : i + self.batch] for i in range(0, len(images), self.batch)]
        return [features for chunk in chunks for features in self._encode(chunk)]

    @functools.cached_property
    def _model(self) -> RotaryVit:
        from cleave.pretrain.shipped import located
        from cleave.pretrain.weights import load, untrained

        if self.weights is None:
            raise ConfigError("rotary: no weights; name a file, or a pretrain section")
        file, digest = located(self.weights)
        random = self.weights == "random"
        model = untrained() if random else load(file, self.sha256 or digest)
        depth = len(model.blocks)
        if not -depth <= self.block < depth:
            raise ConfigError(f"block: {self.block}, but {self.weights} has {depth} blocks")
        return model.to(device())

    def _encode(self, images: Sequence[Image]) -> list[FeatureMap]:
        import torch

        model = self._model
        patch, heads = model.architecture.patch, model.architecture.heads
        sizes = {"size": self.size, "multiple": patch, "max_side": self.size}
        seen = input_size(images[0].size, keep_aspect=False, **sizes)
        pixels = np.stack([resize(image.pixels, seen) for image in images])
        number = self.block % len(model.blocks)
        with inference():
            values = torch.from_numpy(pixels).to(device()).permute(0, 3, 1, 2).float().div_(255)
            found = model(values, [number])[number]
        attention = found.attention.cpu().numpy() if self.cls_attention else [None] * len(images)
        found = getattr(found, self.facet)
        grid = Size(*(side // patch for side in seen))
        facets = found.reshape(len(images), *grid, -1).contiguous().cpu().numpy()
        return [
            FeatureMap(
                {self.facet: facet},
                image.size,
                seen,
                patch,
                attention=None if looked is None else looked.reshape(heads, *grid),
                heads=heads,
            )
            for image, facet, looked in zip(images, facets, attention, strict=True)
        ]
