"""Weights files of every known kind fill a network whole, and what does not fit changes nothing."""

import os
import pickle
import re

import numpy as np
import pytest
from published_forms import published

from cleave.types import DataError

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from cleave.networks.weights import read_trunk  # noqa: E402
from cleave.rcnn import checkpoints  # noqa: E402
from cleave.rcnn.checkpoints import (  # noqa: E402
    detectron2_names,
    read_detector,
    write_detectron2,
)
from cleave.rcnn.network import build  # noqa: E402
from cleave.rcnn.settings import Architecture  # noqa: E402
from cleave.spec import ConfigError  # noqa: E402

SMALL = {"trunk": "resnet18", "fpn_channels": 8, "box_width": 8, "mask_channels": 8}
KINDS = {
    "cascade": {},
    "one stage": {"ious": (0.5,)},
    "frozen": {"norm": "frozen", "fpn_norm": "none"},
    "group": {"norm": "group", "fpn_norm": "group"},
    "batch, five classes": {"norm": "batch", "fpn_norm": "batch", "classes": 5},
}


def network(seed=0, **fields):
    """A small detector of which no two tensors are alike."""
    torch.manual_seed(seed)
    made = build(Architecture(**(SMALL | fields)))
    for value in made.state_dict().values():
        value.copy_(torch.rand(value.shape) if value.is_floating_point() else torch.tensor(seed))
    return made


def state(made):
    return {name: value.clone() for name, value in made.state_dict().items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, msg=name)


def resnet(name):
    torch.manual_seed(1)
    made = getattr(torchvision.models, name)(weights=None)
    return {
        n: torch.rand_like(v) if v.is_floating_point() else v + 3
        for n, v in made.state_dict().items()
    }


@pytest.fixture(scope="module")
def resnet18():
    return resnet("resnet18")


@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_for_detectron2_is_read_back(tmp_path, kind, suffix):
    source, target = network(1, **KINDS[kind]), network(2, **KINDS[kind])
    write_detectron2(source, tmp_path / f"a{suffix}")
    write_detectron2(source, tmp_path / f"b{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    read_detector(tmp_path / f"a{suffix}", target)
    assert_same(state(target), state(source))


def test_the_pickle_is_what_detectron2_expects(tmp_path):
    """detection_checkpoint.py: a dict with `model`, and `__author__` or its names are Caffe2's."""
    source = network(1)
    write_detectron2(source, tmp_path / "a.pkl")
    found = pickle.loads((tmp_path / "a.pkl").read_bytes())
    assert found.keys() == {"model", "__author__"}
    name = "roi_heads.box_predictor.2.cls_score.weight"
    np.testing.assert_array_equal(
        found["model"][name], source.regions.box_heads[2].classes.weight.detach().numpy()
    )


@pytest.mark.parametrize(
    ("kind", "ours", "theirs"),
    [
        ("cascade", "trunk.conv1.weight", "backbone.bottom_up.stem.conv1.weight"),
        ("cascade", "trunk.bn1.running_var", "backbone.bottom_up.stem.conv1.norm.running_var"),
        ("cascade", "trunk.layer1.0.bn2.bias", "backbone.bottom_up.res2.0.conv2.norm.bias"),
        (
            "cascade",
            "trunk.layer4.0.downsample.1.weight",
            "backbone.bottom_up.res5.0.shortcut.norm.weight",
        ),
        (
            "cascade",
            "trunk.layer2.0.downsample.0.weight",
            "backbone.bottom_up.res3.0.shortcut.weight",
        ),
        ("cascade", "pyramid.laterals.0.norm.weight", "backbone.fpn_lateral2.norm.weight"),
        ("frozen", "pyramid.outputs.3.conv.bias", "backbone.fpn_output5.bias"),
        ("cascade", "proposals.deltas.bias", "proposal_generator.rpn_head.anchor_deltas.bias"),
        ("cascade", "regions.box_heads.1.fc2.bias", "roi_heads.box_head.1.fc2.bias"),
        ("one stage", "regions.box_heads.0.fc2.bias", "roi_heads.box_head.fc2.bias"),
        ("one stage", "regions.box_heads.0.deltas.bias", "roi_heads.box_predictor.bbox_pred.bias"),
        ("one stage", "regions.mask_head.convs.0.weight", "roi_heads.mask_head.mask_fcn1.weight"),
        ("one stage", "regions.mask_head.upsample.bias", "roi_heads.mask_head.deconv.bias"),
        ("one stage", "regions.mask_head.masks.bias", "roi_heads.mask_head.predictor.bias"),
    ],
)
def test_names_are_detectron2s(kind, ours, theirs):
    """All of them, of both detectors, are compared with its own list in tests/parity."""
    assert detectron2_names(network(**KINDS[kind]))[ours] == theirs


def test_what_old_and_frozen_checkpoints_lack_or_carry(tmp_path):
    """Counters of batches may be missing or superfluous; pixel statistics and anchors are known."""
    source, target = network(1), network(2)
    names = detectron2_names(source)
    stored = {names[n]: v for n, v in state(source).items() if "num_batches" not in n}
    stored |= {
        "pixel_mean": torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1),
        "pixel_std": torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1),
        "proposal_generator.anchor_generator.cell_anchors.0": torch.ones(3, 4),
    }
    torch.save({"model": stored, "iteration": 7, "optimizer": {"state": {}}}, tmp_path / "a.pth")
    counters = {n: v for n, v in state(target).items() if "num_batches" in n}
    read_detector(tmp_path / "a.pth", target)
    assert_same(state(target), state(source) | counters)
    frozen = network(3, norm="frozen")
    stored["backbone.bottom_up.stem.conv1.norm.num_batches_tracked"] = torch.tensor(4)
    torch.save(stored, tmp_path / "b.pth")
    read_detector(tmp_path / "b.pth", frozen)
    torch.testing.assert_close(frozen.trunk.bn1.running_var, source.trunk.bn1.running_var)


