"""A training step of the detectors beside detectron2's and torchvision's own; what losses cost.

A step is forward and backward of one image of 320 x 427 pixels with six objects, 1,000 proposals
and 512 regions, ResNet-50, all layers trained, batch norms in the trunk, the same weights in all.
detectron2's rows are there where it is installed (tests/parity/goldens/README.md says how). The
small SOLOv2 and the small Mask R-CNN take a step of four images of 160 x 160 pixels.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from cleave.rcnn.settings import Architecture, Losses
from tests.bench.harness import Row, timed

HEIGHT, WIDTH, OBJECTS = 320, 427, 6
SIDE, BATCH = 160, 4  # of the small detectors
CHOICES = dict(norm="batch", fpn_norm="none", rpn_after_nms_train=1000)
MASK_RCNN = Architecture(ious=(0.5,), **CHOICES)
CASCADE = Architecture(**CHOICES)
PLAIN = Losses(drop_loss=False)
LOSSES = {
    "DropLoss": Losses(),
    "soft targets": replace(PLAIN, soft_targets=True),
    "trust loss": replace(PLAIN, trust_loss=True),
}
REPEATS = 3


def rows() -> Iterator[Row]:
    """Every pair of numbers comes from runs one after the other on the same machine."""
    for name, parts in (("Mask R-CNN", MASK_RCNN), ("Cascade Mask R-CNN", CASCADE)):
        ours = network(parts, PLAIN)
        seconds, losses = timed(lambda ours=ours: step(ours), REPEATS)
        stage = f"step of {name} R50, {HEIGHT} x {WIDTH}"
        if not parts.cascade:
            other, _ = timed(torchvision_step(ours), REPEATS)
            same = "no: other conventions"
            yield Row(stage, "CPU s", seconds, other, same, "torchvision's maskrcnn_resnet50_fpn")
        if importlib.util.find_spec("detectron2"):
            other, expected = timed(detectron2_step(ours), REPEATS)
            yield Row(stage, "CPU s", seconds, other, agreement(losses, expected), "detectron2's")
    for name, losses in LOSSES.items():
        changed = network(CASCADE, losses)
        other, _ = timed(lambda changed=changed: step(changed), REPEATS)
        yield Row(f"the same with {name}", "CPU s", other, seconds, "", "plain losses")
    ours.eval()
    seconds, _ = timed(lambda: detect(ours), REPEATS)
    yield Row(f"detection by the cascade, {HEIGHT} x {WIDTH}", "CPU s", seconds)
    yield small()


def small() -> Row:
    """SOLOv2 beside Mask R-CNN, each as its small plugin has it."""
    import torch

    from cleave.registry import make

    image, targets = scene(SIDE, SIDE)
    seconds = []
    for kind in ("solov2_resnet18", "mask_rcnn_resnet18"):
        torch.manual_seed(0)
        plugin = make("detectors", {"kind": kind})
        network = plugin.network(plugin.plain_losses).train()
        batch = [image] * BATCH, [targets] * BATCH
        step = functools.partial(descend, network, functools.partial(network, *batch))
        seconds.append(timed(step, REPEATS)[0])
    stage = f"step of SOLOv2 R18, {BATCH} images of {SIDE} x {SIDE}"
    return Row(stage, "CPU s", *seconds, "no: another detector", "Mask R-CNN R18's")


def network(parts: Architecture, losses: Losses):
    import torch

    from cleave.rcnn.network import build

    torch.manual_seed(0)
    return build(parts, losses).train()


def scene(height: int = HEIGHT, width: int = WIDTH):
    """An image and its targets: ellipses of random colours on noise, with trust."""
    import torch

    from cleave.ops.targets import Targets

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60, (3, height, width)).astype(np.float32)
    masks, boxes = np.zeros((OBJECTS, height, width), bool), np.zeros((OBJECTS, 4), np.float32)
    y, x = np.mgrid[:height, :width]
    for mask, box in zip(masks, boxes, strict=True):
        radius = rng.integers(15, 70, 2)
        centre = rng.integers(radius, np.array([height, width]) - radius)
        mask |= ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2 <= 1
        pixels[:, mask] += rng.integers(0, 190, (3, 1))
        box[:] = x[mask].min(), y[mask].min(), x[mask].max() + 1, y[mask].max() + 1
    trust = torch.where(torch.from_numpy(masks), 0.7, 1.0)
    targets = Targets(
        torch.from_numpy(boxes), torch.from_numpy(masks), torch.full((OBJECTS,), 0.8),
        torch.zeros(OBJECTS, dtype=torch.int64), trust,
    )  # fmt: skip
    return torch.from_numpy(pixels), targets


def step(network) -> list[float]:
    """Forward and backward; gives the losses."""
    image, targets = scene()
    return descend(network, lambda: network([image], [targets]))


def descend(network, forward: Callable[[], dict]) -> list[float]:
    import torch

    torch.manual_seed(0)
    network.zero_grad(set_to_none=True)
    losses = forward()
    sum(losses.values()).backward()
    return sorted(float(value.detach()) for value in losses.values())


def torchvision_step(ours) -> Callable[[], list[float]]:
    """Its Mask R-CNN with our weights, so that it finds about as many regions with objects."""
    import torch
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    from cleave.rcnn.checkpoints import torchvision_names

    network = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2, min_size=HEIGHT, max_size=1333,
        rpn_post_nms_top_n_train=MASK_RCNN.rpn_after_nms_train, rpn_nms_thresh=MASK_RCNN.rpn_nms,
    ).train()  # fmt: skip
    names = torchvision_names(ours)
    state = {names[name]: value.clone() for name, value in ours.state_dict().items()}
    for name, value in state.items():  # background comes first
        if "cls_score" in name:
            state[name] = value.roll(1, 0)
        elif "roi_heads.box_predictor.bbox_pred" in name or "mask_fcn_logits" in name:
            state[name] = torch.cat((torch.zeros_like(value), value))
    network.load_state_dict(state)
    image, targets = scene()
    wanted = {
        "boxes": targets.boxes, "labels": targets.labels + 1, "masks": targets.masks.to(torch.uint8)
    }  # fmt: skip
    return lambda: descend(network, lambda: network([image / 255], [dict(wanted)]))


def detectron2_step(ours) -> Callable[[], list[float]]:
    from cleave.detectors.detectron2 import Detectron2
    from cleave.rcnn.checkpoints import detectron2_names

    parts, names = ours.architecture, detectron2_names(ours)
    network = Detectron2(ious=parts.ious, **CHOICES).network(PLAIN).train()
    network.load_state_dict({names[name]: v for name, v in ours.state_dict().items()})
    return lambda: step(network)


def agreement(losses: list[float], expected: list[float]) -> str:
    """Batch norms normalise by the batch in training, so running means do not matter."""
    worst = max(abs(a - b) / b for a, b in zip(losses, expected, strict=True))
    return f"losses differ by {worst:.1e} at most"


def detect(network) -> None:
    import torch

    from cleave.types import Size

    with torch.inference_mode():
        network.detect([scene()[0]], [Size(HEIGHT, WIDTH)])
