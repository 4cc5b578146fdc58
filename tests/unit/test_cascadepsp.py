"""CascadePSP as a refiner: what it is asked, what is refused, and that tables name its labels."""

import pickle
import sys
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cleave.masks import cascadepsp as adapter  # noqa: E402
from cleave.masks.divide_conquer import DivideConquer  # noqa: E402
from cleave.masks.windows import refine_in_windows  # noqa: E402
from cleave.spec import ConfigError  # noqa: E402
from cleave.types import CleaveError, DataError  # noqa: E402


class Grower(torch.nn.Module):
    """Stands in for CascadePSP's network: its answer is the blurred mask, of the same interface."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.0))


@pytest.fixture
def package(monkeypatch):
    """A package in the shape of segmentation_refinement 0.6, which is not installed here."""
    asked = []

    def process_im_single_pass(network, image, mask, side):
        asked.append((image.shape, mask.shape, side, float(image.mean())))
        assert mask.unique().tolist() in ([-1.0, 1.0], [1.0])
        grown = torch.nn.functional.max_pool2d(mask, 3, 1, 1)
        return (grown + 1) / 2 * network.scale

    names = ("", ".models", ".models.psp", ".models.psp.pspnet", ".eval_helper")
    for name in names:
        module = types.ModuleType(f"segmentation_refinement{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
    sys.modules["segmentation_refinement.models.psp.pspnet"].RefinementModule = Grower
    sys.modules[
        "segmentation_refinement.eval_helper"
    ].process_im_single_pass = process_im_single_pass
    adapter._network.cache_clear()
    yield asked
    adapter._network.cache_clear()


@pytest.fixture
def weights(tmp_path):
    """In the published form: a state dict saved from a DataParallel."""
    torch.save({"module.scale": torch.tensor(1.0)}, tmp_path / "model")
    return str(tmp_path / "model")


def test_the_network_sees_each_window_and_its_answer_is_taken(package, weights):
    pixels = np.full((60, 80, 3), 128, np.uint8)
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 20:40, 30:50] = True  # the other one is empty: it is not asked about
    found = refine_in_windows(pixels, masks, adapter.cascadepsp(weights), sides=(1, 900))
    expected = np.zeros((60, 80), bool)
    expected[19:41, 29:51] = True
    np.testing.assert_array_equal(found[0], expected)
    assert not found[1].any()
    ((image, mask, side, mean),) = package
    assert image == (1, 3, 40, 40)
    assert mask == (1, 1, 40, 40)
    assert side == 40
    assert mean == pytest.approx(np.mean((128 / 255 - np.array(adapter._MEAN)) / adapter._STD))


def test_what_it_changes_too_much_is_rejected(package, tmp_path):
    torch.save({"module.scale": torch.tensor(0.1)}, tmp_path / "model")  # nothing exceeds 128
    masks = np.zeros((1, 30, 30), bool)
    masks[0, 10:20, 10:20] = True
    pixels = np.zeros((30, 30, 3), np.uint8)
    assert not refine_in_windows(pixels, masks, adapter.cascadepsp(str(tmp_path / "model"))).any()


@pytest.mark.parametrize("content", [b"", b"no weights", pickle.dumps({"a": print})])
def test_a_file_that_is_no_weights_is_refused(package, tmp_path, content):
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not CascadePSP's weights"):
        adapter.cascadepsp(str(path))(np.zeros((8, 8, 3), np.uint8))


def test_other_weights_and_missing_ones_are_refused(package, tmp_path):
    torch.save({"module.other": torch.tensor(1.0)}, tmp_path / "model")
    with pytest.raises(DataError, match="not CascadePSP's weights"):
        adapter.cascadepsp(str(tmp_path / "model"))(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="cannot be read"):
        adapter.cascadepsp(str(tmp_path / "none"))(np.zeros((8, 8, 3), np.uint8))


def test_without_the_package_it_says_what_to_do(monkeypatch, weights):
    for name in ("segmentation_refinement", "segmentation_refinement.models.psp.pspnet"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "segmentation_refinement.eval_helper", None)
    adapter._network.cache_clear()
    with pytest.raises(CleaveError, match="pip install segmentation-refinement"):
        adapter.cascadepsp(weights)(np.zeros((8, 8, 3), np.uint8))


def test_only_then_were_labels_seen():
    assert DivideConquer().saw_labels == ""
    assert "people drew" in DivideConquer(refine="cascadepsp", cascadepsp="model").saw_labels


@pytest.mark.parametrize("fields", [{"refine": "cascadepsp"}, {"cascadepsp": "model"}])
def test_weights_and_refiner_belong_together(fields):
    with pytest.raises(ConfigError, match="and only then"):
        DivideConquer(**fields)
