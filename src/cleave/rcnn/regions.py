"""The second half of the network: from proposals to losses, or to detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms

from cleave.ops.targets import Detections, Targets
from cleave.rcnn.boxes import Weights, clip, decode, encode, nonempty, pairwise_iou
from cleave.rcnn.heads import BoxHead, MaskHead
from cleave.rcnn.losses import box_loss, class_loss, drop_weights, mask_loss
from cleave.rcnn.matching import match, subsample
from cleave.rcnn.pooling import crop, pool
from cleave.rcnn.settings import Architecture, Losses
from cleave.types import Size

# Each stage corrects less than the one before it; Cascade R-CNN, detectron2's defaults.
DELTA_WEIGHTS: tuple[Weights, ...] = (
    (10.0, 10.0, 5.0, 5.0),
    (20.0, 20.0, 10.0, 10.0),
    (30.0, 30.0, 15.0, 15.0),
)
MASK_THRESHOLD = 0.5  # of a cropped target mask


@dataclass(frozen=True)
class Samples:
    """The r regions of one image and what they should become."""

    boxes: Tensor  # (r, 4)
    labels: Tensor  # (r,) int64; C is background
    index: Tensor  # (r,) int64, of the matched object
    target: Targets

    @classmethod
    @torch.no_grad()
    def label(cls, boxes: Tensor, target: Targets, iou: float, background: int) -> Samples:
        """Matches boxes to objects; what overlaps none by `iou` is background."""
        index, found = match(pairwise_iou(target.boxes, boxes), iou, iou)
        labels = torch.full_like(index, background)
        if len(target):
            labels = torch.where(found == 1, target.labels[index], labels)
        return cls(boxes, labels, index, target)

    def __getitem__(self, chosen: Tensor) -> Samples:
        return Samples(self.boxes[chosen], self.labels[chosen], self.index[chosen], self.target)

    def objects(self, background: int) -> Samples:
        return self[self.labels != background]

    @property
    def wanted(self) -> Tensor:
        """(r, 4): the boxes of the matched objects; their own where the image shows none."""
        return self.target.boxes[self.index] if len(self.target) else self.boxes

    @property
    def scores(self) -> Tensor:
        """(r,): the scores of the matched objects; 1 where the image shows none."""
        none = self.boxes.new_ones(len(self.boxes))
        return self.target.scores[self.index] if len(self.target) else none


class Regions(nn.Module):
    """Box heads, each fed with the boxes of the one before, and a mask head.

    The mask head learns on the proposals drawn for the first stage, as in detectron2, and is asked
    about the final boxes.
    """

    def __init__(self, architecture: Architecture, losses: Losses):
        super().__init__()
        self.parts, self.settings = architecture, losses
        self.box_heads = nn.ModuleList(BoxHead(architecture) for _ in architecture.ious)
        self.mask_head = MaskHead(architecture)

    def losses(
        self,
        maps: Sequence[Tensor],
        proposals: Sequence[Tensor],
        targets: Sequence[Targets],
        sizes: Sequence[Size],
    ) -> dict[str, Tensor]:
        """Losses of every stage and of the masks.

        Args:
            maps: p2 … p5.
            proposals: (p_i, 4) of each image.
            targets: of each image.
            sizes: of each image, without padding.
        """
        drawn = [self._draw(*pair) for pair in zip(proposals, targets, strict=True)]
        samples, found = drawn, {}
        for stage in range(len(self.box_heads)):
            logits, deltas, boxes = self._run(stage, maps, [s.boxes for s in samples])
            found |= self._box_losses(stage, samples, logits, deltas, boxes)
            for iou in self.parts.ious[stage + 1 : stage + 2]:
                rows = zip(boxes, targets, sizes, strict=True)
                samples = [self._relabel(*row, iou) for row in rows]
        return found | {"mask": self._mask_loss(maps, drawn)}

    def _draw(self, proposals: Tensor, target: Targets) -> Samples:
        """Labels the proposals and the objects' own boxes, and draws from them."""
        parts = self.parts
        boxes = torch.cat((proposals, target.boxes.to(proposals.dtype)))
        samples = Samples.label(boxes, target, parts.ious[0], parts.classes)
        chosen = subsample(samples.labels, parts.roi_batch, parts.roi_positive, parts.classes)
        return samples[torch.cat(chosen)]

    def _relabel(self, boxes: Tensor, target: Targets, size: Size, iou: float) -> Samples:
        """What a stage found, as the regions of the next; all are kept that have an area."""
        boxes = clip(boxes, size)
        return Samples.label(boxes[nonempty(boxes)], target, iou, self.parts.classes)

    def _run(
        self, stage: int, maps: Sequence[Tensor], boxes: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits (R, C + 1), deltas (R, 4) and the decoded boxes of each image, not clipped."""
        pooled = pool(maps, boxes, self.parts.box_pool)
        stages = len(self.box_heads)
        if stages > 1 and pooled.requires_grad:
            # The losses of the stages are added; the maps get the mean of their gradients.
            pooled.register_hook(lambda gradient: gradient / stages)
        logits, deltas = self.box_heads[stage](pooled)
        moved = decode(torch.cat(list(boxes)), deltas.detach(), DELTA_WEIGHTS[stage])
        return logits, deltas, list(moved.split([len(b) for b in boxes]))

    def _box_losses(
        self,
        stage: int,
        samples: Sequence[Samples],
        logits: Tensor,
        deltas: Tensor,
        predicted: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        labels = torch.cat([s.labels for s in samples])
        wanted = torch.cat([s.wanted for s in samples])
        scores = torch.cat([s.scores for s in samples]) if self.settings.soft_targets else None
        weights = None
        if self.settings.drop_loss:
            matched = [s.wanted if len(s.target) else None for s in samples]
            weights = drop_weights(predicted, matched, self.settings.drop_iou)
        objects = torch.nonzero(labels != self.parts.classes)[:, 0]
        boxes = torch.cat([s.boxes for s in samples])[objects]
        change = encode(boxes, wanted[objects], DELTA_WEIGHTS[stage])
        share = None if scores is None else scores[objects]
        return {
            f"stage{stage}_class": class_loss(logits, labels, scores=scores, weights=weights),
            f"stage{stage}_box": box_loss(
                deltas[objects], change, regions=len(labels), scores=share
            ),
        }

    def _mask_loss(self, maps: Sequence[Tensor], samples: Sequence[Samples]) -> Tensor:
        samples = [s.objects(self.parts.classes) for s in samples]
        labels = torch.cat([s.labels for s in samples])
        logits = self.mask_head(pool(maps, [s.boxes for s in samples], self.parts.mask_pool))
        side = logits.shape[-1]
        logits = logits[torch.arange(len(labels), device=labels.device), labels]
        if not len(labels):
            return mask_loss(logits, logits)
        shown = [s for s in samples if len(s.boxes)]
        truth = torch.cat([crop(s.target.masks, s.boxes, s.index, side) for s in shown])
        settings = self.settings
        scores = torch.cat([s.scores for s in shown]) if settings.soft_targets else None
        trust = torch.cat([_trust(s, side) for s in shown]) if settings.trust_loss else None
        return mask_loss(logits, (truth >= MASK_THRESHOLD).float(), scores=scores, trust=trust)

    @torch.no_grad()
    def detect(
        self,
        maps: Sequence[Tensor],
        proposals: Sequence[Tensor],
        sizes: Sequence[Size],
        originals: Sequence[Size],
    ) -> list[Detections]:
        """Detections in the frame of the original images; arguments as in `losses`."""
        probabilities, boxes = [], list(proposals)
        for stage in range(len(self.box_heads)):
            if stage:  # an empty box stays, so that the stages' scores can be averaged
                boxes = [clip(b, size) for b, size in zip(boxes, sizes, strict=True)]
            logits, _, boxes = self._run(stage, maps, boxes)
            probabilities.append(logits.softmax(1))
        mean = sum(probabilities) * (1 / len(probabilities))
        counts = [len(b) for b in boxes]
        kept = [self._keep(*item) for item in zip(boxes, mean.split(counts), sizes, strict=True)]
        logits = self.mask_head(pool(maps, [k[0] for k in kept], self.parts.mask_pool))
        labels = torch.cat([k[2] for k in kept])
        masks = logits[torch.arange(len(labels), device=labels.device), labels].sigmoid()
        masks = masks.split([len(k[0]) for k in kept])
        rows = zip(kept, masks, sizes, originals, strict=True)
        return [_restore(*found, mask, size, original) for found, mask, size, original in rows]

    def _keep(self, boxes: Tensor, scores: Tensor, size: Size) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels of the best detections of one image."""
        finite = boxes.isfinite().all(1) & scores.isfinite().all(1)
        boxes, scores = clip(boxes[finite], size), scores[finite, :-1]
        row, label = torch.nonzero(scores > self.parts.score_floor, as_tuple=True)
        boxes, scores = boxes[row], scores[row, label]
        keep = batched_nms(boxes, scores, label, self.parts.nms)[: self.parts.detections]
        return boxes[keep], scores[keep], label[keep]


def _trust(samples: Samples, side: int) -> Tensor:
    """(r, side, side): the trust of the target pixels; 1 where the targets carry none."""
    trust = samples.target.trust
    if trust is None:
        return samples.boxes.new_ones(len(samples.boxes), side, side)
    return crop(trust, samples.boxes, samples.index, side)


def _restore(
    boxes: Tensor, scores: Tensor, labels: Tensor, masks: Tensor, size: Size, original: Size
) -> Detections:
    """Scales boxes to the original image, clips them and drops empty ones."""
    scale = boxes.new_tensor([original.width / size.width, original.height / size.height] * 2)
    boxes = clip(boxes * scale, original)
    keep = nonempty(boxes)
    return Detections(boxes[keep], scores[keep], labels[keep], masks[keep])
