"""Tiny detectors and drawn images that the tests of the networks share."""

import dataclasses

import torch

from cleave.ops.targets import Targets
from cleave.rcnn.boxes import pairwise_iou
from cleave.rcnn.network import build
from cleave.rcnn.settings import Architecture, Losses

PLAIN = Losses(drop_loss=False)
TINY = Architecture(
    trunk="mobilenet_v3_small", norm="group", fpn_norm="none", fpn_channels=16,
    anchor_sizes=(8.0, 16.0, 32.0, 64.0, 128.0), rpn_batch=32, rpn_before_nms_train=60,
    rpn_after_nms_train=60, rpn_before_nms_test=60, rpn_after_nms_test=40, roi_batch=16,
    box_width=32, mask_convolutions=1, mask_channels=16, detections=20, ious=(0.5,),
)  # fmt: skip
CASCADE = dataclasses.replace(TINY, ious=(0.5, 0.6, 0.7))


def squares(size, boxes, labels=None, scores=None, trust=None):
    masks = torch.zeros((len(boxes), *size), dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return Targets(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        masks,
        torch.ones(len(boxes)) if scores is None else torch.tensor(scores),
        torch.zeros(len(boxes), dtype=torch.int64) if labels is None else torch.tensor(labels),
        trust,
    )


def noise(height, width, seed=0):
    return torch.rand((3, height, width), generator=torch.Generator().manual_seed(seed)) * 255


def batch(classes=1):
    labels = [0, classes - 1]
    images = [noise(60, 90, 1), noise(70, 50, 2)]
    targets = [
        squares((60, 90), [[5, 5, 40, 30], [50, 10, 80, 55]], labels, [0.25, 1.0]),
        squares((70, 50), [[10, 20, 30, 60]], labels[:1], [0.5]),
    ]
    return images, targets


def network(architecture=TINY, losses=PLAIN, seed=0):
    torch.manual_seed(seed)
    return build(architecture, losses)


def run(net, images, targets, seed=0):
    torch.manual_seed(seed)
    return net(images, targets)


def nms_naive(boxes, scores, threshold):
    order = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept = []
    for i in order:
        overlaps = pairwise_iou(boxes[[i]], boxes[kept])[0] if kept else torch.zeros(0)
        if not (overlaps > threshold).any():
            kept.append(i)
    return kept
