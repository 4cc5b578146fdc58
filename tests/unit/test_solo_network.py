"""The network as a whole: what it learns, how its losses are put together, what it reads."""

import dataclasses
import re

import pytest

torch = pytest.importorskip("torch")

from solo_samples import FREE, PLAIN, TINY, network, scene, targets_of  # noqa: E402

from cleave.solo import losses as of  # noqa: E402
from cleave.solo.checkpoints import adelaidet_names, read_detector  # noqa: E402
from cleave.solo.heads import coordinates  # noqa: E402
from cleave.solo.network import dynamic  # noqa: E402
from cleave.solo.settings import Architecture, Losses  # noqa: E402
from cleave.solo.targets import assign, shrunk  # noqa: E402
from cleave.spec import ConfigError, build, to_mapping  # noqa: E402
from cleave.types import DataError, Size  # noqa: E402

SIZES = ((60, 90), (64, 70))
ELLIPSES = (
    [((20, 25), (12, 16)), ((40, 66), (15, 9)), ((42, 64), (8, 20))],
    [((30, 30), (25, 20))],
)


def batch(**rest):
    pairs = [scene(size, some, **rest) for size, some in zip(SIZES, ELLIPSES, strict=True)]
    return [image for image, _ in pairs], [targets for _, targets in pairs]


@pytest.fixture(scope="module")
def learned():
    """A network after a few steps on one image with two objects."""
    image, targets = scene((64, 64), [((20, 22), (12, 15)), ((45, 44), (13, 10))])
    net = network(dataclasses.replace(TINY, trunk="mobilenet_v3_small")).train()
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(30):
        optimiser.zero_grad()
        sum(net([image], [targets]).values()).backward()
        optimiser.step()
    return net.eval(), image, targets


def test_a_tiny_network_learns_an_image_by_heart(learned):
    net, image, targets = learned
    (found,) = net.detect([image], [Size(64, 64)])
    assert len(found) >= 2
    for mask in targets.masks.numpy():
        best = max((mask & one).sum() / (mask | one).sum() for one in found.masks[:2])
        assert best > 0.8


def test_masks_have_the_size_of_the_photo_and_come_best_first(learned):
    net, image, _ = learned
    found, large = net.detect([image, image], [Size(64, 64), Size(100, 130)])
    assert large.masks.shape[1:] == (100, 130)
    assert (large.scores[:-1] >= large.scores[1:]).all()
    assert large.labels is None
    assert len(found) == len(large)


def losses_naive(net, images, targets, settings):
    """Image by image and cell by cell."""
    net.zero_grad()
    predicted = net.predict(images)
    parts, frame = net.architecture, predicted.frame
    category, positive, dice = 0.0, 0, []
    for number, target in enumerate(targets):
        cells = assign(target, frame, parts.grids, parts.scale_ranges, parts.sigma)
        for cell, owner in enumerate(cells.owners.tolist()):
            for label in range(parts.classes):
                right = owner >= 0 and label == target.labels[owner]
                each = of.focal_loss(
                    predicted.categories[number, cell, label], torch.tensor(float(right)),
                    alpha=settings.focal_alpha, gamma=settings.focal_gamma,
                )  # fmt: skip
                soft = settings.soft_targets and owner >= 0
                category += float(each) * (float(target.scores[owner]) if soft else 1)
            positive += owner >= 0
        masks = shrunk(target.masks, frame)
        pairs = zip(cells.cells.tolist(), cells.objects.tolist(), strict=True)
        for cell, owner in pairs:
            kernel = predicted.kernels[number, [cell]]
            soft = dynamic(kernel, predicted.features[number]).sigmoid()
            each = float(of.dice_loss(soft, masks[[owner]].float()))
            dice.append(each * (float(target.scores[owner]) if settings.soft_targets else 1))
    return {
        "category": settings.focal_weight * category / (positive + 1),
        "dice": settings.dice_weight * sum(dice) / len(dice),
    }


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("classes", [1, 2])
def test_losses_are_the_naive_twins(classes, soft):
    settings = Losses(soft_targets=soft, focal_weight=0.7)
    net = network(dataclasses.replace(TINY, classes=classes), settings).train()
    images, targets = batch()
    scores = ([0.25, 1.0, 0.5], [0.75])
    targets = [
        dataclasses.replace(t, labels=torch.arange(len(t)) % classes, scores=torch.tensor(s))
        for t, s in zip(targets, scores, strict=True)
    ]
    with torch.no_grad():
        found = {name: float(value) for name, value in net(images, targets).items()}
        expected = losses_naive(net, images, targets, settings)
    assert found == pytest.approx(expected, rel=1e-4)


