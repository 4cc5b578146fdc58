"""DropLoss and soft targets, through the whole heads, against CutLER's and CuVLER's own code."""

import json

import pytest

torch = pytest.importorskip("torch")

from record_losses import CASES, GOLDEN, HEIGHT, WIDTH, filled, scene  # noqa: E402

from cleave.rcnn.regions import Regions  # noqa: E402
from cleave.rcnn.settings import Losses  # noqa: E402
from cleave.types import Size  # noqa: E402

NAMES = {"loss_cls": "class", "loss_box_reg": "box"}


def our_name(name: str) -> str:
    if name == "loss_mask":
        return "mask"
    kind, _, stage = name.partition("_stage")
    return f"stage{stage or 0}_{NAMES[kind]}"


@pytest.mark.parametrize("case", CASES)
def test_losses_equal_the_references(case):
    architecture, losses, objects = CASES[case]
    maps, proposals, targets = scene(objects)
    regions = filled(Regions(architecture, losses))
    found = regions.losses(maps, proposals, targets, [Size(HEIGHT, WIDTH)] * 2)
    recorded = {our_name(k): v for k, v in json.loads(GOLDEN.read_text())[case].items()}
    assert found.keys() == recorded.keys()
    for name, value in found.items():
        assert value.item() == pytest.approx(recorded[name], rel=1e-4, abs=2e-6), name


@pytest.mark.parametrize("case", CASES)
def test_the_recorded_case_tells_the_losses_apart(case):
    """With the plain losses the same scene gives other numbers."""
    architecture, losses, objects = CASES[case]
    plain = Losses(drop_loss=False)
    maps, proposals, targets = scene(objects)
    found = filled(Regions(architecture, plain)).losses(
        maps, proposals, targets, [Size(HEIGHT, WIDTH)] * 2
    )
    recorded = json.loads(GOLDEN.read_text())[case]
    changed = {
        our_name(k) for k, v in recorded.items() if abs(found[our_name(k)].item() - v) > 1e-3
    }
    stages = range(len(architecture.ious))
    expected = {f"stage{k}_class" for k in stages}
    assert changed >= expected | ({"stage0_box", "mask"} if losses.soft_targets else set())
