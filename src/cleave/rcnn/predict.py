"""A trained network over images: resized as detectron2 does it, masks back at their size."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from cleave.io.device import inference
from cleave.io.images import resize
from cleave.ops.targets import Detections
from cleave.rcnn.network import MULTIPLE, RCNN
from cleave.rcnn.paste import paste
from cleave.types import Image, MaskSet, Size


def predict(
    network: RCNN, images: Iterable[Image], *, batch: int, device: str
) -> Iterator[MaskSet]:
    """The instances of each image, in the order of the images, best first.

    Only neighbours that are padded to the same size share a batch, so that an image's result does
    not depend on which images come before and after it. As in detectron2 a mask of low
    probability may be empty.

    Args:
        network: with its trained weights.
        images: of any sizes.
        batch: images at once, at most.
        device: of torch.
    """
    network = network.to(device).eval()
    parts = network.architecture
    seen = ((i, shortest_edge(i.size, parts.min_side, parts.max_side)) for i in images)
    for _, group in itertools.groupby(seen, key=lambda item: _padded(item[1])):
        while chunk := list(itertools.islice(group, batch)):
            with inference():
                pixels = [_tensor(image, size).to(device) for image, size in chunk]
                found = network.detect(pixels, [image.size for image, _ in chunk])
                sets = [
                    mask_set(one, image.size, parts.classes)
                    for one, (image, _) in zip(found, chunk, strict=True)
                ]
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


def mask_set(found: Detections, size: Size, classes: int) -> MaskSet:
    """Detections as masks of the image's size; labels are kept where there are several classes."""
    masks = paste(found.masks, found.boxes, size).cpu().numpy()
    labels = found.labels.cpu().numpy() if classes > 1 else None
    scores, boxes = (each.cpu().numpy().astype("float64") for each in (found.scores, found.boxes))
    return MaskSet(size, masks, scores, labels, detected=boxes)


def _padded(size: Size) -> Sequence[int]:
    return [-(-side // MULTIPLE) for side in size]


def _tensor(image: Image, size: Size) -> Tensor:
    """(3, h, w) float32 RGB in 0..255."""
    pixels = resize(image.pixels, size, "bilinear")
    return torch.from_numpy(pixels).permute(2, 0, 1).float()
