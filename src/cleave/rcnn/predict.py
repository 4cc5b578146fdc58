"""A trained network over images: masks come back at the size of each image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cleave.networks import predict as shared
from cleave.ops.targets import Detections
from cleave.rcnn.network import RCNN
from cleave.rcnn.paste import paste
from cleave.types import Image, MaskSet, Size


def predict(
    network: RCNN, images: Iterable[Image], *, batch: int, device: str
) -> Iterator[MaskSet]:
    """The instances of each image, best first; see `cleave.networks.predict.predict`.

    As in detectron2 a mask of low probability may be empty.
    """

    def find(pixels, sizes):
        found = network.detect(pixels, sizes)
        classes = network.architecture.classes
        return [mask_set(one, size, classes) for one, size in zip(found, sizes, strict=True)]

    return shared.predict(network, images, find, batch=batch, device=device)


def mask_set(found: Detections, size: Size, classes: int) -> MaskSet:
    """Detections as masks of the image's size; labels are kept where there are several classes."""
    masks = paste(found.masks, found.boxes, size).cpu().numpy()
    labels = found.labels.cpu().numpy() if classes > 1 else None
    scores, boxes = (each.cpu().numpy().astype("float64") for each in (found.scores, found.boxes))
    return MaskSet(size, masks, scores, labels, detected=boxes)
