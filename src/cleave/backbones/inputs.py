"""What a backbone sees of an image: how large, with which others, and in which units."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import Gt

from cleave.io.images import resize
from cleave.io.weights import Weights
from cleave.types import Array, FeatureMap, Image, Size

if TYPE_CHECKING:
    from torch import Tensor


def input_size(image: Size, *, size: int, multiple: int, keep_aspect: bool, max_side: int) -> Size:
    """The size to which an image is resized before it is cut into patches.

    Square, the aspect not kept, as in CutLER (maskcut.py:164), or the short side at `size` and
    the long side at most `max_side`. Both sides are then rounded down to whole patches, as in
    TokenCut (utils.py:3-9); no side is less than one patch.

    Args:
        image: of the original image.
        size: side of the square or short side, pixels.
        multiple: patch size, pixels.

    Example:
        >>> input_size(Size(600, 800), size=480, multiple=14, keep_aspect=False, max_side=800)
        Size(height=476, width=476)
    """
    if not keep_aspect:
        side = max(size // multiple, 1) * multiple
        return Size(side, side)
    short, long = min(image), max(image)
    numerator, denominator = (size, short) if size * long <= max_side * short else (max_side, long)
    # integers: 640 * (480 / 480) must not come out as 639 on some machine
    sides = (side * numerator // denominator for side in image)
    return Size(*(max(side // multiple, 1) * multiple for side in sides))


@dataclass(frozen=True, kw_only=True)
class Seen:
    """How large a backbone sees an image; the defaults are CutLER's."""

    size: Annotated[int, Gt(0)] = 480  # CutLER, maskcut.py:164
    keep_aspect: bool = False  # CutLER: the image is squeezed into a square
    max_side: Annotated[int, Gt(0)] = 800  # with keep_aspect

    def seen(self, image: Size, multiple: int) -> Size:
        """The size to which an image is resized; see `input_size`."""
        return input_size(
            image,
            size=self.size,
            multiple=multiple,
            keep_aspect=self.keep_aspect,
            max_side=self.max_side,
        )


@dataclass(frozen=True, kw_only=True)
class Descriptor(Seen, ABC):
    """A backbone without a network: one facet, computed image by image; it has a `stride`."""

    batch: ClassVar[int] = 1

    def __call__(self, images: Sequence[Image]) -> list[FeatureMap]:
        return [self._describe(image) for image in images]

    @abstractmethod
    def encode(self, pixels: Array) -> Array:
        """(stride h, stride w, 3) uint8 RGB to (h, w, C) of any float."""

    def _describe(self, image: Image) -> FeatureMap:
        seen = self.seen(image.size, self.stride)
        key = np.ascontiguousarray(self.encode(resize(image.pixels, seen)), np.float32)
        return FeatureMap({"key": key}, image.size, seen, self.stride)


def encode_by_size(
    images: Sequence[Image],
    seen: Callable[[Size], Size],
    encode: Callable[[list[Image], Size], list[FeatureMap]],
    batch: int,
) -> list[FeatureMap]:
    """Features of each image, in order; images that are seen at one size are encoded together.

    Args:
        seen: gives the size at which an image of some size is seen.
        encode: features of images that are seen at the given size.
        batch: images at once, at most.
    """
    groups: dict[Size, list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(seen(image.size), []).append(index)
    features: dict[int, FeatureMap] = {}
    for size, members in groups.items():
        for start in range(0, len(members), batch):
            chunk = members[start : start + batch]
            maps = encode([images[i] for i in chunk], size)
            features.update(zip(chunk, maps, strict=True))
    return [features[i] for i in range(len(images))]


def normalised(pixels: Array, record: Weights, device: str) -> Tensor:
    """(B, H, W, 3) uint8 RGB to (B, 3, H, W) float32 in the units of the weights."""
    import torch

    mean, std = (torch.tensor(values, device=device) for values in (record.mean, record.std))
    values = torch.from_numpy(pixels).to(device).float().div_(255)
    return values.sub_(mean).div_(std).permute(0, 3, 1, 2)
