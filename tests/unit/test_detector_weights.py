"""What a training begins with: random weights of a seed, a trunk's file, or an earlier round."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cleave.io import weights  # noqa: E402
from cleave.io.checkpoints import load_state, save_state  # noqa: E402
from cleave.io.coco import write_masks  # noqa: E402
from cleave.io.images import ImageRecord  # noqa: E402
from cleave.rcnn.settings import Losses  # noqa: E402
from cleave.registry import make  # noqa: E402
from cleave.rounds import Learn  # noqa: E402
from cleave.spec import build  # noqa: E402
from cleave.training.samples import Annotations  # noqa: E402
from cleave.types import DataError, Image, MaskSet, Size  # noqa: E402

SIZE = Size(64, 64)
SPEC = {
    "kind": "mask_rcnn", "trunk": "resnet18", "norm": "batch", "fpn_norm": "none",
    "fpn_channels": 8, "box_width": 16, "mask_channels": 8, "mask_convolutions": 1,
    "rpn_before_nms_train": 50, "rpn_after_nms_train": 30, "roi_batch": 16,
    "min_side": 64, "max_side": 64,
}  # fmt: skip
# At a rate this small the weights are still those that the training began with.
TRAINING = {"steps": 1, "batch": 1, "warmup_steps": 0, "learning_rate": 1e-12, "workers": 0}
LEARN = {"training": {**TRAINING, "precise_norm": 0}, "augment": {"short_sides": []}}


def read(record: ImageRecord) -> Image:
    return Image(record.id, np.full((*SIZE, 3), 90, np.uint8))


@pytest.fixture
def annotations(tmp_path) -> Annotations:
    record = ImageRecord("one", "one.png", *SIZE, 1, "0")
    masks = np.zeros((1, *SIZE), bool)
    masks[0, 8:40, 8:40] = True
    path = tmp_path / "0001-of-0001.json"
    found = {"one": MaskSet(SIZE, masks, np.ones(1), np.array([7]))}  # of a cluster: ignored
    write_masks(path, [record], found, spec={}, version=1, dataset={"kind": "folder"})
    return Annotations([path])


def begun(annotations, folder, start=None, seed=0, **fields) -> dict:
    """The weights after one step that changes next to nothing."""
    learn = build(Learn, LEARN | {"seed": seed}, "learn")
    make("detectors", SPEC | fields).fit(annotations, read, learn, folder, start=start)
    return load_state(folder / "weights.pt")[0]


def same(a: dict, b: dict, prefix: str = "") -> bool:
    names = [n for n in a if n.startswith(prefix) and n.endswith("weight") and a[n].ndim > 1]
    assert names
    return all(torch.allclose(a[name], b[name], atol=1e-7) for name in names)


def test_random_weights_are_those_of_the_seed(annotations, tmp_path):
    first = begun(annotations, tmp_path / "a")
    assert same(first, begun(annotations, tmp_path / "b"))
    assert not same(first, begun(annotations, tmp_path / "c", seed=1))


def test_a_trunks_file(annotations, tmp_path):
    torch.manual_seed(5)
    other = make("detectors", SPEC).network(Losses()).state_dict()
    trunk = {k.removeprefix("trunk."): v for k, v in other.items() if k.startswith("trunk.")}
    torch.save(
        trunk | {"fc.weight": torch.zeros(3, 512), "fc.bias": torch.zeros(3)},
        tmp_path / "trunk.pth",
    )
    got = begun(annotations, tmp_path / "a", weights=str(tmp_path / "trunk.pth"))
    assert same(got, other, "trunk.")
    assert not same(got, other, "regions.")
    assert same(got, begun(annotations, tmp_path / "b"), "regions.")


def test_a_whole_detector_and_an_earlier_round(annotations, tmp_path):
    torch.manual_seed(5)
    other = make("detectors", SPEC).network(Losses()).state_dict()
    save_state(tmp_path / "round0.pt", other)
    assert same(begun(annotations, tmp_path / "a", start=tmp_path / "round0.pt"), other)
    fields = {"weights": str(tmp_path / "round0.pt"), "whole": True}
    assert same(begun(annotations, tmp_path / "b", **fields), other)


def test_weights_of_another_detector_are_refused(annotations, tmp_path):
    narrow = make("detectors", SPEC | {"box_width": 12}).network(Losses())
    save_state(tmp_path / "narrow.pt", narrow.state_dict())
    with pytest.raises(DataError, match=r"regions\.box_heads\.0\.fc1"):
        begun(annotations, tmp_path / "a", start=tmp_path / "narrow.pt")
    with pytest.raises(DataError, match="sha256"):
        begun(annotations, tmp_path / "b", weights=str(tmp_path / "narrow.pt"), sha256="0" * 64)


def test_a_published_trunk_is_fetched_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    source = tmp_path / "trunk.pth"
    torch.save({"a": torch.ones(2)}, source)
    path = weights.url_file(source.as_uri(), instead="or not")
    assert path.parent == tmp_path / "cache/hub/checkpoints"
    assert path.read_bytes() == source.read_bytes()
    source.unlink()
    assert weights.url_file(source.as_uri(), instead="or not") == path
    with pytest.raises(DataError, match=r"cannot be reached.*or not"):
        weights.url_file((tmp_path / "none.pth").as_uri(), instead="or not")
