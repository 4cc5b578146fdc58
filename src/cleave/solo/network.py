"""SOLOv2 (arXiv 2003.10152) on a pyramid.

The parts and the names of their weights, beside those of `PyramidNetwork`:

    instances.{category_tower,kernel_tower}.{0..}.{conv,norm}.*
    instances.{category,kernel}.*
    features.levels.{0..3}.{0..}.{conv,norm}.*     from stride 4 to stride 32
    features.output.{conv,norm}.*
    num_batches_tracked                            batches learned from, for FreeSOLO's warm-up
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cleave.networks.network import PyramidNetwork
from cleave.ops.targets import Targets
from cleave.solo import losses as of
from cleave.solo.decode import decode, enlarge
from cleave.solo.heads import InstanceHead, MaskFeatures
from cleave.solo.settings import Architecture, Losses
from cleave.solo.targets import STRIDE, Assigned, assign, shrunk
from cleave.types import MaskSet, Size


@dataclass(frozen=True)
class Predicted:
    """What the heads say of B images with G cells each."""

    categories: Tensor  # (B, G, C) logits
    kernels: Tensor  # (B, G, E)
    features: Tensor  # (B, E, h, w), a quarter of the padded images

    @property
    def frame(self) -> Size:
        """Of the padded images."""
        return Size(*(side * STRIDE for side in self.features.shape[2:]))


class SOLOv2(PyramidNetwork):
    """A detector: called in training it gives losses, `detect` gives what it found."""

    def __init__(self, architecture: Architecture, losses: Losses):
        super().__init__(architecture)
        self.losses = losses
        self.instances = InstanceHead(architecture)
        self.features = MaskFeatures(architecture)
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, images: Sequence[Tensor], targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Losses of a batch, to be added, times their weights.

        Args:
            images: (3, H_i, W_i) float32 RGB in 0..255, of any sizes.
            targets: of each image, on the same device; see `checked`.

        Returns:
            Scalars: category, and of dice, axis_max, axis_mean and colour those with a weight.

        Raises:
            DataError: targets that do not fit; see `checked`.
        """
        targets = self.checked(images, targets)
        self.num_batches_tracked += 1
        predicted, parts = self.predict(images), self.architecture
        assigned = [
            assign(target, predicted.frame, parts.grids, parts.scale_ranges, parts.sigma)
            for target in targets
        ]
        category = self._category_loss(predicted.categories, targets, assigned)
        return {"category": category} | self._mask_losses(images, targets, predicted, assigned)

    @torch.no_grad()
    def detect(self, images: Sequence[Tensor], originals: Sequence[Size]) -> list[MaskSet]:
        """What the images show, best first.

        Args:
            images: (3, H_i, W_i) float32 RGB in 0..255, resized for the network.
            originals: sizes of the images before that, which the masks have.
        """
        predicted, found = self.predict(images), []
        for number, (image, original) in enumerate(zip(images, originals, strict=True)):
            parts = (predicted.categories, predicted.kernels, predicted.features)
            soft, scores, labels = decode(*(p[number].float() for p in parts), self.architecture)
            threshold = self.architecture.mask_threshold
            masks = enlarge(soft, Size(*image.shape[1:]), original, threshold)
            kept = masks.any((1, 2))
            labels = labels[kept] if self.architecture.classes > 1 else None
            found.append(MaskSet(original, masks[kept], scores[kept], labels))
        return found

    def predict(self, images: Sequence[Tensor]) -> Predicted:
        """What the heads say; `images` as in `forward`."""
        maps = self.maps(images)
        return Predicted(*self.instances(maps), self.features(maps[:4]))

    def _category_loss(
        self, logits: Tensor, targets: Sequence[Targets], assigned: Sequence[Assigned]
    ) -> Tensor:
        """Focal loss of all cells, divided by those with an object and one."""
        settings, logits = self.losses, logits.float()
        truth, weights, positive = torch.zeros_like(logits), torch.ones_like(logits), 0
        for number, (target, cells) in enumerate(zip(targets, assigned, strict=True)):
            taken = (cells.owners >= 0).nonzero()[:, 0]
            owners = cells.owners[taken]
            truth[number, taken, target.labels[owners]] = 1
            if settings.soft_targets:
                weights[number, taken] = target.scores[owners, None]
            positive += len(taken)
        each = of.focal_loss(logits, truth, alpha=settings.focal_alpha, gamma=settings.focal_gamma)
        return (each * weights).sum() / (positive + 1) * settings.focal_weight

    def _mask_losses(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Targets],
        predicted: Predicted,
        assigned: Sequence[Assigned],
    ) -> dict[str, Tensor]:
        """Means over all cells that learn a mask, of all images together."""
        settings, frame = self.losses, predicted.frame
        logits = [
            dynamic(kernels[cells.cells], features).float()
            for kernels, features, cells in zip(
                predicted.kernels, predicted.features, assigned, strict=True
            )
        ]
        truths = [
            shrunk(target.masks, frame)[cells.objects].float()
            for target, cells in zip(targets, assigned, strict=True)
        ]
        scores = None
        if settings.soft_targets:
            scores = [t.scores[c.objects] for t, c in zip(targets, assigned, strict=True)]
        losses = self._overlap_losses(torch.cat(logits), torch.cat(truths), scores)
        if settings.colour_weight:
            likes = [of.like_colours(i, frame, settings.colour_similarity) for i in images]
            warm = (self.num_batches_tracked / settings.colour_warmup).clamp(max=1)
            colour = of.colour_loss(logits, truths, likes, scores)
            losses["colour"] = colour * warm * settings.colour_weight
        return losses

    def _overlap_losses(
        self, logits: Tensor, truths: Tensor, scores: Sequence[Tensor] | None
    ) -> dict[str, Tensor]:
        settings, predicted = self.losses, logits.sigmoid()
        each = {}
        if settings.dice_weight:
            each["dice"] = of.dice_loss(predicted, truths) * settings.dice_weight
        if settings.axis_max_weight or settings.axis_mean_weight:
            largest, average = of.axis_losses(predicted, truths)
            if settings.axis_max_weight:
                each["axis_max"] = largest * settings.axis_max_weight
            if settings.axis_mean_weight:
                each["axis_mean"] = average * settings.axis_mean_weight
        if scores is not None:
            each = {name: loss * torch.cat(scores) for name, loss in each.items()}
        return {name: loss.sum() / max(len(loss), 1) for name, loss in each.items()}


def dynamic(kernels: Tensor, features: Tensor) -> Tensor:
    """Dynamic convolution (Sec. 3.2.1): each cell's kernel is a 1 x 1 convolution of the features.

    Args:
        kernels: (P, E).
        features: (E, h, w).

    Returns:
        (P, h, w) logits.
    """
    return (kernels @ features.flatten(1)).unflatten(1, features.shape[1:])


def build(architecture: Architecture, losses: Losses | None = None) -> SOLOv2:
    """A network with random weights, drawn from torch's global generator."""
    return SOLOv2(architecture, losses or Losses())
