"""A small vision transformer with rotary positions, and the facets that segmentation reads.

Positions enter only as rotations of queries and keys, so that they stay out of the residual stream
(features study, section 6: an absolute code leaks 80 % of its variance into the tokens).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cleave.io.weights import IMAGENET_MEAN, IMAGENET_STD
from cleave.pretrain.config import Architecture
from cleave.types import DataError, Size


class Rotation(NamedTuple):
    """Cosines and sines, (1 or B, 1, T, head_dim / 2) float32, one row a token."""

    cosine: Tensor
    sine: Tensor

    def to(self, device: torch.device) -> Rotation:
        return Rotation(self.cosine.to(device), self.sine.to(device))


class Facets(NamedTuple):
    """What one block computes for its N patches, row-major; C = dim."""

    key: Tensor  # (B, N, C), before the rotation
    query: Tensor  # (B, N, C), before the rotation
    value: Tensor  # (B, N, C)
    token: Tensor  # (B, N, C), the block's output after the final norm
    cls: Tensor  # (B, C), likewise
    attention: Tensor  # (B, heads, N), softmax of the class token over all tokens, without itself


def rotation(grid: Size, head_dim: int, period: float, scale: Tensor | float = 1.0) -> Rotation:
    """Axial rotary angles of a grid of patches behind one class token, which is not rotated.

    Patch centres lie in [-1, 1] along each axis whatever the grid, so a 16x16 and a 40x40 grid span
    the same angles; `scale` stretches them in training (DINOv3, arXiv 2508.10104). The first half
    of the channel pairs follows y, the second x; the periods run from 1 to `period` geometrically.

    Args:
        scale: factor on the positions, a scalar.
    """
    count = head_dim // 4
    periods = period ** (torch.arange(count, dtype=torch.float32) / count)
    axes = [(2 * torch.arange(n, dtype=torch.float32) + 1) / n - 1 for n in grid]
    y, x = torch.meshgrid(*axes, indexing="ij")
    angles = 2 * math.pi * torch.stack([y, x], -1).reshape(-1, 2, 1) / periods  # (N, 2, count)
    angles = F.pad(angles.reshape(-1, 2 * count), (0, 0, 1, 0))[None, None] * scale
    return Rotation(angles.cos(), angles.sin())


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Turns channel pairs (i, i + head_dim / 2) of x (B, heads, T, head_dim), in float32."""
    first, second = x.float().chunk(2, dim=-1)
    cosine, sine = by
    turned = [first * cosine - second * sine, first * sine + second * cosine]
    return torch.cat(turned, dim=-1).to(x.dtype)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query key' / sqrt(head_dim)) value, all (B, heads, T, head_dim).

    Written out for bfloat16 on a CPU: there torch's fused kernel takes up to six times as long
    forward and backward (2.14.1, 145 tokens), and half of a training step with it.
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        return scores.softmax(-1) @ value
    return F.scaled_dot_product_attention(query, key, value)


class Block(nn.Module):
    """Pre-norm attention and MLP, each behind a LayerScale gain (arXiv 2103.17239)."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int, layer_scale: float):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.projection = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.expand, self.contract = (
            nn.Linear(dim, mlp_ratio * dim),
            nn.Linear(mlp_ratio * dim, dim),
        )
        self.gain1 = nn.Parameter(torch.full((dim,), layer_scale))
        self.gain2 = nn.Parameter(torch.full((dim,), layer_scale))

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values before any rotation, (3, B, heads, T, head_dim)."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, -1)
        return qkv.permute(2, 0, 3, 1, 4)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The rest of the block after attention; `attended` is (B, heads, T, head_dim)."""
        x = x + self.gain1 * self.projection(attended.transpose(1, 2).flatten(2))
        return x + self.gain2 * self.contract(F.gelu(self.expand(self.norm2(x))))

    def forward(self, x: Tensor, by: Rotation) -> Tensor:
        query, key, value = self.project(x)
        return self.finish(x, attend(rotate(query, by), rotate(key, by), value))


