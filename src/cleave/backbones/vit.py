"""Dense features of a vision transformer, through timm."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt

from cleave.backbones import attention, weights
from cleave.backbones.inputs import Seen, encode_by_size, normalised
from cleave.backbones.positions import dino_positions, set_positions
from cleave.io.device import device, inference
from cleave.io.images import resize
from cleave.io.weights import Weights
from cleave.spec import ConfigError
from cleave.types import Array, FeatureMap, Image, Size

if TYPE_CHECKING:
    from torch import Tensor, nn

Facet = Literal["key", "query", "value", "token"]


@dataclass(frozen=True, kw_only=True)
class Vit(Seen):
    """Features of a ViT's last block: DINO, DINOv2, MAE, DiffNCuts or any ViT of timm.

    `key`, `query` and `value` are the projections of the last attention, heads side by side;
    `token` is what the network gives out, after its final norm. CLS and register tokens are
    dropped. With only projections asked for, the last block's attention and MLP are not computed.

    Under a short name positions are interpolated as the authors' code does; under a name of timm
    all is as timm has it. The network runs on a GPU if torch finds one, else on the CPU.
    """

    model: str = "dino_vits8"  # CutS3D; a short name (cleave doctor lists them) or a name of timm
    weights: str | None = None  # None: the hub's; a file of the authors' or timm's; or "random"
    sha256: str | None = None  # of the file in `weights`: another file is refused
    seed: Annotated[int, Ge(0)] = 0  # of random weights
    facets: tuple[Facet, ...] = ("key",)  # CutLER, maskcut.py:277: keys
    cls_token: bool = False  # keep the CLS token, after the final norm
    cls_attention: bool = False  # keep the attention from CLS to the patches
    cls_query: bool = False  # keep the query of CLS in the last attention (MaskDistill)
    layer: int = -1  # the block to look into; the network ends there, final norm included
    # Images at once. More than one helps a GPU on small grids alone. On a CPU the other images of
    # a batch changed no bit (480 px, ViT-S/8 and S/16); on a GPU they may, by round-off.
    batch: Annotated[int, Gt(0)] = 1
    # bfloat16: 1.2x faster on a CPU, more on a GPU, but the affinity's bits flip: .02 % with random
    # weights here, .3 % where the whole network was cast
    precision: Literal["float32", "bfloat16"] = "float32"

    gpu: ClassVar[bool] = True
    licence: ClassVar[str] = "of the weights: Apache-2.0 (DINO, DINOv2), CC-BY-NC-4.0 (MAE)"

    def __post_init__(self):
        if not self.facets or len(set(self.facets)) < len(self.facets):
            raise ConfigError(f"facets: at least one, each once; got {list(self.facets)}")
        if self.sha256 is not None and self.weights in (None, "random"):
            raise ConfigError("sha256 is that of a file; give the file as weights:")

    @functools.cached_property
    def record(self) -> Weights:
        """What is known of the weights: licence, and what they were trained on."""
        return weights.record(self.model, self.weights)

    @property
    def saw_labels(self) -> str:
        """Which labels the training saw, for the report; empty: none."""
        return weights.labels(self.model, self.weights) or ""

    def __call__(self, images: Sequence[Image]) -> list[FeatureMap]:
        """Features of each image, in order; images of one size go through the network together."""
        return encode_by_size(images, self._input_size, self._encode, self.batch)

    @property
    def _stride(self) -> int:
        return int(self._network.patch_embed.feat_ratio())

    def _input_size(self, image: Size) -> Size:
        return self.seen(image, self._stride)

    def _grid(self, seen: Size) -> Size:
        return Size(*(side // self._stride for side in seen))

    @functools.cached_property
    def _network(self) -> nn.Module:
        network = weights.load(self.model, self.weights, seed=self.seed, sha256=self.sha256)
        attention.check(network, self.model)
        depth = len(network.blocks)
        if not -depth <= self.layer < depth:
            raise ConfigError(f"layer: {self.layer}, but {self.model} has {depth} blocks")
        network.blocks = network.blocks[: self.layer % depth + 1]
        wants_class = self.cls_token or self.cls_attention or self.cls_query
        if wants_class and network.cls_token is None:
            raise ConfigError(f"model: {self.model} has no CLS token; leave out cls_*")
        return network.to(device())

    @functools.cached_property
    def _stored_positions(self) -> Tensor:
        return self._network.pos_embed.detach().clone()

    def _encode(self, images: list[Image], seen: Size) -> list[FeatureMap]:
        import torch

        if self.record.dino_positions:
            stored, grid = self._stored_positions, self._grid(seen)
            set_positions(self._network, dino_positions(stored, grid), grid)
        pixels = np.stack([resize(image.pixels, seen) for image in images])
        half = torch.autocast(device(), torch.bfloat16, enabled=self.precision == "bfloat16")
        with inference(), half:
            found = self._forward(self._normalise(pixels))
        arrays = {name: value.float().cpu().numpy() for name, value in found.items()}
        return [
            self._feature_map({name: value[i] for name, value in arrays.items()}, image.size, seen)
            for i, image in enumerate(images)
        ]

    def _normalise(self, pixels: Array) -> Tensor:
        return normalised(pixels, self.record, device()).contiguous()

    def _forward(self, images: Tensor) -> dict[str, Tensor]:
        """Every requested array, batch first, tokens not yet on their grid."""
        network, prefix = self._network, self._network.num_prefix_tokens
        block = network.blocks[-1].attn
        last = attention.run_to_last_block(
            network, images, whole="token" in self.facets or self.cls_token
        )
        found: dict[str, Any] = {}
        projected = {
            which: attention.project(block, last.inputs, which)
            for which in attention.PROJECTIONS
            if which in self.facets or (which == "key" and self.cls_attention)
        }
        for facet in self.facets:
            found[facet] = projected.get(facet, last.tokens)[:, prefix:]
        if self.cls_token:
            found["cls"] = last.tokens[:, 0]
        if self.cls_attention:
            found["attention"] = attention.class_attention(block, last, projected["key"])
            found["attention"] = found["attention"][:, :, prefix:]
        if self.cls_query:
            found["cls_query"] = attention.project(block, last.inputs[:, :1], "query")[:, 0]
        return found

    def _feature_map(self, arrays: dict[str, Array], size: Size, seen: Size) -> FeatureMap:
        grid = self._grid(seen)
        facets = {name: arrays[name].reshape(*grid, -1) for name in self.facets}
        rows = arrays.get("attention")
        return FeatureMap(
            facets,
            size,
            seen,
            self._stride,
            cls=arrays.get("cls"),
            attention=None if rows is None else rows.reshape(-1, *grid),
            heads=int(self._network.blocks[-1].attn.num_heads),
            cls_query=arrays.get("cls_query"),
        )