def test_other_pixel_statistics_are_refused(tmp_path):
    source = network(1)
    stored = {detectron2_names(source)[n]: v for n, v in state(source).items()}
    stored["pixel_mean"] = torch.tensor([103.53, 116.28, 123.675]).view(3, 1, 1)
    torch.save(stored, tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"\[103\.5.*123\.6.*\[123\.6.*BGR"):
        read_detector(tmp_path / "a.pth", source)


def test_our_own_state_in_half_precision(tmp_path):
    source, target = network(1), network(2)
    torch.save({"model": source.half().state_dict(), "step": 3}, tmp_path / "a.pt")
    read_detector(tmp_path / "a.pt", target)
    assert_same(state(target), state(source.float()))
    from safetensors.torch import save_file

    save_file(state(source), tmp_path / "a.safetensors")
    read_detector(tmp_path / "a.safetensors", network(3))


def without(name):
    return lambda stored: stored.pop(name)


def replaced(name, value):
    return lambda stored: stored.update({name: value})


BOX = "roi_heads.box_predictor.0.bbox_pred.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without(BOX), rf"1 missing: {re.escape(BOX)}$"),
        (replaced("roi_heads.keypoint.weight", torch.ones(2)), r"1 left over: roi_heads\.keypoint"),
        (replaced(BOX, torch.ones(320, 8)), r"1 of another shape: .*\(320, 8\), not \(4, 8\)"),
        (replaced(BOX, "text"), r"1 of another shape: .* None, not \(4, 8\)"),
        (replaced(BOX, torch.full((4, 8), torch.nan)), r"1 not finite: "),
        (
            lambda stored: [stored.pop(n) for n in list(stored) if "bottom_up.res" in n],
            r"95 missing: (backbone\.\S+, ){9}backbone\.\S+ and 85 more$",
        ),
    ],
)
def test_what_does_not_fit_is_listed_and_changes_nothing(tmp_path, change, said):
    source, target = network(1), network(2)
    stored = {detectron2_names(source)[n]: v for n, v in state(source).items()}
    change(stored)
    torch.save({"model": stored}, tmp_path / "a.pth")
    before = state(target)
    with pytest.raises(DataError, match=said) as error:
        read_detector(tmp_path / "a.pth", target)
    assert str(tmp_path / "a.pth") in str(error.value)
    assert_same(state(target), before)


