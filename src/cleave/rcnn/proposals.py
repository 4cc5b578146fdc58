"""The region proposal network (arXiv 1506.01497) on a pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms

from cleave.ops.targets import Targets
from cleave.rcnn.anchors import cell_anchors, grid_anchors
from cleave.rcnn.boxes import Weights, clip, decode, encode, nonempty, pairwise_iou
from cleave.rcnn.matching import match, subsample
from cleave.rcnn.settings import Parts
from cleave.types import Size

STRIDES = (4, 8, 16, 32, 64)  # of p2 … p6
DELTA_WEIGHTS: Weights = (1.0, 1.0, 1.0, 1.0)


class Proposals(nn.Module):
    """One small head that slides over every level and tells objects from background."""

    def __init__(self, parts: Parts):
        super().__init__()
        self.parts = parts
        channels, count = parts.fpn_channels, len(parts.anchor_ratios)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, count, 1)
        self.deltas = nn.Conv2d(channels, 4 * count, 1)
        for layer in (self.conv, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        for number, size in enumerate(parts.anchor_sizes):
            cell = cell_anchors(size, parts.anchor_ratios)
            self.register_buffer(f"cell{number}", cell, persistent=False)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """For each of the five levels: anchors (A, 4), logits (B, A), deltas (B, A, 4); float32."""
        anchors, logits, deltas = [], [], []
        for number, features in enumerate(maps):
            height, width = features.shape[2:]
            cell = getattr(self, f"cell{number}")
            anchors.append(grid_anchors(cell, height, width, STRIDES[number]))
            hidden = F.relu(self.conv(features))
            logits.append(self.objectness(hidden).permute(0, 2, 3, 1).flatten(1).float())
            change = self.deltas(hidden).unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2)
            deltas.append(change.flatten(1, 3).float())
        return anchors, logits, deltas

    def losses(
        self,
        anchors: Sequence[Tensor],
        logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        targets: Sequence[Targets],
    ) -> dict[str, Tensor]:
        """Objectness and box losses over a draw of anchors; both are divided by the draw's size."""
        where = torch.cat(list(anchors))
        score, change = torch.cat(list(logits), 1), torch.cat(list(deltas), 1)
        objectness = box = score.sum() * 0 + change.sum() * 0
        for image, target in enumerate(targets):
            index, positive, negative = self.draw(where, target)
            chosen = torch.cat((positive, negative))
            truth = torch.cat((torch.ones_like(positive), torch.zeros_like(negative)))
            objectness = objectness + F.binary_cross_entropy_with_logits(
                score[image, chosen], truth.to(score.dtype), reduction="sum"
            )
            if len(positive):
                wanted = encode(where[positive], target.boxes[index[positive]], DELTA_WEIGHTS)
                box = box + (change[image, positive] - wanted).abs().sum()
        total = self.parts.rpn_batch * len(targets)
        return {"rpn_class": objectness / total, "rpn_box": box / total}

    @torch.no_grad()
    def draw(self, anchors: Tensor, target: Targets) -> tuple[Tensor, Tensor, Tensor]:
        """Each anchor's object (A,), and indices of the anchors drawn as objects and background."""
        parts = self.parts
        iou = pairwise_iou(target.boxes, anchors)
        index, label = match(iou, parts.rpn_low, parts.rpn_high, keep_best=True)
        return index, *subsample(label, parts.rpn_batch, parts.rpn_positive, 0)

    @torch.no_grad()
    def find(
        self,
        anchors: Sequence[Tensor],
        logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        sizes: Sequence[Size],
    ) -> list[Tensor]:
        """The best boxes of each image, (p_i, 4) float32, best first.

        Levels compete only at the end: each is cut to its best, and suppression stays within it.

        Raises:
            FloatingPointError: in training, a prediction is infinite or NaN.
        """
        scores, boxes, level = [], [], []
        most = self._limit("rpn_before_nms")
        for number, (where, score, change) in enumerate(zip(anchors, logits, deltas, strict=True)):
            top, index = score.topk(min(most, score.shape[1]), dim=1)
            change = change.gather(1, index[:, :, None].expand(-1, -1, 4))
            found = decode(where[index].reshape(-1, 4), change.reshape(-1, 4), DELTA_WEIGHTS)
            scores.append(top)
            boxes.append(found.view(*index.shape, 4))
            level.append(torch.full_like(index[0], number))
        score, box, level = torch.cat(scores, 1), torch.cat(boxes, 1), torch.cat(level)
        return [self._best(*item, level) for item in zip(box, score, sizes, strict=True)]

    def _best(self, boxes: Tensor, scores: Tensor, size: Size, level: Tensor) -> Tensor:
        finite = boxes.isfinite().all(1) & scores.isfinite()
        if self.training and not finite.all():
            raise FloatingPointError(
                "proposals are infinite or NaN: the training has diverged; "
                "lower the learning rate or clip gradients"
            )
        boxes = clip(boxes, size)
        keep = finite & nonempty(boxes)
        boxes, scores, level = boxes[keep], scores[keep], level[keep]
        kept = batched_nms(boxes, scores, level, self.parts.rpn_nms)
        return boxes[kept[: self._limit("rpn_after_nms")]]

    def _limit(self, name: str) -> int:
        return getattr(self.parts, f"{name}_{'train' if self.training else 'test'}")
