"""Our detectors against detectron2's: recorded results, and side by side where it is installed.

The golden is made again by `python tests/parity/record_detectron2.py`.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from record_detectron2 import GOLDEN, HEADS, KEPT, ORIGINALS, SIZES, weights
from recording import pictures

torch = pytest.importorskip("torch")

from cleave.ops.targets import Targets  # noqa: E402
from cleave.rcnn.checkpoints import detectron2_names, read_detector  # noqa: E402
from cleave.rcnn.network import build  # noqa: E402
from cleave.rcnn.paste import paste  # noqa: E402
from cleave.rcnn.settings import Architecture, Losses  # noqa: E402
from cleave.types import Size  # noqa: E402

IOUS = {"mask_rcnn": (0.5,), "cascade": (0.5, 0.6, 0.7)}
PIXELS, SCORES, MASK_IOU = 0.01, 1e-4, 0.999


@functools.cache
def made_up(heads):
    """The made-up weights by detectron2's names, which stand in the golden with their shapes."""
    golden = np.load(GOLDEN)
    names, shapes = golden[f"{heads}_names"], golden[f"{heads}_shapes"]
    sizes = [tuple(int(n) for n in shape.split()) for shape in shapes]
    return weights(dict(zip(map(str, names), sizes, strict=True)))


@pytest.fixture(params=HEADS)
def heads(request):
    return request.param


@pytest.fixture
def ours(heads, tmp_path):
    network = build(Architecture(ious=IOUS[heads]), Losses(drop_loss=False)).eval()
    state = {name: torch.from_numpy(value) for name, value in made_up(heads).items()}
    torch.save({"model": state}, tmp_path / "a.pth")
    read_detector(tmp_path / "a.pth", network)
    return network


def images():
    return [torch.from_numpy(p).permute(2, 0, 1).float() for p in pictures(SIZES)]


def detect(network):
    with torch.inference_mode():
        return network.detect(images(), [Size(*size) for size in ORIGINALS])


def test_names_and_shapes_are_detectron2s(heads):
    network = build(Architecture(ious=IOUS[heads]))
    names, state = detectron2_names(network), network.state_dict()
    shapes = {names[n]: tuple(v.shape) for n, v in state.items() if "num_batches" not in n}
    assert shapes == {name: value.shape for name, value in made_up(heads).items()}


def test_detections_equal_those_recorded(heads, ours):
    golden = np.load(GOLDEN)
    for number, found in enumerate(detect(ours)):
        key = f"{heads}_{number}"
        assert len(found) == golden[f"{key}_count"]
        boxes, scores = golden[f"{key}_boxes"], golden[f"{key}_scores"]
        np.testing.assert_allclose(found.boxes[:KEPT], boxes, rtol=0, atol=PIXELS)
        np.testing.assert_allclose(found.scores[:KEPT], scores, rtol=0, atol=SCORES)
        masks = paste(found.masks[:KEPT], found.boxes[:KEPT], Size(*ORIGINALS[number]))
        areas = golden[f"{key}_areas"]
        few = np.maximum(2, 1e-3 * areas)  # pixels at the threshold of .5
        assert (np.abs(masks.sum((1, 2)).numpy() - areas) <= few).all()


def test_the_golden_is_of_detections_that_differ():
    """Scores spread, boxes of many sizes, masks neither empty nor full: the test has power."""
    golden = np.load(GOLDEN)
    for heads in HEADS:
        for number in range(len(SIZES)):
            boxes, scores, areas = (
                golden[f"{heads}_{number}_{what}"] for what in ("boxes", "scores", "areas")
            )
            sides = boxes[:, 2:] - boxes[:, :2]
            assert np.ptp(scores) > 0.1
            assert (np.quantile(sides, 0.9, 0) > 3 * np.quantile(sides, 0.1, 0)).all()
            fill = areas / sides.prod(1)
            assert 0.1 < np.median(fill) < 0.9


def shapes_to_find(seed, size, count):
    """Ellipses: targets of one image."""
    rng, (height, width) = np.random.default_rng(seed), size
    masks, boxes = np.zeros((count, height, width), bool), np.zeros((count, 4), np.float32)
    for mask, box in zip(masks, boxes, strict=True):
        top, left = rng.integers(0, height - 30), rng.integers(0, width - 30)
        down, across = rng.integers(20, 90, 2)
        bottom, right = min(top + down, height), min(left + across, width)
        y, x = np.mgrid[0.5 : bottom - top, 0.5 : right - left]
        y, x = 2 * y / (bottom - top) - 1, 2 * x / (right - left) - 1
        mask[top:bottom, left:right] = x**2 + y**2 <= 1
        box[:] = left, top, right, bottom
    labels = torch.zeros(count, dtype=torch.int64)
    return Targets(torch.from_numpy(boxes), torch.from_numpy(masks), torch.ones(count), labels)


@pytest.fixture
def theirs(heads):
    pytest.importorskip("detectron2", reason="detectron2 is not installed: the golden stands in")
    from record_detectron2 import reference

    return reference(heads)


def test_detections_equal_detectron2s(heads, ours, theirs):
    from record_detectron2 import detect as reference_detect

    for found, other, size in zip(detect(ours), reference_detect(theirs), ORIGINALS, strict=True):
        assert len(found) == len(other)
        torch.testing.assert_close(found.boxes, other.pred_boxes.tensor, rtol=0, atol=PIXELS)
        torch.testing.assert_close(found.scores, other.scores, rtol=0, atol=SCORES)
        masks = paste(found.masks, found.boxes, Size(*size))
        common = (masks & other.pred_masks).sum((1, 2))
        either = (masks | other.pred_masks).sum((1, 2))
        assert (common >= MASK_IOU * either).all()


def test_losses_and_gradients_equal_detectron2s(heads, ours, theirs):
    """Both draw anchors and regions with torch's generator, in the same order."""
    from cleave.detectors.detectron2 import losses

    targets = [shapes_to_find(n, SIZES[n], count) for n, count in ((0, 5), (2, 0))]
    pixels = [images()[0], images()[2]]
    torch.manual_seed(0)
    expected = losses(theirs.train(), pixels, targets)
    torch.manual_seed(0)
    found = ours.train()(pixels, targets)
    for name, value in found.items():
        value_there = expected[loss_name(name, len(IOUS[heads]) > 1)]
        torch.testing.assert_close(value, value_there, rtol=1e-4, atol=0, msg=name)
        assert value > 0
    assert len(found) == len(expected)
    sum(expected.values()).backward()
    sum(found.values()).backward()
    names, wanted = detectron2_names(ours), dict(theirs.named_parameters())
    for name, value in ours.named_parameters():
        other = wanted[names[name]].grad
        assert (value.grad - other).abs().max() <= 1e-3 * other.abs().max(), name
    statistics = theirs.state_dict()
    for name, value in ours.named_buffers():
        if "running" in name:
            torch.testing.assert_close(value, statistics[names[name]], rtol=1e-5, atol=1e-6)


def loss_name(ours, cascade):
    """detectron2's name of one of our losses."""
    fixed = {"rpn_class": "loss_rpn_cls", "rpn_box": "loss_rpn_loc", "mask": "loss_mask"}
    stage, _, part = ours.partition("_")
    ending = f"_{stage}" if cascade else ""
    return fixed.get(ours) or {"class": "loss_cls", "box": "loss_box_reg"}[part] + ending
