"""A trained network over images, resized as detectron2 does it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from cleave.io.device import inference
from cleave.io.images import resize
from cleave.networks.network import MULTIPLE
from cleave.types import Image, MaskSet, Size

# Resized images on the device and their original sizes to what they show
Find = Callable[[list[Tensor], list[Size]], list[MaskSet]]


def predict(
    network: nn.Module, images: Iterable[Image], find: Find, *, batch: int, device: str
) -> Iterator[MaskSet]:
    """What `find` says of each image, in the order of the images.

    Only neighbours that are padded to the same size share a batch, so that an image's result does
    not depend on which images come before and after it.

    Args:
        network: with its trained weights; its `architecture` has the sides to resize to.
        images: of any sizes.
        find: asked with no gradients, and with at most `batch` images.
        batch: images at once, at most.
        device: of torch.
    """
    network.to(device).eval()
    parts = network.architecture
    seen = ((i, shortest_edge(i.size, parts.min_side, parts.max_side)) for i in images)
    for _, group in itertools.groupby(seen, key=lambda item: _padded(item[1])):
        while chunk := list(itertools.islice(group, batch)):
            with inference():
                pixels = [_tensor(image, size).to(device) for image, size in chunk]
                sets = find(pixels, [image.size for image, _ in chunk])
            yield from sets


def shortest_edge(size: Size, short: int, longest: int) -> Size:
    """The size whose short side is `short`, or less where the long side would exceed `longest`.

    detectron2's ResizeShortestEdge with its rounding; a side is never rounded to 0.
    """
    scale = short / min(size)
    height, width = (
        (short, scale * size.width) if size.height < size.width else (scale * size.height, short)
    )
    if max(height, width) > longest:
        scale = longest / max(height, width)
        height, width = height * scale, width * scale
    return Size(max(int(height + 0.5), 1), max(int(width + 0.5), 1))


def _padded(size: Size) -> Sequence[int]:
    return [-(-side // MULTIPLE) for side in size]


def _tensor(image: Image, size: Size) -> Tensor:
    """(3, h, w) float32 RGB in 0..255."""
    pixels = resize(image.pixels, size, "bilinear")
    return torch.from_numpy(pixels).permute(2, 0, 1).float()