def initialise(module: nn.Module) -> None:
    """Truncated normal weights and zero biases, as ViT-Ti has them."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class RotaryVit(nn.Module):
    """The encoder. Takes RGB in [0, 1] of any size that is a multiple of the patch."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        a = self.architecture = architecture
        self.embed = nn.Linear(3 * a.patch**2, a.dim)
        self.class_token = nn.Parameter(torch.zeros(a.dim))
        self.mask_token = nn.Parameter(torch.zeros(a.dim))
        blocks = [Block(a.dim, a.heads, a.mlp_ratio, a.layer_scale) for _ in range(a.depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(a.dim, eps=1e-6)
        self.apply(initialise)
        nn.init.normal_(self.class_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def grid(self, pixels: Tensor) -> Size:
        """The patch grid of pixels (B, 3, H, W).

        Raises:
            DataError: a side that is no multiple of the patch.
        """
        patch = self.architecture.patch
        height, width = pixels.shape[-2:]
        if height % patch or width % patch or not height or not width:
            raise DataError(f"expected sides that are multiples of {patch}, got {height}x{width}")
        return Size(height // patch, width // patch)

    def embed_patches(self, pixels: Tensor, masked: Tensor | None) -> Tensor:
        """(B, 1 + N, C): the class token, then the patches in row-major order."""
        patches = patchify((pixels - self.mean) / self.std, self.architecture.patch)
        x = self.embed(patches)
        if masked is not None:
            x = torch.where(masked[..., None], self.mask_token.to(x.dtype), x)
        return torch.cat([self.class_token.to(x.dtype).expand(len(x), 1, -1), x], dim=1)

    def positions(self, grid: Size, scale: Tensor | float = 1.0) -> Rotation:
        """The rotation for a patch grid, on the model's device."""
        a = self.architecture
        by = rotation(grid, a.dim // a.heads, a.longest_period, scale)
        return by.to(self.class_token.device)

    def encode(
        self,
        pixels: Tensor,
        by: Rotation,
        *,
        masked: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> Tensor:
        """Final tokens, for training.

        Args:
            pixels: (B, 3, H, W) float, RGB in [0, 1].
            by: from `positions`.
            masked: (B, N) bool; these patches show the mask token (iBOT).
            kept: (B, K) int64; only these patches are seen at all (MAE).

        Returns:
            (B, 1 + N or 1 + K, C), class token first.
        """
        x = self.embed_patches(pixels, masked)
        if kept is not None:
            x, by = gather_tokens(x, by, kept)
        for block in self.blocks:
            x = block(x, by)
        return self.norm(x)

    def forward(self, pixels: Tensor, blocks: Sequence[int] | None = None) -> dict[int, Facets]:
        """Facets of the named blocks, 0-based (all by default); deeper blocks are not computed.

        Args:
            pixels: (B, 3, H, W) float, RGB in [0, 1]; sides are multiples of the patch.
        """
        wanted = set(range(len(self.blocks)) if blocks is None else blocks)
        if not wanted or not wanted <= set(range(len(self.blocks))):
            raise DataError(f"blocks: expected some of 0 to {len(self.blocks) - 1}, got {blocks}")
        grid = self.grid(pixels)
        x, by = self.embed_patches(pixels, None), self.positions(grid)
        facets = {}
        for number, block in enumerate(self.blocks[: max(wanted) + 1]):
            query, key, value = block.project(x)
            turned = rotate(query, by), rotate(key, by)
            x = block.finish(x, attend(*turned, value))
            if number in wanted:
                flat = [t[:, :, 1:].transpose(1, 2).flatten(2) for t in (key, query, value)]
                scores = turned[0][:, :, :1] @ turned[1].transpose(2, 3)
                attention = (scores[:, :, 0] / math.sqrt(key.shape[-1])).softmax(-1)[..., 1:]
                token = self.norm(x)
                facets[number] = Facets(*flat, token[:, 1:], token[:, 0], attention)
        return facets


def patchify(pixels: Tensor, patch: int) -> Tensor:
    """(B, 3, H, W) to (B, N, 3 * patch * patch): patches row-major, channel slowest within one."""
    return F.unfold(pixels, patch, stride=patch).transpose(1, 2)


def gather_tokens(x: Tensor, by: Rotation, kept: Tensor) -> tuple[Tensor, Rotation]:
    """The class token and the kept patches, (B, K) numbered without the class token."""
    rows = F.pad(kept + 1, (1, 0))  # row 0 is the class token
    x = x.gather(1, rows[..., None].expand(-1, -1, x.shape[-1]))
    return x, Rotation(by.cosine[0, 0][rows][:, None], by.sine[0, 0][rows][:, None])
