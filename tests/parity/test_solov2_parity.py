"""Our SOLOv2 against AdelaiDet's, and its losses for coarse masks against FreeSOLO's: recorded.

The golden is made again by `python tests/parity/record_solov2.py AdelaiDet FreeSOLO`.
"""

from __future__ import annotations

import numpy as np
import pytest
from record_solov2 import GOLDEN, ORIGINALS, SIZES, coarse, objects, weights
from recording import pictures

torch = pytest.importorskip("torch")

from cleave.ops.targets import Targets  # noqa: E402
from cleave.solo.checkpoints import adelaidet_names, read_detector  # noqa: E402
from cleave.solo.losses import alike, axis_losses, colour_loss, focal_loss  # noqa: E402
from cleave.solo.network import build  # noqa: E402
from cleave.solo.settings import Architecture  # noqa: E402
from cleave.solo.targets import assign, shrunk  # noqa: E402
from cleave.types import Size  # noqa: E402

PUBLISHED = Architecture(norm="batch", fpn_norm="batch", classes=80)
SMALL = Architecture(
    norm="batch", fpn_norm="batch", classes=2, head_convolutions=2, head_channels=64,
    feature_channels=64, mask_features=32, detections=12,
)  # fmt: skip
FRAME = Size(224, 224)  # of both pictures: multiples of 32
SCORES, LOSSES, MASK_IOU = 1e-4, 1e-4, 0.998


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def shapes(golden, key=""):
    """Of each tensor, by AdelaiDet's name."""
    sizes = [tuple(int(n) for n in shape.split()) for shape in golden[f"{key}shapes"]]
    return dict(zip(map(str, golden[f"{key}names"]), sizes, strict=True))


@pytest.fixture(scope="module")
def ours(golden, tmp_path_factory):
    made = weights(shapes(golden, "small_"))
    path = tmp_path_factory.mktemp("weights") / "a.pth"
    torch.save({"model": {name: torch.from_numpy(value) for name, value in made.items()}}, path)
    network = build(SMALL).eval()
    read_detector(path, network)
    return network


def images():
    return [torch.from_numpy(p).permute(2, 0, 1).float() for p in pictures(SIZES)]


def targets(number):
    masks, boxes, labels = map(torch.from_numpy, objects(number))
    return Targets(boxes, masks, torch.ones(len(boxes)), labels)


def test_names_and_shapes_are_adelaidets(golden):
    with torch.device("meta"):
        network = build(PUBLISHED)
    names, state = adelaidet_names(network), network.state_dict()
    found = {names[n]: tuple(v.shape) for n, v in state.items() if "num_batches" not in n}
    assert found == shapes(golden)


def test_detections_equal_those_recorded(golden, ours):
    for number, image in enumerate(images()):
        with torch.inference_mode():
            (one,) = ours.detect([image], [Size(*ORIGINALS[number])])
        scores = golden[f"scores_{number}"]
        np.testing.assert_allclose(one.scores, scores, rtol=0, atol=SCORES)
        np.testing.assert_array_equal(one.labels, golden[f"labels_{number}"])
        shape = (len(scores), *ORIGINALS[number])
        masks = np.unpackbits(golden[f"masks_{number}"], count=np.prod(shape)).reshape(shape) > 0
        overlap = (one.masks & masks).sum((1, 2)) / (one.masks | masks).sum((1, 2))
        assert overlap.min() >= MASK_IOU


def test_the_cells_that_learn_and_their_masks_are_those_recorded(golden):
    for number in range(len(SIZES)):
        target = targets(number)
        found = assign(target, FRAME, SMALL.grids, SMALL.scale_ranges, SMALL.sigma)
        owned = torch.where(found.owners >= 0, target.labels[found.owners], SMALL.classes)
        np.testing.assert_array_equal(owned, golden[f"owned_{number}"])
        np.testing.assert_array_equal(found.cells, golden[f"cells_{number}"])
        masks = shrunk(target.masks, FRAME)[found.objects].flatten(1).long()
        sums = torch.stack([masks.sum(1), (masks * torch.arange(masks.shape[1])).sum(1)])
        np.testing.assert_array_equal(sums, golden[f"sums_{number}"])


def test_losses_equal_those_recorded(golden, ours):
    with torch.inference_mode():
        found = ours(images(), [targets(number) for number in range(len(SIZES))])
    assert float(found["dice"]) == pytest.approx(float(golden["loss_ins"]), rel=LOSSES)
    assert float(found["category"]) == pytest.approx(float(golden["loss_cate"]), rel=LOSSES)


def test_losses_of_coarse_masks_equal_those_recorded(golden):
    given = {name: torch.from_numpy(value) for name, value in coarse().items()}
    logits, masks = given["logits"], given["masks"].float()
    likes = alike(given["lab"].permute(1, 2, 0), given["inside"] > 0, 0.3)
    expected = np.unpackbits(golden["free_alike"], count=likes.numel()).reshape(likes.shape) > 0
    np.testing.assert_array_equal(likes, expected)
    assert 0.1 < expected.mean() < 0.9
    largest, average = axis_losses(logits.sigmoid(), masks)
    assert float(largest.mean()) == pytest.approx(float(golden["free_loss_ins_max"]), rel=1e-5)
    assert float(average.mean()) * 0.1 == pytest.approx(float(golden["free_loss_ins"]), rel=1e-5)
    warm = 500 / 1000  # what the recorded batch was of the warm-up
    colour = colour_loss([logits], [masks], [likes]) * warm
    assert float(colour) == pytest.approx(float(golden["free_loss_pairwise"]), rel=1e-5)
    focal = focal_loss(torch.zeros(4), torch.ones(4), alpha=0.25, gamma=2.0).sum() / 5
    assert float(focal) == pytest.approx(float(golden["free_loss_cate"]), rel=1e-5)
