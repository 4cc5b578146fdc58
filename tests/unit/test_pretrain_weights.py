"""The weights file: small, exact to float16, deterministic, refused whole if anything is off."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from cleave.pretrain.config import Architecture  # noqa: E402
from cleave.pretrain.model import RotaryVit  # noqa: E402
from cleave.pretrain.weights import FORMAT, load, save  # noqa: E402
from cleave.spec import canonical  # noqa: E402
from cleave.types import DataError  # noqa: E402

SMALL = Architecture(patch=4, dim=24, depth=2, heads=2)


@pytest.fixture
def model() -> RotaryVit:
    torch.manual_seed(3)
    return RotaryVit(SMALL).eval()


def test_round_trip_is_exact_to_float16(model, tmp_path):
    digest = save(model, tmp_path / "a.safetensors")
    loaded = load(tmp_path / "a.safetensors", digest)
    assert loaded.architecture == SMALL
    assert not any(p.requires_grad for p in loaded.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float()), name
    assert save(loaded, tmp_path / "b.safetensors") == digest  # equal weights, equal bytes


def test_default_architecture_fits_in_twelve_megabytes(tmp_path):
    save(RotaryVit(Architecture()), tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_size < 12e6


def test_another_file_is_refused(model, tmp_path):
    save(model, tmp_path / "a.safetensors")
    with pytest.raises(DataError, match="sha256 is"):
        load(tmp_path / "a.safetensors", "0" * 64)
    (tmp_path / "b.safetensors").write_bytes(b"no weights")
    with pytest.raises(DataError, match=r"b\.safetensors"):
        load(tmp_path / "b.safetensors")


def test_a_flipped_bit_is_noticed_or_harmless(model, tmp_path):
    """In each byte of the header, and here and there in the numbers: never other weights."""
    path, expected, errors = tmp_path / "a.safetensors", model.half().float().state_dict(), []
    save(model, path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(0, header, 5), *range(header, len(whole), 499)]
    for i, place in enumerate(places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << i % 8
        path.write_bytes(damaged)
        try:
            found = load(path)
            assert found.architecture == SMALL
            assert all(torch.equal(found.state_dict()[name], expected[name]) for name in expected)
        except DataError as error:
            errors.append(str(error))
    assert all(str(path) in error for error in errors)
    assert len(errors) > len(places) - 12  # the name of the key, and its quotes


def test_weights_without_a_checksum_are_read(model, tmp_path):
    """Of an earlier version."""
    path = tmp_path / "a.safetensors"
    save(model, path)
    header = {"format": FORMAT, "architecture": dataclasses.asdict(SMALL)}
    save_file(load_file(path), path, metadata={"cleave": canonical(header)})
    assert load(path).architecture == SMALL


def test_weights_that_do_not_fit_are_refused(model, tmp_path):
    path = tmp_path / "a.safetensors"
    save(model, path)
    tensors = load_file(path)
    save_file(tensors, tmp_path / "bare.safetensors")
    with pytest.raises(DataError, match="expected format"):
        load(tmp_path / "bare.safetensors")
    header = {"format": FORMAT, "architecture": dataclasses.asdict(SMALL)}
    del tensors["blocks.1.gain1"]
    tensors["norm.bias"] = tensors["norm.bias"][:-1].clone()
    save_file(tensors, tmp_path / "half.safetensors", metadata={"cleave": canonical(header)})
    with pytest.raises(DataError, match=r"blocks\.1\.gain1, norm\.bias"):
        load(tmp_path / "half.safetensors")


def test_what_float16_cannot_hold_is_refused_and_leaves_no_file(model, tmp_path):
    model.norm.weight.data[0] = 1e6
    with pytest.raises(DataError, match=r"norm\.weight"):
        save(model, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
