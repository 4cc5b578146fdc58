"""What every detector must do, tested from the registry on a tiny untrained network."""

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cleave.registry import PLUGINS, lookup, make  # noqa: E402
from cleave.spec import ConfigError, build, canonical, to_mapping  # noqa: E402
from cleave.types import Image, MaskSet  # noqa: E402

KINDS = sorted(PLUGINS["detectors"])

# Small enough to test; a detector that knows none of these keys runs as it is.
TINY = {
    "trunk": "mobilenet_v3_small", "norm": "batch", "fpn_norm": "none", "fpn_channels": 8,
    "rpn_before_nms_test": 40, "rpn_after_nms_test": 30, "box_width": 16, "mask_channels": 8,
    "mask_convolutions": 1, "detections": 10, "min_side": 64, "max_side": 128,
    "head_convolutions": 1, "head_channels": 8, "feature_channels": 8, "mask_features": 8,
    "score_floor": 0.0, "nms_floor": 0.0,  # or an untrained SOLOv2 finds nothing
}  # fmt: skip
FOREIGN = {"trunk": "resnet18"}  # detectron2 has no MobileNet


def constant(value, height, width):
    return Image(f"constant-{value}", np.full((height, width, 3), value, np.uint8))


def noise(height, width, seed):
    rng = np.random.default_rng(seed)
    return Image(f"noise-{seed}", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


IMAGES = [
    noise(48, 64, 1),
    constant(127, 40, 60),
    constant(0, 33, 21),
    constant(255, 1, 1),
    noise(8, 8, 2),
    noise(3, 400, 3),
    noise(400, 2, 4),
]


@pytest.fixture(params=KINDS)
def section(request):
    known = {field.name for field in dataclasses.fields(lookup("detectors", request.param, ""))}
    tiny = {key: value for key, value in TINY.items() if key in known}
    if request.param.startswith(("mask_rcnn_", "solov2_")):
        del tiny["trunk"]  # a fixed one, which is what the kind is for
    if request.param == "detectron2":
        pytest.importorskip("detectron2", reason="detectron2 is not installed")
        tiny |= FOREIGN
    return {"kind": request.param, **tiny}


def untrained(section):
    plugin = make("detectors", section)
    return plugin.network(plugin.plain_losses)


@pytest.fixture
def checkpoint(section, tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.manual_seed(0)
    state = untrained(section).state_dict()
    torch.save({"model": state}, path)
    return path


def check(found: MaskSet, image: Image) -> None:
    assert found.size == image.size
    assert found.masks.dtype == bool
    assert found.masks.shape == (len(found), *image.size)
    assert found.scores.dtype == np.float64
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_build_and_the_spec_comes_back(kind):
    plugin = make("detectors", {"kind": kind})
    fields = json.loads(canonical(to_mapping(plugin)))
    assert build(lookup("detectors", kind, kind), fields, kind) == plugin
    assert to_mapping(make("detectors", {"kind": kind, **fields})) == fields


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_key_is_refused_with_the_nearest(kind):
    name = dataclasses.fields(lookup("detectors", kind, kind))[0].name
    message = f"detectors.{kind}: unknown key '{name}x'; did you mean '{name}'"
    with pytest.raises(ConfigError, match=message):
        make("detectors", {"kind": kind, f"{name}x": 1}, f"detectors.{kind}")


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_report_must_know_is_said(kind):
    plugin = make("detectors", {"kind": kind})
    assert plugin.gpu is True
    assert plugin.saw_labels == ""
    assert plugin.licence
    assert type(plugin).__doc__


def test_any_image_gives_sound_masks_in_order(section, checkpoint):
    found = list(make("detectors", section).predict(iter(IMAGES), checkpoint, 2, "cpu"))
    assert len(found) == len(IMAGES)
    for one, image in zip(found, IMAGES, strict=True):
        check(one, image)
    assert len(found[0])  # an untrained network still finds something in noise


def test_the_same_image_gives_the_same_bytes(section, checkpoint):
    """Also from another instance, and after another image."""
    first = next(make("detectors", section).predict(IMAGES[:1], checkpoint, 1, "cpu"))
    again = make("detectors", section).predict([IMAGES[1], IMAGES[0]], checkpoint, 1, "cpu")
    *_, second = again
    assert first.masks.tobytes() == second.masks.tobytes()
    assert first.scores.tobytes() == second.scores.tobytes()


def test_the_image_is_left_as_it_is(section, checkpoint):
    before = IMAGES[0].pixels.copy()
    list(make("detectors", section).predict(IMAGES[:1], checkpoint, 1, "cpu"))
    np.testing.assert_array_equal(IMAGES[0].pixels, before)


def test_equal_seeds_build_equal_networks(section):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(untrained(section).state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
