"""From a checkpoint and images to masks: resizing, batches, refusals."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image as Picture  # noqa: E402

from cleave.networks.predict import shortest_edge  # noqa: E402
from cleave.rcnn.checkpoints import read_detector  # noqa: E402
from cleave.rcnn.network import build  # noqa: E402
from cleave.rcnn.predict import predict  # noqa: E402
from cleave.rcnn.settings import Architecture  # noqa: E402
from cleave.types import DataError, Image, Size  # noqa: E402

TINY = Architecture(
    trunk="mobilenet_v3_small", norm="batch", fpn_norm="none", fpn_channels=8,
    anchor_sizes=(8.0, 16.0, 32.0, 64.0, 128.0), rpn_before_nms_test=40, rpn_after_nms_test=30,
    box_width=16, mask_convolutions=1, mask_channels=8, detections=10, ious=(0.5,),
    min_side=48, max_side=80,
)  # fmt: skip


def image(height, width, seed):
    rng = np.random.default_rng(seed)
    return Image(str(seed), rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


IMAGES = [image(30, 40, 0), image(60, 80, 1), image(90, 50, 2), image(30, 40, 3), image(24, 32, 4)]


def load(path, architecture):
    """A network with the weights of a checkpoint, as the plugins make it."""
    network = build(architecture)
    read_detector(path, network)
    return network


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build(TINY).eval()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((500, 500), (800, 800)),
        ((100, 1000), (133, 1333)),
        ((333, 500), (800, 1201)),
        ((1, 3000), (1, 1333)),  # rounds to 0 in detectron2, which then fails
    ],
)
def test_the_short_side_is_resized_to_800_and_the_long_to_1333_at_most(size, expected):
    assert shortest_edge(Size(*size), 800, 1333) == expected


def test_images_come_back_in_order_with_masks_of_their_size(network):
    found = list(predict(network, iter(IMAGES), batch=2, device="cpu"))
    assert [one.size for one in found] == [each.size for each in IMAGES]
    for one in found:
        assert 0 < len(one) <= 10
        assert (np.diff(one.scores) <= 0).all()
        assert one.labels is None


@pytest.mark.parametrize("batch", [1, 3])
def test_a_result_does_not_depend_on_the_batch(network, batch):
    alone = [next(predict(network, [each], batch=1, device="cpu")) for each in IMAGES]
    for one, other in zip(predict(network, IMAGES, batch=batch, device="cpu"), alone, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)
        assert (one.masks != other.masks).mean() < 1e-3


def test_no_more_images_are_read_than_a_batch_takes(network):
    read = []

    def stream():
        for each in [IMAGES[0]] * 6:
            read.append(each)
            yield each

    results = predict(network, stream(), batch=2, device="cpu")
    next(results)
    assert len(read) <= 3


def test_the_network_sees_what_pillow_resizes_bilinearly(network, monkeypatch):
    seen = []
    detect = network.detect
    monkeypatch.setattr(network, "detect", lambda x, s: (seen.extend(x), detect(x, s))[1])
    next(predict(network, [IMAGES[1]], batch=1, device="cpu"))
    picture = Picture.fromarray(IMAGES[1].pixels).resize((64, 48), Picture.Resampling.BILINEAR)
    assert torch.equal(seen[0], torch.tensor(np.array(picture)).permute(2, 0, 1).float())


def test_boxes_are_the_detectors_own(network):
    """Box AP scores what the box head says, not what bounds the masks."""
    one = next(predict(network, IMAGES[:1], batch=1, device="cpu"))
    with torch.inference_mode():
        picture = Picture.fromarray(IMAGES[0].pixels).resize((64, 48), Picture.Resampling.BILINEAR)
        pixels = torch.tensor(np.array(picture)).permute(2, 0, 1).float()
        found = network.detect([pixels], [IMAGES[0].size])[0]
    np.testing.assert_array_equal(one.boxes, found.boxes.numpy())


def test_labels_are_kept_where_there_are_classes():
    torch.manual_seed(0)
    network = build(dataclasses.replace(TINY, classes=3)).eval()
    found = next(predict(network, IMAGES[:1], batch=1, device="cpu"))
    assert found.labels.dtype == np.int64
    assert set(found.labels.tolist()) <= {0, 1, 2}


def test_a_checkpoint_is_read_back(network, tmp_path):
    torch.save({"model": network.state_dict(), "step": 3}, tmp_path / "checkpoint.pt")
    back = load(tmp_path / "checkpoint.pt", TINY)
    for name, value in back.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])


def test_a_checkpoint_of_another_detector_is_refused_with_names(network, tmp_path):
    path = tmp_path / "checkpoint.pt"
    state = network.state_dict()
    state["regions.extra"] = state.pop("proposals.conv.bias")
    torch.save({"model": state}, path)
    with pytest.raises(DataError) as error:
        load(path, dataclasses.replace(TINY, box_width=24))
    text = str(error.value)
    assert "missing: proposals.conv.bias" in text
    assert "left over: regions.extra" in text
    assert "regions.box_heads.0.classes.weight (2, 16), not (2, 24)" in text


@pytest.mark.parametrize("contents", [{"weights": 1}, {"model": 3}])
def test_a_file_without_a_state_dict_is_refused(contents, tmp_path):
    torch.save(contents, tmp_path / "checkpoint.pt")
    with pytest.raises(DataError, match="no tensors in it"):
        load(tmp_path / "checkpoint.pt", TINY)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "none.pt", TINY)
