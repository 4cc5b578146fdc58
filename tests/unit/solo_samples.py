"""A tiny SOLOv2 and drawn images that the tests of its parts share."""

import torch

from cleave.ops.targets import Targets
from cleave.solo.network import build
from cleave.solo.settings import Architecture, Losses

TINY = Architecture(
    trunk="resnet18", norm="group", fpn_norm="group", fpn_channels=32, grids=(10, 8, 6, 5, 4),
    scale_ranges=((1, 16), (8, 32), (16, 64), (32, 128), (64, 512)), head_convolutions=1,
    head_channels=32, feature_channels=32, mask_features=16,
)  # fmt: skip
PLAIN = Losses()
FREE = Losses(dice_weight=0, axis_max_weight=1, axis_mean_weight=0.1, colour_weight=1)


def network(architecture=TINY, losses=PLAIN, seed=0):
    torch.manual_seed(seed)
    return build(architecture, losses)


def ellipse(size, centre, radii):
    y, x = torch.meshgrid(*(torch.arange(side) for side in size), indexing="ij")
    return ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1


def targets_of(masks, labels=None, scores=None):
    """Boxes are those of the masks; an empty mask gets one that has an area."""
    boxes = torch.zeros((len(masks), 4))
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        corners = (0, 0, 8, 8)
        if len(rows):
            corners = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        box[:] = torch.tensor([float(value) for value in corners])
    count = len(masks)
    return Targets(
        boxes,
        masks,
        torch.ones(count) if scores is None else torch.tensor(scores),
        torch.zeros(count, dtype=torch.int64) if labels is None else torch.tensor(labels),
    )


def scene(size, ellipses, **rest):
    """Bright ellipses on grey, and their targets."""
    masks = torch.stack([ellipse(size, *one) for one in ellipses])
    image = torch.full((3, *size), 60.0)
    for number, mask in enumerate(masks):
        image[:, mask] = torch.tensor([250.0, 30.0 + 70 * number, 200.0 - 60 * number])[:, None]
    return image, targets_of(masks, **rest)
