"""Trunk, pyramid and proposals by hand and against naive twins; what is refused."""

import dataclasses
import math

import pytest

torch = pytest.importorskip("torch")

from rcnn_samples import TINY, batch, network, nms_naive, noise, run, squares  # noqa: E402
from torch import nn  # noqa: E402

from cleave.networks.pyramid import Pyramid, make_trunk  # noqa: E402
from cleave.rcnn.anchors import cell_anchors, grid_anchors  # noqa: E402
from cleave.rcnn.boxes import decode, pairwise_iou  # noqa: E402
from cleave.rcnn.network import build  # noqa: E402
from cleave.rcnn.settings import Architecture, Parts  # noqa: E402
from cleave.spec import ConfigError  # noqa: E402
from cleave.types import DataError, Size  # noqa: E402


@pytest.mark.parametrize(
    "trunk", ["resnet18", "resnet101", "mobilenet_v3_small", "mobilenet_v3_large"]
)
def test_maps_have_strides_4_to_64(trunk):
    parts = Parts(trunk=trunk, norm="batch", fpn_norm="batch", fpn_channels=8)
    body = make_trunk(parts).eval()
    maps = body(torch.zeros(1, 3, 96, 160))
    assert [m.shape[1] for m in maps] == body.channels
    found = Pyramid(body.channels, 8, "batch").eval()(maps)
    assert [tuple(m.shape[1:]) for m in found] == [
        (8, 24, 40), (8, 12, 20), (8, 6, 10), (8, 3, 5), (8, 2, 3)
    ]  # fmt: skip
    assert torch.equal(found[4], found[3][:, :, ::2, ::2])


def test_the_pyramid_adds_each_coarser_map():
    """Two maps' worth by hand: identity laterals and outputs leave sums of enlarged maps."""
    pyramid = Pyramid([1, 1, 1, 1], 1, "none")
    for layer in (*pyramid.laterals, *pyramid.outputs):
        nn.init.dirac_(layer.conv.weight)
    maps = [torch.rand(1, 1, 32 // 2**k, 32 // 2**k) for k in range(4)]
    expected = maps[3]
    for number in (2, 1, 0):
        expected = maps[number] + expected.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(pyramid(maps)[0], expected)


def test_proposal_losses_are_the_naive_twins():
    """Every anchor on its own, with all of them drawn."""
    parts = dataclasses.replace(TINY, rpn_batch=10**6, rpn_positive=1.0)
    net = network(parts)
    images, targets = batch()
    maps = net.maps(images)
    anchors, logits, deltas = net.proposals(maps)
    found = net.proposals.losses(anchors, logits, deltas, targets)
    objectness = box = 0.0
    for image, target in enumerate(targets):
        where = torch.cat(anchors)
        iou = pairwise_iou(target.boxes, where)
        best = iou.max(1).values
        score = torch.cat([level[image] for level in logits]).tolist()
        change = torch.cat([level[image] for level in deltas])
        for number, anchor in enumerate(where):
            column = iou[:, number]
            positive = column.max() >= 0.7 or (column == best).any()
            if not positive and column.max() >= 0.3:
                continue
            sign = 1 if positive else -1
            objectness += math.log1p(math.exp(-sign * score[number]))
            if positive:
                x0, y0, x1, y1 = target.boxes[column.argmax()].tolist()
                a0, b0, a1, b1 = anchor.tolist()
                width, height = a1 - a0, b1 - b0
                wanted = [
                    ((x0 + x1) - (a0 + a1)) / 2 / width, ((y0 + y1) - (b0 + b1)) / 2 / height,
                    math.log((x1 - x0) / width), math.log((y1 - y0) / height),
                ]  # fmt: skip
                box += sum(abs(w - c) for w, c in zip(wanted, change[number].tolist(), strict=True))
    assert math.isclose(found["rpn_class"].item() * 2e6, objectness, rel_tol=1e-4)
    assert math.isclose(found["rpn_box"].item() * 2e6, box, rel_tol=1e-4)


def test_proposals_are_the_naive_twins():
    """Top of each level, clipped, suppressed within the level, best of all levels."""
    net = network().eval()
    with torch.no_grad():
        net.proposals.objectness.weight.mul_(50)
        net.proposals.deltas.weight.mul_(20)
        image = noise(60, 90)
        anchors, logits, deltas = net.proposals(net.maps([image]))
        found = net.proposals.find(anchors, logits, deltas, [Size(60, 90)])[0]
    rows = []
    for where, score, change in zip(anchors, logits, deltas, strict=True):
        top = sorted(range(len(where)), key=lambda i: -score[0, i].item())[:60]
        boxes = decode(where[top], change[0, top], (1.0, 1.0, 1.0, 1.0))
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, 90)
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, 60)
        values = score[0, top]
        keep = nms_naive(boxes, values.tolist(), TINY.rpn_nms)
        full = [i for i in keep if (boxes[i, 2:] > boxes[i, :2]).all()]
        rows += [(values[i].item(), boxes[i]) for i in full]
    rows.sort(key=lambda row: -row[0])
    expected = torch.stack([box for _, box in rows[:40]])
    torch.testing.assert_close(found, expected)


