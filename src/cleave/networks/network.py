"""What a detector's network begins with: normalised, padded images to the maps of a pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from cleave.networks.pyramid import Pyramid, make_trunk
from cleave.networks.settings import Common
from cleave.ops.targets import Targets
from cleave.types import DataError

MULTIPLE = 32  # to which sides are padded: the stride of the trunk's last map


class PyramidNetwork(nn.Module):
    """A trunk and a pyramid, to which detectors add their heads.

    The names of their weights:

        trunk.*                            as torchvision names them, without the classifier
        pyramid.laterals.{0..3}.{conv,norm}.*      from stride 4 to stride 32
        pyramid.outputs.{0..3}.{conv,norm}.*       p2 to p5
    """

    def __init__(self, architecture: Common):
        super().__init__()
        self.architecture = architecture
        self.trunk = make_trunk(architecture)
        self.pyramid = Pyramid(
            self.trunk.channels, architecture.fpn_channels, architecture.fpn_norm
        )
        for name in ("mean", "std"):
            value = torch.tensor(getattr(architecture, name)).view(3, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def maps(self, images: Sequence[Tensor]) -> list[Tensor]:
        """p2 … p6 of normalised images, each padded with zeros at its right and bottom.

        Args:
            images: (3, H_i, W_i) float32 RGB in 0..255.
        """
        return self.pyramid(self.trunk(self.padded(images)))

    def padded(self, images: Sequence[Tensor]) -> Tensor:
        """(B, 3, H, W) float32, normalised; H and W are multiples of 32."""
        height, width = (
            -(-max(image.shape[axis] for image in images) // MULTIPLE) * MULTIPLE for axis in (1, 2)
        )
        batch = self.mean.new_zeros((len(images), 3, height, width))
        for place, image in zip(batch, images, strict=True):
            place[:, : image.shape[1], : image.shape[2]] = (image - self.mean) / self.std
        return batch

    def checked(self, images: Sequence[Tensor], targets: Sequence[Targets]) -> Sequence[Targets]:
        """The targets, which must fit the images and the classes.

        A detector of one class tells objects from background: it ignores which clusters their
        labels may name.

        Raises:
            DataError: a target box has no area, a target mask has another size than its image, or
                a label is outside 0..C-1.
        """
        classes = self.architecture.classes
        if classes == 1:
            targets = [replace(t, labels=torch.zeros_like(t.labels)) for t in targets]
        for number, (image, target) in enumerate(zip(images, targets, strict=True)):
            _check(f"training image {number}", image, target, classes)
        return targets


def _check(where: str, image: Tensor, target: Targets, classes: int) -> None:
    if target.masks.shape[1:] != image.shape[1:]:
        raise DataError(
            f"{where} is {tuple(image.shape[1:])}, "
            f"but its masks are {tuple(target.masks.shape[1:])}"
        )
    if not (target.boxes[:, 2:] > target.boxes[:, :2]).all():
        raise DataError(f"{where}: a target box has no area")
    if len(target) and not 0 <= int(target.labels.min()) <= int(target.labels.max()) < classes:
        raise DataError(
            f"{where}: labels {sorted(set(target.labels.tolist()))}, "
            f"but the detector has classes 0 to {classes - 1}"
        )