def test_a_cascade_does_not_fit_one_stage_nor_the_reverse(tmp_path):
    write_detectron2(network(1), tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"8 missing: roi_heads.box_head.fc1.*24 left over"):
        read_detector(tmp_path / "a.pth", network(2, ious=(0.5,)))


def test_files_of_other_things_are_refused_by_what_they_hold(tmp_path, resnet18):
    torch.save(resnet18, tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"not those of a detector.*conv1\.weight"):
        read_detector(tmp_path / "a.pth", network())
    torch.save({"epoch": 3}, tmp_path / "b.pth")
    with pytest.raises(DataError, match="no tensors in it, only epoch"):
        read_detector(tmp_path / "b.pth", network())
    torch.save({"blocks.0.weight": torch.ones(1)}, tmp_path / "c.pth")
    with pytest.raises(DataError, match=r"not those of a resnet18.*blocks\.0\.weight"):
        read_trunk(tmp_path / "c.pth", network())
    with pytest.raises(DataError, match=r"sha256 is [0-9a-f]{64}, expected 00"):
        read_detector(tmp_path / "a.pth", network(), sha256="00")


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_code_in_a_checkpoint_is_not_run(tmp_path, suffix):
    value = {"model": {"backbone.bottom_up.x": Touch(tmp_path / "made")}}
    path = tmp_path / f"a{suffix}"
    path.write_bytes(pickle.dumps(value, 2))
    for read in (read_detector, read_trunk):
        with pytest.raises(DataError):
            read(path, network())
    torch.save(value, path)
    with pytest.raises(DataError):
        read_detector(path, network())
    assert not (tmp_path / "made").exists()


FORMS = (
    *("torchvision", "DINO", "DINO, whole", "MoCo v2", "DenseCL"),
    *("DenseCL, whole", "SwAV", "CutLER"),
)


@pytest.mark.parametrize("form", FORMS)
def test_published_forms_fill_the_trunk(tmp_path, resnet18, form):
    """MoCo v2 stands for the ResNet-50 of all; its blocks have a third convolution."""
    trunk = "resnet50" if form in ("MoCo v2", "CutLER") else "resnet18"
    whole = resnet18 if trunk == "resnet18" else resnet(trunk)
    value = published(form, whole)
    path = tmp_path / ("a.pkl" if form == "CutLER" else "a.pth.tar")
    path.write_bytes(pickle.dumps(value)) if form == "CutLER" else torch.save(value, path)
    made = network(2, trunk=trunk)
    rest = {n: v for n, v in state(made).items() if not n.startswith("trunk.")}
    read_trunk(path, made)
    assert_same(state(made.trunk), {n: v for n, v in whole.items() if not n.startswith("fc.")})
    assert_same({n: v for n, v in state(made).items() if not n.startswith("trunk.")}, rest)


def test_another_trunk_is_refused(tmp_path, resnet18):
    torch.save(resnet18, tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"missing: layer1\.0\.bn3.*of another shape: layer1"):
        read_trunk(tmp_path / "a.pth", network(2, trunk="resnet50"))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mobilenet_v3_large"])
def test_mobilenet_fills_its_trunk_and_is_not_for_detectron2(tmp_path, name):
    whole = getattr(torchvision.models, name)(weights=None).state_dict()
    torch.save(whole, tmp_path / "a.pth")
    made = network(2, trunk=name)
    read_trunk(tmp_path / "a.pth", made)
    assert_same(state(made.trunk), {n: whole[n] for n in state(made.trunk)})
    with pytest.raises(ConfigError, match=name):
        write_detectron2(made, tmp_path / "b.pth")


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"\.onnx"):
        write_detectron2(network(), tmp_path / "a.onnx")


ONE_STAGE = {"ious": (0.5,), "norm": "frozen", "fpn_norm": "none"}


