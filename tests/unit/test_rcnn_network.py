"""The whole detector: what it computes by its parts, and that it learns."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from rcnn_samples import CASCADE, PLAIN, TINY, batch, network, nms_naive, noise, run, squares  # noqa: E402
from torch import nn  # noqa: E402

from cleave.rcnn import regions  # noqa: E402
from cleave.rcnn.boxes import decode, pairwise_iou  # noqa: E402
from cleave.rcnn.losses import drop_weights  # noqa: E402
from cleave.rcnn.network import build  # noqa: E402
from cleave.rcnn.paste import paste  # noqa: E402
from cleave.rcnn.settings import Losses  # noqa: E402
from cleave.types import Size  # noqa: E402


@pytest.mark.parametrize("norm", ["batch", "sync", "frozen", "group"])
def test_every_normalisation_trains_in_one_process(norm):
    fpn = "none" if norm == "frozen" else norm
    architecture = dataclasses.replace(TINY, trunk="resnet18", norm=norm, fpn_norm=fpn)
    losses = network(architecture)(*batch())
    assert all(value.isfinite() for value in losses.values())


@pytest.mark.parametrize("architecture", [TINY, CASCADE], ids=["single", "cascade"])
@pytest.mark.parametrize("losses", [PLAIN, Losses(soft_targets=True, trust_loss=True)])
@pytest.mark.parametrize("classes", [1, 3])
def test_losses_and_gradients_are_finite(architecture, losses, classes):
    net = network(dataclasses.replace(architecture, classes=classes), losses)
    found = run(net, *batch(classes))
    stages = range(len(architecture.ious))
    names = {f"stage{k}_{what}" for k in stages for what in ("class", "box")}
    assert found.keys() == names | {"rpn_class", "rpn_box", "mask"}
    assert all(value.isfinite() and value.ndim == 0 for value in found.values())
    sum(found.values()).backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name


@pytest.mark.parametrize("architecture", [TINY, CASCADE], ids=["single", "cascade"])
@pytest.mark.parametrize("losses", [PLAIN, Losses(soft_targets=True, trust_loss=True)])
def test_images_without_objects_teach_background(architecture, losses):
    net = network(architecture, losses)
    images, targets = batch()
    empty = [squares(image.shape[1:], []) for image in images]
    found = run(net, images, empty)
    assert found["rpn_box"] == found["stage0_box"] == found["mask"] == 0
    assert found["rpn_class"] > 0
    assert found["stage0_class"] > 0
    sum(found.values()).backward()
    assert all(weight.grad.isfinite().all() for weight in net.parameters())
    assert sum(run(net, images, [targets[0], empty[1]]).values()).isfinite()


@pytest.mark.parametrize(
    ("size", "box"),
    [((40, 40), [7, 7, 8, 8]), ((3, 200), [0, 1, 200, 2]), ((200, 2), [0, 0, 1, 200])],
    ids=["one pixel", "wide", "tall"],
)
def test_strange_objects_have_finite_losses(size, box):
    net = network(CASCADE, Losses())
    found = run(net, [noise(*size)], [squares(size, [box])])
    total = sum(found.values())
    total.backward()
    assert total.isfinite()
    assert all(weight.grad.isfinite().all() for weight in net.parameters())
    net.eval()
    for detections in net.detect([noise(*size)], [Size(*size)]):
        assert detections.masks.shape[1:] == (28, 28)


def test_equal_seeds_give_equal_bytes():
    values = []
    for _ in range(2):
        net = network(CASCADE, Losses())
        losses = run(net, *batch(), seed=5)
        sum(losses.values()).backward()
        gradient = torch.cat([weight.grad.flatten() for weight in net.parameters()])
        found = net.eval().detect(batch()[0], [Size(60, 90), Size(70, 50)])
        values.append((gradient, found[0].boxes, found[0].scores, found[0].masks))
    for one, other in zip(*values, strict=True):
        assert torch.equal(one, other)


def test_the_draw_of_regions_follows_the_seed():
    net = network()
    few = dataclasses.replace(TINY, roi_batch=4)
    net.regions.parts = few
    values = [run(net, *batch(), seed=seed)["stage0_class"].item() for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_a_cascade_feeds_boxes_on_and_averages_scores(monkeypatch):
    net = network(CASCADE).eval()
    fed, logits = [], []
    for head in net.regions.box_heads:
        nn.init.normal_(head.deltas.weight, std=0.2)
        nn.init.normal_(head.classes.weight, std=0.5)
        head.register_forward_hook(lambda module, inputs, outputs: logits.append(outputs))
    pooled = regions.pool
    monkeypatch.setattr(regions, "pool", lambda m, b, s: (fed.append(b), pooled(m, b, s))[1])
    size = Size(60, 90)
    found = net.detect([noise(60, 90)], [size])[0]
    assert len(fed) == 4  # three stages and the masks
    boxes = fed[0][0]
    for stage, weights in enumerate([(10.0, 5.0), (20.0, 10.0), (30.0, 15.0)]):
        full = (weights[0], weights[0], weights[1], weights[1])
        boxes = decode(boxes, logits[stage][1], full)
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, 90)
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, 60)
        if stage < 2:
            torch.testing.assert_close(fed[stage + 1][0], boxes)
    mean = sum(output[0].softmax(1) for output in logits)[:, 0] / 3
    keep = nms_naive(boxes, mean.tolist(), 0.5)[:20]
    keep = [i for i in keep if (boxes[i, 2:] > boxes[i, :2]).all()]
    torch.testing.assert_close(found.scores, mean[keep])
    torch.testing.assert_close(found.boxes, boxes[keep])


def test_a_cascade_halves_no_gradient_but_that_of_the_maps():
    """Losses of stages are added; what reaches the maps is a third of their sum."""
    net = network(CASCADE)
    maps = [torch.rand(1, 16, 16 // 2**k, 16 // 2**k, requires_grad=True) for k in range(4)]
    boxes = [torch.tensor([[4.0, 4, 40, 40], [8, 8, 60, 30]])]
    pooled = regions.pool(maps, boxes, 7)
    logits, _ = net.regions.box_heads[0](pooled)
    plain = torch.autograd.grad(logits.sum(), maps[0])[0]
    logits, _, _ = net.regions._run(0, maps, boxes)
    scaled = torch.autograd.grad(logits.sum(), maps[0])[0]
    torch.testing.assert_close(scaled * 3, plain)


def test_cascade_stages_label_by_their_own_iou():
    """A box with IoU 0.55 is an object for the first stage and background for the second."""
    net = network(CASCADE)
    target = squares((100, 100), [[0, 0, 100, 100]])
    boxes = torch.tensor([[0.0, 0, 100, 55], [0, 0, 100, 65], [0, 0, 100, 75], [9, 9, 9, 20]])
    expected = {0.5: [0, 0, 0], 0.6: [1, 0, 0], 0.7: [1, 1, 0]}
    for iou in CASCADE.ious:
        samples = net.regions._relabel(boxes, target, Size(100, 100), iou)
        assert samples.labels.tolist() == expected[iou]


def test_objects_themselves_are_among_the_regions():
    net = network()
    target = squares((60, 90), [[5, 5, 40, 30]])
    samples = net.regions._draw(torch.tensor([[0.0, 0, 4, 4]]), target)
    assert samples.labels.tolist() == [0, 1]
    assert samples.boxes.tolist() == [[5, 5, 40, 30], [0, 0, 4, 4]]


class Spy:
    """Stands in for a loss function and keeps what it was called with."""

    def __init__(self, monkeypatch, name):
        self.calls, self.real = [], getattr(regions, name)
        monkeypatch.setattr(regions, name, self)

    def __call__(self, *arguments, **names):
        self.calls.append((arguments, names))
        return self.real(*arguments, **names)


def test_scores_reach_every_stage_and_the_masks(monkeypatch):
    spies = [Spy(monkeypatch, name) for name in ("class_loss", "box_loss", "mask_loss")]
    run(network(CASCADE, Losses(drop_loss=False, soft_targets=True)), *batch())
    assert [len(spy.calls) for spy in spies] == [3, 3, 1]
    for arguments, names in spies[0].calls:
        objects = names["scores"][arguments[1] == 0]
        assert set(objects.tolist()) <= {0.25, 0.5, 1.0}
        assert names["weights"] is None
    assert set(spies[2].calls[0][1]["scores"].tolist()) == {0.25, 0.5, 1.0}
    for _, names in spies[1].calls:
        assert set(names["scores"].tolist()) <= {0.25, 0.5, 1.0}


def test_drop_loss_looks_at_the_boxes_that_each_stage_predicts(monkeypatch):
    spy, weights = Spy(monkeypatch, "class_loss"), Spy(monkeypatch, "drop_weights")
    run(network(CASCADE, Losses()), *batch())
    assert len(spy.calls) == len(weights.calls) == 3
    for (arguments, _), (_, names) in zip(weights.calls, spy.calls, strict=True):
        assert torch.equal(names["weights"], drop_weights(*arguments))
        assert arguments[2] == 0.01
        assert len(arguments[0]) == 2


def test_trust_is_cropped_like_the_masks(monkeypatch):
    spy = Spy(monkeypatch, "mask_loss")
    images, targets = batch()
    trust = torch.where(targets[0].masks, 0.5, 1.0)
    targets[0] = dataclasses.replace(targets[0], trust=trust)
    run(network(TINY, Losses(trust_loss=True)), images, targets)
    (_, truth), names = spy.calls[0]
    assert names["trust"].shape == truth.shape
    assert (names["trust"][truth == 1] <= 1).all()
    assert names["trust"].min() == 0.5  # inside an instance of the first image
    assert (names["trust"] == 1).flatten(1).all(1).any()  # the second image carries none


def test_masks_of_targets_are_those_of_their_boxes(monkeypatch):
    """Of the object's own box, the whole of a filled rectangle."""
    spy = Spy(monkeypatch, "mask_loss")
    target = squares((64, 64), [[8, 8, 40, 48]])
    net = network()
    maps = net.maps([noise(64, 64)])[:4]
    samples = regions.Samples.label(target.boxes, target, 0.5, 1)
    net.regions._mask_loss(maps, [samples])
    (logits, truth), _ = spy.calls[0]
    assert logits.shape == truth.shape == (1, 28, 28)
    assert (truth == 1).all()


