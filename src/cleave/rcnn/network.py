"""Mask R-CNN (arXiv 1703.06870) and Cascade Mask R-CNN (arXiv 1906.09756) on a pyramid.

The parts and the names of their weights:

    trunk.*                            as torchvision names them, without the classifier
    pyramid.laterals.{0..3}.{conv,norm}.*      from stride 4 to stride 32
    pyramid.outputs.{0..3}.{conv,norm}.*       p2 to p5
    proposals.{conv,objectness,deltas}.*
    regions.box_heads.{stage}.{fc1,fc2,classes,deltas}.*
    regions.mask_head.{convs.{0..3},upsample,masks}.*
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from cleave.ops.targets import Detections, Targets
from cleave.rcnn.boxes import nonempty
from cleave.rcnn.proposals import Proposals
from cleave.rcnn.pyramid import Pyramid, make_trunk
from cleave.rcnn.regions import Regions
from cleave.rcnn.settings import Architecture, Losses
from cleave.types import DataError, Size

MULTIPLE = 32  # to which sides are padded: the stride of the trunk's last map


class RCNN(nn.Module):
    """A detector: called in training it gives losses, `detect` gives what it found.

    Sampling of anchors and regions uses torch's global generators, so a seed set before the call
    fixes it.
    """

    def __init__(self, architecture: Architecture, losses: Losses):
        super().__init__()
        self.architecture = architecture
        self.trunk = make_trunk(architecture)
        channels = architecture.fpn_channels
        self.pyramid = Pyramid(self.trunk.channels, channels, architecture.fpn_norm)
        self.proposals = Proposals(architecture)
        self.regions = Regions(architecture, losses)
        for name in ("mean", "std"):
            value = torch.tensor(getattr(architecture, name)).view(3, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def forward(self, images: Sequence[Tensor], targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Losses of a batch, to be added.

        Args:
            images: (3, H_i, W_i) float32 RGB in 0..255, of any sizes.
            targets: of each image, on the same device. A detector of one class tells objects from
                background: it ignores which clusters their labels may name.

        Returns:
            Scalars: rpn_class, rpn_box, stage{k}_class, stage{k}_box, mask.

        Raises:
            DataError: a target box has no area, a target mask has another size than its image, or
                a label is outside 0..C-1.
            FloatingPointError: proposals are infinite or NaN.
        """
        if self.architecture.classes == 1:
            targets = [replace(t, labels=torch.zeros_like(t.labels)) for t in targets]
        _check(images, targets, self.architecture.classes)
        sizes = [Size(*image.shape[1:]) for image in images]
        maps = self._maps(images)
        predicted = self.proposals(maps)
        losses = self.proposals.losses(*predicted, targets)
        boxes = self.proposals.find(*predicted, sizes)
        return losses | self.regions.losses(maps[:4], boxes, targets, sizes)

    @torch.no_grad()
    def detect(self, images: Sequence[Tensor], originals: Sequence[Size]) -> list[Detections]:
        """What the images show, best first.

        Args:
            images: (3, H_i, W_i) float32 RGB in 0..255, resized for the network.
            originals: sizes of the images before that; boxes come in their frame.
        """
        sizes = [Size(*image.shape[1:]) for image in images]
        maps = self._maps(images)
        boxes = self.proposals.find(*self.proposals(maps), sizes)
        return self.regions.detect(maps[:4], boxes, sizes, originals)

    def _maps(self, images: Sequence[Tensor]) -> list[Tensor]:
        """p2 … p6 of normalised images, each padded with zeros at its right and bottom."""
        height, width = (
            -(-max(image.shape[axis] for image in images) // MULTIPLE) * MULTIPLE for axis in (1, 2)
        )
        batch = self.mean.new_zeros((len(images), 3, height, width))
        for place, image in zip(batch, images, strict=True):
            place[:, : image.shape[1], : image.shape[2]] = (image - self.mean) / self.std
        return self.pyramid(self.trunk(batch))


def build(architecture: Architecture, losses: Losses | None = None) -> RCNN:
    """A network with random weights, drawn from torch's global generator."""
    return RCNN(architecture, losses or Losses())


def _check(images: Sequence[Tensor], targets: Sequence[Targets], classes: int) -> None:
    for number, (image, target) in enumerate(zip(images, targets, strict=True)):
        if target.masks.shape[1:] != image.shape[1:]:
            raise DataError(
                f"training image {number} is {tuple(image.shape[1:])}, "
                f"but its masks are {tuple(target.masks.shape[1:])}"
            )
        if not nonempty(target.boxes).all():
            raise DataError(f"training image {number}: a target box has no area")
        if len(target) and not 0 <= int(target.labels.min()) <= int(target.labels.max()) < classes:
            raise DataError(
                f"training image {number}: labels {sorted(set(target.labels.tolist()))}, "
                f"but the detector has classes 0 to {classes - 1}"
            )
