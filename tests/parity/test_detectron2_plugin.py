"""The plugin `detectron2`: our loop trains it, and either reads the checkpoints of the other."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from record_detectron2 import CUTLER, HEADS

from cleave.rcnn.settings import Architecture, Losses
from cleave.registry import make
from cleave.spec import ConfigError
from cleave.types import Image

torch = pytest.importorskip("torch")

PLAIN = Losses(drop_loss=False)
TINY = {
    "trunk": "resnet18", "fpn_channels": 16, "anchor_sizes": [8.0, 16.0, 32.0, 64.0, 128.0],
    "rpn_batch": 32, "rpn_before_nms_train": 60, "rpn_after_nms_train": 60,
    "rpn_before_nms_test": 60, "rpn_after_nms_test": 40, "roi_batch": 16, "box_width": 32,
    "mask_convolutions": 1, "mask_channels": 16, "detections": 20, "min_side": 64, "max_side": 96,
}  # fmt: skip


def theirs(**fields):
    return make("detectors", {"kind": "detectron2", **TINY, **fields})


def ours(**fields):
    return make("detectors", {"kind": "cascade_mask_rcnn", **TINY, **fields})


@pytest.fixture
def detectron2():
    return pytest.importorskip("detectron2", reason="detectron2 is not installed")


def test_what_to_install_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "detectron2", None)
    monkeypatch.setitem(sys.modules, "detectron2.modeling", None)
    with pytest.raises(ConfigError, match=r"pip install .*detectron2@.*or use cascade_mask_rcnn"):
        theirs().network(PLAIN)


@pytest.mark.parametrize("name", ["drop_loss", "soft_targets", "trust_loss"])
def test_losses_that_it_does_not_have_are_refused(name):
    with pytest.raises(ConfigError, match=name):
        theirs().network(Losses(**({"drop_loss": False} | {name: True})))


def test_trunks_that_it_does_not_have_are_refused():
    with pytest.raises(ConfigError, match="mobilenet_v3_small; valid: resnet18, resnet50"):
        theirs(trunk="mobilenet_v3_small")


@pytest.mark.parametrize("heads", HEADS)
def test_our_defaults_are_cutlers_config(detectron2, heads):
    from detectron2.config import get_cfg

    from cleave.detectors.detectron2 import configuration

    expected = get_cfg()
    expected.merge_from_list([*CUTLER, *HEADS[heads]])
    ious = (0.5,) if heads == "mask_rcnn" else (0.5, 0.6, 0.7)
    found = configuration(Architecture(norm="batch", fpn_norm="batch", ious=ious))
    for config in (expected, found):  # what the heads in question do not read
        config.MODEL.ROI_BOX_CASCADE_HEAD = None if heads == "mask_rcnn" else "read"
        if heads == "mask_rcnn":  # one class: the same with and without
            config.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = None
    assert found == expected


def image(number):
    rng = np.random.default_rng(number)
    height, width = 70 + 20 * number, 100
    pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
    pixels[20:50, 30 * number : 30 * number + 35] += 150
    return Image(str(number), pixels)


def test_checkpoints_of_one_are_read_by_the_other(detectron2, tmp_path):
    from cleave.io.checkpoints import save_state

    torch.manual_seed(0)
    images = [image(number) for number in range(3)]
    for writer in (theirs(), ours()):
        save_state(tmp_path / "a.pt", writer.network(PLAIN).state_dict())
        found = list(theirs().predict(images, tmp_path / "a.pt"))
        same = list(ours().predict(images, tmp_path / "a.pt"))
        assert sum(map(len, found)) > 5
        for one, other in zip(found, same, strict=True):
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
            np.testing.assert_array_equal(one.masks, other.masks)


def test_it_begins_with_the_files_that_ours_begin_with(detectron2, tmp_path):
    import torchvision

    trunk = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(trunk, tmp_path / "a.pth")
    detector = theirs(weights=str(tmp_path / "a.pth"))
    network = detector.network(PLAIN)
    heads = {n: v.clone() for n, v in network.state_dict().items() if "bottom_up" not in n}
    detector.begin(network)
    state = network.state_dict()
    name = "backbone.bottom_up.res3.0.shortcut.weight"
    assert torch.equal(state[name], trunk["layer2.0.downsample.0.weight"])
    assert all(torch.equal(state[name], value) for name, value in heads.items())


def test_our_loop_trains_both_to_the_same_weights(detectron2, tmp_path):
    """Three steps of an optimiser from the same weights, in the order of the same draws."""
    from cleave.io.checkpoints import load_state
    from cleave.ops.targets import Targets
    from cleave.rcnn.checkpoints import detectron2_names
    from cleave.training.loop import train
    from cleave.training.settings import Training

    settings = Training(
        steps=3, batch=2, reference_batch=2, warmup_steps=0, decay_steps=(), precise_norm=0,
        log_every=1, workers=0, learning_rate=0.01,
    )  # fmt: skip

    def batches(step, rank, world, micro):
        shown, targets = [], []
        for number in (step % 3, (step + 1) % 3):
            pixels = image(number).pixels
            mask = torch.zeros(1, *pixels.shape[:2], dtype=torch.bool)
            mask[0, 20:50, 30 * number : 30 * number + 35] = True
            box = torch.tensor([[30.0 * number, 20, min(30 * number + 35, 100), 50]])
            shown.append(torch.from_numpy(pixels).permute(2, 0, 1).float())
            cluster = torch.tensor([number])  # what a label may name; of one class it says nothing
            targets.append(Targets(box, mask, torch.ones(1), cluster))
        return shown, targets

    torch.manual_seed(0)
    mine, other = ours().network(PLAIN), theirs().network(PLAIN)
    names = detectron2_names(mine)
    start = {name: value.clone() for name, value in mine.state_dict().items()}
    other.load_state_dict({names[name]: value for name, value in start.items()})
    for network, folder in ((mine, tmp_path / "ours"), (other, tmp_path / "theirs")):
        train(network, batches, settings, folder)
    found, _ = load_state(tmp_path / "ours" / "weights.pt")
    expected, _ = load_state(tmp_path / "theirs" / "weights.pt")
    assert {names[name] for name in found} == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[names[name]], rtol=1e-3, atol=1e-5, msg=name)
    moved = [name for name, value in found.items() if not torch.equal(value, start[name])]
    assert len(moved) > 0.9 * len(found)