def test_each_class_has_its_own_mask():
    net = network(dataclasses.replace(TINY, classes=3)).eval()
    with torch.no_grad():
        net.regions.mask_head.masks.weight.zero_()
        net.regions.mask_head.masks.bias.copy_(torch.tensor([-5.0, 0.0, 5.0]))
        nn.init.normal_(net.regions.box_heads[0].classes.weight, std=1.0)
    found = net.detect([noise(60, 90)], [Size(60, 90)])[0]
    assert len(set(found.labels.tolist())) > 1
    expected = torch.tensor([-5.0, 0.0, 5.0]).sigmoid()[found.labels]
    torch.testing.assert_close(found.masks[:, 3, 3], expected)


def test_detections_lie_in_the_original_image():
    net = network(CASCADE).eval()
    small = net.detect([noise(60, 90)], [Size(60, 90)])[0]
    large = net.detect([noise(60, 90)], [Size(120, 270)])[0]
    assert len(small) == len(large) > 0
    torch.testing.assert_close(large.boxes, small.boxes * torch.tensor([3.0, 2, 3, 2]))
    assert torch.equal(small.scores, small.scores.sort(descending=True).values)
    assert (large.boxes[:, 2:] <= torch.tensor([270.0, 120])).all()


def test_two_images_are_learned_by_heart():
    """The loss falls, and the objects are found with their masks."""
    torch.manual_seed(0)
    net = build(TINY, Losses())
    boxes = [[[8, 8, 40, 40]], [[30, 20, 90, 60], [4, 64, 30, 92]]]
    images, targets = [], []
    for each in boxes:
        target = squares((96, 96), each)
        image = torch.full((3, 96, 96), 60.0)
        image[:, target.masks.any(0)] = 200.0
        images.append(image)
        targets.append(target)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    history = []
    for _ in range(100):
        total = sum(net(images, targets).values())
        optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        history.append(total.item())
    assert sum(history[-5:]) < 0.4 * sum(history[:5])
    net.eval()
    for found, target in zip(net.detect(images, [Size(96, 96)] * 2), targets, strict=True):
        best = len(target)
        iou = pairwise_iou(target.boxes, found.boxes[:best])
        assert (iou.max(1).values > 0.6).all()
        masks = paste(found.masks, found.boxes, Size(96, 96))[:best]
        for mask in target.masks:
            overlap = [(mask & m).sum() / (mask | m).sum() for m in masks]
            assert max(overlap) > 0.6


def test_half_precision_keeps_losses_and_gradients_in_full():
    net = network(CASCADE, Losses(soft_targets=True, trust_loss=True))
    with torch.autocast("cpu", torch.bfloat16):
        losses = run(net, *batch())
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    assert all(weight.grad.isfinite().all() for weight in net.parameters())
    full = run(network(CASCADE, Losses()), *batch())
    assert abs(losses["rpn_class"] - full["rpn_class"]) < 0.05
