import argparse
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from published_forms import prefixed

from cleave.backbones.weights import RECORDS, encoder_state, fill, load, record
from cleave.io import weights as files
from cleave.registry import make
from cleave.spec import ConfigError
from cleave.types import CleaveError, DataError, Image

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

TINY = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def encoder():
    return {k: v.clone() for k, v in load(TINY, "random", seed=3).state_dict().items()}


def optimiser_state():
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.sum().backward()
    optimiser.step()
    return optimiser.state_dict()


def published(form, state):
    """The containers in which the authors publish, as their training code saves them."""
    other = {name: value + 1 for name, value in state.items()}
    projection = {"head.mlp.0.weight": torch.ones(2, 2), "head.last_layer.weight_g": torch.ones(2)}
    return {
        "DINO": lambda: state,
        "DINO, whole training state": lambda: {
            "student": prefixed("module.", prefixed("backbone.", other) | projection),
            "teacher": prefixed("backbone.", state) | projection,
            "optimizer": optimiser_state(),
            "epoch": 100,
            "args": argparse.Namespace(arch="vit_small", lr=0.1),
            "dino_loss": {"center": torch.zeros(1, 4)},
        },
        "MAE": lambda: {"model": state},
        "MAE, with decoder": lambda: {
            "model": state
            | {"mask_token": torch.zeros(1, 1, 4), "decoder_pos_embed": torch.zeros(1, 5, 4)}
            | {"decoder_blocks.0.norm1.weight": torch.ones(4), "decoder_pred.bias": torch.ones(4)}
        },
        "DiffNCuts": lambda: {
            "model": prefixed("net.", state)
            | {"head1.weight": torch.ones(4, 4), "head2d_conv.0.bias": torch.ones(4)},
            "optimizer": optimiser_state(),
            "epoch": 2,
        },
        "DiffNCuts, distributed": lambda: {
            "model": prefixed("module.net.", state) | {"module.head2.0.weight": torch.ones(4)},
            "optimizer": optimiser_state(),
            "epoch": 2,
        },
        "timm, with classifier": lambda: {
            "state_dict": state | {"head.weight": torch.ones(10, 4), "head.bias": torch.ones(10)}
        },
    }[form]()


FORMS = (
    "DINO",
    "DINO, whole training state",
    "MAE",
    "MAE, with decoder",
    "DiffNCuts",
    "DiffNCuts, distributed",
    "timm, with classifier",
)