def test_free_solos_losses_are_means_over_cells_and_the_colour_loss_warms_up():
    settings = dataclasses.replace(FREE, colour_warmup=4, colour_weight=0.5)
    net = network(losses=settings).train()
    images, targets = batch()
    with torch.no_grad():
        first = net(images, targets)
        predicted = net.predict(images)
        logits, truths, axis = [], [], []
        for number, target in enumerate(targets):
            cells = assign(target, predicted.frame, TINY.grids, TINY.scale_ranges, TINY.sigma)
            kernels = predicted.kernels[number, cells.cells]
            logits.append(dynamic(kernels, predicted.features[number]))
            truths.append(shrunk(target.masks, predicted.frame)[cells.objects].float())
        axis = of.axis_losses(torch.cat(logits).sigmoid(), torch.cat(truths))
        alike = [of.like_colours(i, predicted.frame, 0.3) for i in images]
        colour = of.colour_loss(logits, truths, alike) * 0.5
        later = [net(images, targets)["colour"] for _ in range(4)]
    assert first.keys() == {"category", "axis_max", "axis_mean", "colour"}
    torch.testing.assert_close(first["axis_max"], axis[0].mean())
    torch.testing.assert_close(first["axis_mean"], axis[1].mean() * 0.1)
    growing = torch.stack([first["colour"], *later])
    torch.testing.assert_close(growing, colour * torch.tensor([0.25, 0.5, 0.75, 1, 1]))


@pytest.mark.parametrize("losses", [PLAIN, FREE, dataclasses.replace(FREE, soft_targets=True)])
def test_every_weight_learns_and_a_batch_without_objects_is_no_mistake(losses):
    net = network(losses=losses).train()
    images, targets = batch()
    sum(net(images, targets).values()).backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent
    net.zero_grad()
    empty = [targets_of(target.masks[:0]) for target in targets]
    values = net(images, empty)
    sum(values.values()).backward()
    assert all(value.isfinite() for value in values.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_half_precision_gives_about_the_same_losses_in_full():
    net = network(losses=dataclasses.replace(FREE, dice_weight=3)).train()
    images, targets = batch()
    with torch.no_grad():
        net.num_batches_tracked.fill_(2000)
        expected = net(images, targets)
        with torch.autocast("cpu", torch.bfloat16):
            found = net(images, targets)
    assert all(value.dtype == torch.float32 for value in found.values())
    torch.testing.assert_close(found, expected, rtol=0.03, atol=1e-3)


def test_targets_that_do_not_fit_are_refused():
    net = network(dataclasses.replace(TINY, classes=2)).train()
    images, targets = batch()
    with pytest.raises(DataError, match="training image 0 is"):
        net(images[::-1], targets)
    wrong = [dataclasses.replace(t, labels=t.labels + 2) for t in targets]
    with pytest.raises(DataError, match="the detector has classes 0 to 1"):
        net(images, wrong)


def test_coordinates_go_from_minus_one_to_one():
    x, y = coordinates(torch.zeros((2, 5, 3, 4)))[1]
    assert x[0].tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])
    assert y[:, 0].tolist() == [-1, 0, 1]
    assert (x == x[0]).all()
    assert (y == y[:, :1]).all()


def theirs(net):
    names = adelaidet_names(net)
    return {names[n]: v + 1 for n, v in net.state_dict().items() if n != "num_batches_tracked"}


def test_adelaidets_names_fill_the_network_whole(tmp_path):
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    extra = {"_iter": torch.zeros(1), "ins_head.emb_pred.bias": torch.zeros(128)}
    torch.save({"model": theirs(net) | extra}, tmp_path / "a.pth")
    read_detector(tmp_path / "a.pth", net)
    for name, value in net.state_dict().items():
        grown = name != "num_batches_tracked"
        torch.testing.assert_close(value, before[name] + 1 if grown else before[name])


def test_our_own_file_comes_back_with_how_much_was_learned(tmp_path):
    net = network().train()
    with torch.no_grad():
        net(*batch())
    torch.save({"model": net.state_dict()}, tmp_path / "a.pt")
    other = network(seed=1)
    read_detector(tmp_path / "a.pt", other)
    assert other.num_batches_tracked == 1
    for name, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.pop("ins_head.kernel_tower.0.weight"), "1 missing: ins_head.kernel_tower.0"),
        (lambda s: s.update({"roi_heads.x": torch.zeros(1)}), "1 left over: roi_heads.x"),
        (
            lambda s: s.update({"ins_head.cate_pred.bias": torch.zeros(80)}),
            "ins_head.cate_pred.bias (80,), not (1,)",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_what_is_wrong(tmp_path, change, expected):
    net = network()
    state = theirs(net)
    change(state)
    torch.save(state, tmp_path / "a.pth")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(DataError, match=re.escape(expected)):
        read_detector(tmp_path / "a.pth", net)
    assert all(torch.equal(v, before[n]) for n, v in net.state_dict().items())
    torch.save({"bbox_head.x": torch.zeros(1)}, tmp_path / "b.pth")
    with pytest.raises(DataError, match="not those of a SOLOv2"):
        read_detector(tmp_path / "b.pth", net)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="nothing teaches masks"):
        build(Losses, {"dice_weight": 0}, "losses")
    ranges = [[9, 3], *[[1, 2]] * 4]
    with pytest.raises(ConfigError, match="scale_ranges: 9"):
        build(Architecture, {"scale_ranges": ranges}, "detectors.a")
    with pytest.raises(ConfigError, match="unknown key 'trust_loss'"):
        build(Losses, {"trust_loss": True}, "losses")
    assert "trust_loss" not in to_mapping(PLAIN)