def test_proposals_that_are_no_numbers_stop_the_training():
    net = network()
    with torch.no_grad():
        net.proposals.deltas.bias.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="training has diverged"):
        run(net, *batch())
    assert len(net.eval().detect([noise(60, 90)], [Size(60, 90)])[0]) == 0


def test_padding_is_zero_after_normalisation():
    net = network()
    seen = []
    net.trunk.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = [torch.full((3, 33, 20), 10.0), torch.full((3, 16, 64), 20.0)]
    net.maps(images)
    assert seen[0].shape == (2, 3, 64, 64)
    expected = (10 - torch.tensor(TINY.mean)) / torch.tensor(TINY.std)
    torch.testing.assert_close(seen[0][0, :, 32, 19], expected)
    assert (seen[0][0, :, 33:] == 0).all()
    assert (seen[0][0, :, :, 20:] == 0).all()
    assert (seen[0][1, :, 16:] == 0).all()


def test_anchors_of_the_network_lie_on_its_maps():
    net = network()
    anchors, _, _ = net.proposals(net.maps([noise(64, 96)]))
    for level, (found, size) in enumerate(zip(anchors, TINY.anchor_sizes, strict=True)):
        stride = 4 * 2**level
        cell = cell_anchors(size, TINY.anchor_ratios)
        expected = grid_anchors(cell, -(-64 // stride), -(-96 // stride), stride)
        assert torch.equal(found, expected)


def test_the_papers_detector_has_detectron2s_size():
    """71.7 million parameters (specs of the detectron2 run: Cascade R50-FPN, one class)."""
    with torch.device("meta"):
        count = sum(p.numel() for p in build(Architecture()).parameters())
    assert round(count / 1e6, 1) == 71.8


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"rpn_low": 0.8}, "rpn_low 0.8 is above rpn_high 0.7"),
        ({"std": (1.0, 0.0, 1.0)}, "std: expected three positive"),
        ({"min_side": 900, "max_side": 800}, "max_side 800 is below"),
        ({"ious": ()}, "one to three stages"),
        ({"ious": (0.1, 0.2, 0.3, 0.4)}, "one to three stages"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(values, text):
    with pytest.raises(ConfigError, match=text):
        Architecture(**values)


@pytest.mark.parametrize("name", ["scores", "labels", "trust"])
def test_targets_of_different_counts_are_refused(name):
    target = squares((8, 8), [[1, 1, 4, 4], [2, 2, 5, 5]], trust=torch.ones(2, 8, 8))
    with pytest.raises(DataError, match=rf"targets.{name}: expected \(2.*, got \(1"):
        dataclasses.replace(target, **{name: getattr(target, name)[:1]})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"boxes": torch.tensor([[5.0, 5, 5, 9]])}, "box has no area"),
        ({"labels": torch.tensor([2])}, r"labels \[2\], but the detector has classes 0 to 1"),
        ({"labels": torch.tensor([-1])}, r"labels \[-1\], but the detector has classes 0 to 1"),
        ({"masks": torch.ones(1, 4, 4, dtype=torch.bool)}, r"is \(60, 90\), but its masks are"),
    ],
)
def test_wrong_targets_are_refused(change, text):
    target = dataclasses.replace(squares((60, 90), [[5, 5, 40, 30]]), **change)
    with pytest.raises(DataError, match=text):
        network(dataclasses.replace(TINY, classes=2))([noise(60, 90)], [target])


def test_a_detector_of_one_class_ignores_labels():
    images, targets = batch()
    expected = run(network(), images, targets)
    named = [dataclasses.replace(t, labels=t.labels + 7) for t in targets]
    assert run(network(), images, named) == expected