@pytest.fixture(scope="module")
def maskrcnn():
    """torchvision's own Mask R-CNN, put together as `maskrcnn_resnet50_fpn` is, but narrow."""
    from torchvision.models import detection as d

    torch.manual_seed(0)
    trunk = torchvision.models.resnet18(norm_layer=torchvision.ops.FrozenBatchNorm2d)
    layers = {f"layer{n + 1}": str(n) for n in range(4)}
    backbone = d.backbone_utils.BackboneWithFPN(trunk, layers, [64, 128, 256, 512], 8)
    made = d.MaskRCNN(
        backbone,
        box_head=d.faster_rcnn.TwoMLPHead(8 * 7**2, 8),
        box_predictor=d.faster_rcnn.FastRCNNPredictor(8, 2),
        mask_head=d.mask_rcnn.MaskRCNNHeads(8, (8, 8, 8, 8), 1),
        mask_predictor=d.mask_rcnn.MaskRCNNPredictor(8, 8, 2),
        rpn_anchor_generator=d.faster_rcnn._default_anchorgen(),
    )
    for name, value in made.state_dict().items():
        if "bn" in name or "downsample.1" in name:
            value.copy_(torch.rand(value.shape) * 0.5 + 0.5)
    return made.double().eval()


@torch.inference_mode()
def test_torchvisions_detector_computes_the_same_in_every_part(tmp_path, maskrcnn):
    torch.save(maskrcnn.state_dict(), tmp_path / "a.pth")
    ours = network(**ONE_STAGE).double().eval()
    read_detector(tmp_path / "a.pth", ours)
    images = torch.rand(1, 3, 64, 96, dtype=torch.double)
    theirs = list(maskrcnn.backbone(images).values())
    maps = ours.pyramid(ours.trunk(images))
    for mine, other in zip(maps, theirs, strict=True):
        torch.testing.assert_close(mine, other)
    _, logits, deltas = ours.proposals(maps)
    other_logits, other_deltas = maskrcnn.rpn.head(theirs)
    for mine, other in zip(logits, other_logits, strict=True):
        torch.testing.assert_close(mine, other.permute(0, 2, 3, 1).flatten(1).float())
    mine, other = deltas[0], other_deltas[0]
    torch.testing.assert_close(mine, other.permute(0, 2, 3, 1).reshape(1, -1, 4).float())
    heads, pooled = maskrcnn.roi_heads, torch.rand(5, 8, 7, 7, dtype=torch.double)
    classes, boxes = ours.regions.box_heads[0](pooled)
    other_classes, other_boxes = heads.box_predictor(heads.box_head(pooled))
    torch.testing.assert_close(classes, other_classes[:, [1, 0]].float())
    torch.testing.assert_close(boxes, other_boxes[:, 4:].float())
    pooled = torch.rand(2, 8, 14, 14, dtype=torch.double)
    other = heads.mask_predictor(heads.mask_head(pooled))
    torch.testing.assert_close(ours.regions.mask_head(pooled), other[:, 1:].float())


def test_torchvisions_detectors_that_do_not_fit_are_refused(tmp_path, maskrcnn):
    torch.save(maskrcnn.state_dict(), tmp_path / "a.pth")
    said = r"roi_heads\.box_predictor\.cls_score\.weight \(2, 8\), not \(91, 8\)"
    with pytest.raises(DataError, match=said):
        read_detector(tmp_path / "a.pth", network(**ONE_STAGE, classes=90))
    version_2 = {n: v for n, v in maskrcnn.state_dict().items() if "fc6" not in n}
    extra = ("roi_heads.box_head.0.0.weight", "rpn.head.conv.1.0.bias")
    torch.save(version_2 | dict.fromkeys(extra, torch.ones(1)), tmp_path / "b.pth")
    with pytest.raises(DataError, match=r"2 missing: .*fc6.*2 left over: roi_heads\.box_head\.0"):
        read_detector(tmp_path / "b.pth", network(**ONE_STAGE))


def test_the_names_are_a_bijection():
    for fields in KINDS.values():
        for names in (checkpoints.detectron2_names, checkpoints.torchvision_names):
            found = names(network(**fields))
            assert len(set(found.values())) == len(found)