@pytest.mark.parametrize("form", FORMS)
def test_every_published_form_loads_to_the_same_network(form, encoder, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(published(form, encoder), path)
    loaded = load(TINY, str(path)).state_dict()
    assert loaded.keys() == encoder.keys()
    for name, value in encoder.items():
        assert torch.equal(loaded[name], value), name


def test_safetensors_loads_and_gives_other_features_than_random_ones(encoder, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file(encoder, path)
    image = Image("x", np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    common = {"kind": "vit", "model": TINY, "size": 32}
    keys = [
        make("features", {**common, **own})([image])[0].facets["key"]
        for own in (
            {"weights": str(path), "sha256": files.sha256(path)},
            {"weights": "random", "seed": 3},
            {"weights": "random", "seed": 4},
        )
    ]
    np.testing.assert_array_equal(keys[0], keys[1])
    assert np.abs(keys[0] - keys[2]).max() > 0.1


def test_another_file_than_the_one_pinned_is_refused(encoder, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(encoder, path)
    with pytest.raises(DataError, match="expected 00ff"):
        load(TINY, str(path), sha256="00ff")


def test_registers_of_dinov2_come_out_in_timms_layout():
    network = load("vit_small_patch14_reg4_dinov2", "random")
    state = {name: value.clone() for name, value in network.state_dict().items()}
    first = torch.full((1, 1, 384), 0.25)
    theirs = dict(state)
    theirs["register_tokens"] = theirs.pop("reg_token")
    theirs["cls_token"] = state["cls_token"] - first
    theirs["pos_embed"] = torch.cat([first, state["pos_embed"]], 1)
    theirs["mask_token"] = torch.zeros(1, 384)
    ours = encoder_state(theirs)
    fill(network, ours, "test")
    assert torch.equal(ours["pos_embed"], state["pos_embed"])
    torch.testing.assert_close(ours["cls_token"], state["cls_token"])


def test_a_stored_grid_of_another_size_is_kept_as_it_is(encoder, tmp_path):
    """DINOv2 stores 37 x 37 positions, others 14 x 14: interpolated once, from what is stored."""
    state = dict(encoder)
    grid = torch.randn(1, 1 + 9 * 9, 192, generator=torch.Generator().manual_seed(0))
    state["pos_embed"] = grid
    torch.save(state, tmp_path / "w.pth")
    network = load(TINY, str(tmp_path / "w.pth"))
    assert torch.equal(network.pos_embed, grid)
    tokens = network._pos_embed(torch.zeros(1, 9, 9, 192))
    torch.testing.assert_close(tokens[:, 1:], grid[:, 1:])
    wider = network._pos_embed(torch.zeros(1, 20, 30, 192))
    expected = torch.nn.functional.interpolate(
        grid[:, 1:].reshape(1, 9, 9, 192).permute(0, 3, 1, 2),
        (20, 30),
        mode="bicubic",
        antialias=True,
    )
    torch.testing.assert_close(wider[0, 1:], expected[0].flatten(1).T, atol=1e-5, rtol=0)


def broken_states(state):
    def smaller(name):
        return {**state, name: state[name][..., :-1]}

    def without(name):
        return {k: v for k, v in state.items() if k != name}

    infinite = {**state, "norm.weight": state["norm.weight"] * float("inf")}
    patch = {**state, "patch_embed.proj.weight": state["patch_embed.proj.weight"][..., :8, :8]}
    return {
        "missing: norm.bias": without("norm.bias"),
        "unexpected: neck.weight": {**state, "neck.weight": torch.ones(2)},
        r"another shape: patch_embed.proj.weight \(192, 3, 8, 8\), not \(192, 3, 16, 16\)": patch,
        "another shape: cls_token": smaller("cls_token"),
        "another shape: pos_embed": {**state, "pos_embed": state["pos_embed"][:, :-3]},
        "not finite: norm.weight": infinite,
        "missing: blocks.11.attn.proj.bias.*and 6 more": {
            k: v for k, v in state.items() if not k.startswith("blocks.11.")
        },
        "another shape: cls_token None, not": {**state, "cls_token": 3},
    }


@pytest.mark.parametrize("index", range(8))
def test_what_does_not_match_is_refused_by_name(index, encoder):
    message, state = list(broken_states(encoder).items())[index]
    network = load(TINY, "random")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(DataError, match=message):
        fill(network, encoder_state(state), "test")
    after = network.state_dict()
    kept = all(torch.equal(after[k], v) for k, v in before.items() if after[k].shape == v.shape)
    assert kept, "loaded half"


def test_weights_of_a_larger_model_are_refused():
    larger = encoder_state(load("dino_vits16", "random").state_dict())
    with pytest.raises(DataError, match="another shape"):
        fill(load(TINY, "random"), larger, "test")


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_a_pickle_with_code_is_refused_and_not_run(encoder, tmp_path):
    marker = tmp_path / "was_run"
    torch.save({"model": encoder, "extra": Evil(str(marker))}, tmp_path / "zip.pth")
    torch.save({"x": Evil(str(marker))}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"x": Evil(str(marker))}, protocol=2))
    for name in ("zip.pth", "old.pth", "plain.pth"):
        with pytest.raises(DataError, match="hold code are refused"):
            load(TINY, str(tmp_path / name))
    assert not marker.exists()
    pickle.loads((tmp_path / "plain.pth").read_bytes())
    assert marker.exists(), "the file was harmless, so the test showed nothing"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x02garbage", bytes(4096)])
def test_damaged_files_are_refused(content, suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not readable"):
        files.read_tensors(path)


def test_a_truncated_file_is_refused(encoder, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(encoder, path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataError, match="not readable"):
        load(TINY, str(path))


@pytest.mark.parametrize("contents", [{}, {"epoch": 3}, {"model": {"epoch": 3}}])
def test_a_file_without_tensors_is_refused(contents, tmp_path):
    torch.save(contents, tmp_path / "weights.pth")
    with pytest.raises(DataError, match="no tensors"):
        load(TINY, str(tmp_path / "weights.pth"))


def test_a_list_is_no_state_dict(tmp_path):
    torch.save([torch.ones(2)], tmp_path / "weights.pth")
    with pytest.raises(DataError, match="list"):
        load(TINY, str(tmp_path / "weights.pth"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.pth: no such file"):
        load(TINY, str(tmp_path / "nowhere.pth"))


def test_records_name_models_that_timm_knows():
    for name, known in RECORDS.items():
        assert known.licence
        assert known.trained_on
        assert known.labels is None
        if known.hub:
            published = timm.models.get_pretrained_cfg(known.hub.removeprefix("timm/"))
            assert published.hf_hub_id == known.hub, name
            assert (published.mean, published.std) == (known.mean, known.std), name
            assert published.license == known.licence.lower(), name
            assert published.url == known.url, name


def test_a_model_without_a_record_says_that_its_labels_are_unknown():
    assert "unknown" in record("vit_base_patch16_224", None).labels
    assert record("vit_base_patch16_224", None).mean == (0.5, 0.5, 0.5)
    assert record("dino_vits8", "random").labels is None


def test_a_model_on_no_hub_asks_for_a_file():
    with pytest.raises(ConfigError, match="give their file"):
        load("diffncuts_vits8", None)


def test_an_unreachable_hub_says_so_at_once(monkeypatch):
    import huggingface_hub

    def fail(url, timeout):
        assert timeout <= 10
        raise ConnectionError("name not known")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fail)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    with pytest.raises(DataError) as caught:
        load("dino_vits16", None)
    for part in ("name not known", "dino_deitsmall16_pretrain.pth", "weights:", "random"):
        assert part in str(caught.value)


def test_offline_is_an_error_and_no_endless_wait(tmp_path):
    code = (
        "from cleave.backbones.weights import load\n"
        "from cleave.types import DataError\n"
        "try: load('dino_vits16', None)\n"
        "except DataError as error: print(error)\n"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert "cannot be reached" in done.stdout, done.stderr
    assert "offline mode" in done.stdout


def test_weights_in_the_hubs_cache_are_used_without_the_network(encoder, tmp_path, monkeypatch):
    import huggingface_hub
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    full = encoder | {"head.weight": torch.zeros(1000, 192), "head.bias": torch.zeros(1000)}
    save_file(full, path)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(path))
    loaded = load(TINY, None).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in encoder.items())
    save_file({k: v for k, v in full.items() if k != "norm.bias"}, path)
    with pytest.raises(CleaveError, match=r"norm\.bias"):
        load(TINY, None)
