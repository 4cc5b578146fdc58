"""Weights that ship: by name, by digest, with a card; loading them imports little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")

from cleave import config  # noqa: E402
from cleave.backbones.rotary import Rotary  # noqa: E402
from cleave.io.weights import sha256  # noqa: E402
from cleave.pretrain import shipped  # noqa: E402
from cleave.pretrain.config import Architecture  # noqa: E402
from cleave.pretrain.model import RotaryVit  # noqa: E402
from cleave.pretrain.weights import save  # noqa: E402
from cleave.spec import canonical  # noqa: E402
from cleave.types import DataError, Image  # noqa: E402

SMALL = Architecture(patch=8, dim=24, depth=2, heads=2)
FACTS = {fact: f"the {fact} of it" for fact in shipped.FACTS}
SPEC = {
    "kind": "rotary",
    "mae": {"steps": 3, "batch": 4},
    "distil": {"steps": 0, "batch": 2},
    "collage": {"steps": 5, "batch": 6},
    "start": "first.safetensors",
}


@pytest.fixture
def weights(tmp_path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "made" / "weights.safetensors"
    save(RotaryVit(SMALL), path, cleave="0.1", spec=SPEC, version=2)
    return path


@pytest.fixture
def folder(weights, tmp_path) -> Path:
    shipped.ship(weights, "tiny", FACTS, tmp_path / "package")
    return tmp_path / "package"


def features(name: str, monkeypatch, folder: Path) -> np.ndarray:
    monkeypatch.setattr(shipped.located, "__defaults__", (folder,))
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    (found,) = Rotary(weights=name, size=32)([Image("a", pixels)])
    return found.facets["key"]


def test_shipped_weights_are_found_by_name_and_are_those_of_the_file(folder, weights, monkeypatch):
    assert shipped.index(folder) == {"tiny": sha256(weights)}
    assert shipped.located("tiny", folder) == (folder / "tiny.safetensors", sha256(weights))
    assert shipped.located("other.safetensors", folder) == (Path("other.safetensors"), None)
    by_name = features("tiny", monkeypatch, folder)
    assert np.array_equal(by_name, features(str(weights), monkeypatch, folder))


def test_other_bytes_are_refused(folder, monkeypatch):
    save(RotaryVit(SMALL), folder / "tiny.safetensors")
    with pytest.raises(DataError, match="sha256 is"):
        features("tiny", monkeypatch, folder)


def test_the_card_tells_what_is_known(folder, weights):
    card = (folder / "tiny.md").read_text()
    for text in (*FACTS.values(), sha256(weights), canonical(SPEC)):
        assert text in card
    phases = "masked autoencoding: 3 steps of 4 photos, then telling patches of collages apart"
    assert f"begun with the weights first.safetensors, then {phases}" in card
    assert "by their photo: 5 steps of 6 photos |" in card
    parameters = sum(p.numel() for p in RotaryVit(SMALL).parameters())
    assert f"{parameters:,} parameters, patch 8" in card


def test_a_second_one_leaves_the_first(folder, weights):
    shipped.ship(weights, "second", FACTS, folder)
    assert set(shipped.index(folder)) == {"tiny", "second"}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({**FACTS, "scores": " "}, r"\['scores'\]"),
        ({**FACTS, "colour": "red"}, r"\['colour'\]"),
        ({}, "data.*device"),
    ],
)
def test_an_incomplete_card_ships_nothing(weights, tmp_path, facts, words):
    with pytest.raises(DataError, match=words):
        shipped.ship(weights, "tiny", facts, tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_weights_that_a_package_cannot_carry_are_refused(weights, tmp_path):
    large = tmp_path / "large.safetensors"
    save(RotaryVit(Architecture(dim=240)), large, cleave="0.1", spec=SPEC)
    with pytest.raises(DataError, match="at most 12000000 bytes"):
        shipped.ship(large, "large", FACTS, tmp_path / "package")
    coarse = tmp_path / "coarse.safetensors"
    save(RotaryVit(Architecture(patch=16, dim=24, heads=2)), coarse, cleave="0.1", spec=SPEC)
    with pytest.raises(DataError, match="patch 16"):
        shipped.ship(coarse, "coarse", FACTS, tmp_path / "package")
    bare = tmp_path / "bare.safetensors"
    save(RotaryVit(SMALL), bare)
    with pytest.raises(DataError, match="header has no cleave, spec"):
        shipped.ship(bare, "bare", FACTS, tmp_path / "package")


def test_all_that_ships_is_whole():
    for name, digest in shipped.index().items():
        path, known = shipped.located(name)
        assert sha256(path) == known == digest
        assert digest in path.with_suffix(".md").read_text()


def test_the_package_carries_the_folder():
    root = Path(__file__).resolve().parents[2]
    assert '"weights/*"' in (root / "pyproject.toml").read_text()
    sections = config.load({"features": {"a": {"kind": "rotary", "weights": "tiny"}}})
    assert not sections["features"]["a"].references


def test_loading_imports_nothing_beyond_what_features_need(folder):
    program = (
        "import sys; from cleave.pretrain import shipped; from cleave.pretrain.weights import load;"
        f"load(*shipped.located('tiny', shipped.Path({str(folder)!r})));"
        "print(sorted({n.partition('.')[0] for n in sys.modules}))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = set(json.loads(done.stdout.strip().splitlines()[-1].replace("'", '"')))
    assert {"torch", "safetensors"} <= found
    others = {"timm", "torchvision", "transformers", "lightly", "matplotlib", "pandas", "snakemake"}
    assert not others & found


def test_the_command_reads_a_file_of_facts(weights, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(shipped, "ship", lambda *given: seen.append(given))
    facts = tmp_path / "facts.yaml"
    facts.write_text(yaml.safe_dump(FACTS))
    arguments = ["shipped", str(weights), "--name", "tiny", "--facts", str(facts)]
    monkeypatch.setattr(sys, "argv", arguments)
    shipped.main()
    assert seen == [(weights, "tiny", FACTS)]
