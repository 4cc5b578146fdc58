"""Mask R-CNN (arXiv 1703.06870) and Cascade Mask R-CNN (arXiv 1906.09756) on a pyramid.

The parts and the names of their weights, beside those of `PyramidNetwork`:

    proposals.{conv,objectness,deltas}.*
    regions.box_heads.{stage}.{fc1,fc2,classes,deltas}.*
    regions.mask_head.{convs.{0..3},upsample,masks}.*
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cleave.networks.network import PyramidNetwork
from cleave.ops.targets import Detections, Targets
from cleave.rcnn.proposals import Proposals
from cleave.rcnn.regions import Regions
from cleave.rcnn.settings import Architecture, Losses
from cleave.types import Size


class RCNN(PyramidNetwork):
    """A detector: called in training it gives losses, `detect` gives what it found.

    Sampling of anchors and regions uses torch's global generators, so a seed set before the call
    fixes it.
    """

    def __init__(self, architecture: Architecture, losses: Losses):
        super().__init__(architecture)
        self.proposals = Proposals(architecture)
        self.regions = Regions(architecture, losses)

    def forward(self, images: Sequence[Tensor], targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Losses of a batch, to be added.

        Args:
            images: (3, H_i, W_i) float32 RGB in 0..255, of any sizes.
            targets: of each image, on the same device; see `checked`.

        Returns:
            Scalars: rpn_class, rpn_box, stage{k}_class, stage{k}_box, mask.

        Raises:
            DataError: targets that do not fit; see `checked`.
            FloatingPointError: proposals are infinite or NaN.
        """
        targets = self.checked(images, targets)
        sizes = [Size(*image.shape[1:]) for image in images]
        maps = self.maps(images)
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
        maps = self.maps(images)
        boxes = self.proposals.find(*self.proposals(maps), sizes)
        return self.regions.detect(maps[:4], boxes, sizes, originals)


def build(architecture: Architecture, losses: Losses | None = None) -> RCNN:
    """A network with random weights, drawn from torch's global generator."""
    return RCNN(architecture, losses or Losses())
