"""The config as a graph: what is accepted, what is refused and with which words."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from config_places import changed

from cleave import config
from cleave.references import names_in
from cleave.registry import PLUGINS
from cleave.spec import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = yaml.safe_load((REPOSITORY / "tests/configs/tiny.yaml").read_text())


@pytest.fixture
def raw() -> dict:
    return copy.deepcopy(TINY)


def test_spec_is_canonical_and_complete(raw):
    before = config.load(raw).spec("masks", "maskcut")
    raw["masks"]["maskcut"] = dict(reversed(list(raw["masks"]["maskcut"].items())))
    raw["masks"]["maskcut"]["max_masks"] = 3
    assert config.load(raw).spec("masks", "maskcut") == before
    assert json.loads(before)["kind"] == "maskcut"
    assert "graphs" not in json.loads(before)


def test_targets_are_what_recipes_and_benchmarks_ask_for(raw):
    assert config.load(raw).targets == (
        ("control", "cleave3d"),
        ("crowded", "cleave3d"),
        ("crowded", "maskcut"),
    )


def test_provenance_follows_the_references(raw):
    row = config.load(raw).provenance("cleave3d")
    assert {key: row[key] for key in ("graphs", "features", "depth")} == {
        "graphs": "colour",
        "features": "colour",
        "depth": "sensor",
    }


@dataclass(frozen=True, kw_only=True)
class Several:
    """Masks from several graphs."""

    needs: ClassVar = frozenset({"graphs"})


@dataclass(frozen=True, kw_only=True)
class Inside:
    """Masks inside those of another section."""

    needs: ClassVar = frozenset({"features", "masks"})


@pytest.fixture
def composed(raw, monkeypatch) -> dict:
    """A config with a section of several graphs, and one of that section's masks."""
    for kind in (Several, Inside):
        monkeypatch.setitem(PLUGINS["masks"], kind.__name__.lower(), f"{__name__}:{kind.__name__}")
    raw["features"]["position"] = {"kind": "colour", "colour_weight": 0}
    raw["graphs"]["position"] = {**raw["graphs"]["colour"], "features": "position"}
    raw["graphs"]["position"]["kind"] = "cosine"
    raw["masks"]["several"] = {"graphs": ["position", "colour"]}
    raw["masks"]["inside"] = {"features": "colour", "masks": "several"}
    raw["benchmarks"]["crowded"]["masks"] = ["inside"]
    return raw


def test_masks_may_be_made_of_several_graphs_and_of_other_masks(composed):
    loaded = config.load(composed)
    assert set(loaded.parts("inside")) == {
        *(("masks", "several"), ("graphs", "position"), ("graphs", "colour")),
        *(("features", "position"), ("features", "colour")),
    }
    row = loaded.provenance("inside")
    assert row["masks"] == "several"
    assert row["graphs"] == "position + colour"
    assert names_in([row], "features") == ["colour", "position"]


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("several", {"graphs": ["colour", "colour"]}, "names a section twice: colour, colour"),
        ("several", {"graphs": ["colour", "dino"]}, "no 'dino' in graphs"),
        ("several", {"masks": "maskcut"}, "uses no 'masks'"),
        ("inside", {"masks": ["several", "maskcut"]}, "names 2 sections"),
        ("inside", {"masks": "inside"}, "a ring, inside of inside"),
    ],
)
def test_what_composed_masks_refuse(composed, name, change, expected):
    composed["masks"][name].update(change)
    with pytest.raises(ConfigError, match=expected):
        config.load(composed)


def test_a_longer_ring_is_refused(composed):
    composed["masks"]["a"] = {"kind": "inside", "features": "colour", "masks": "b"}
    composed["masks"]["b"] = {"kind": "inside", "features": "colour", "masks": "a"}
    with pytest.raises(ConfigError, match="a ring, a of b of a"):
        config.load(composed)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("mask",), {}, "unknown section 'mask'; did you mean 'masks'?"),
        (("masks", "maskcut", "max_mask"), 3, "did you mean 'max_masks'?"),
        (("masks", "maskcut", "max_masks"), "3", "masks.maskcut.max_masks: input should be"),
        (("masks", "maskcut", "max_masks"), 0, "masks.maskcut.max_masks: input should be"),
        (("masks", "maskcut", "graphs"), "color", "did you mean 'colour'?"),
        (("masks", "maskcut", "graphs"), ["colour", "colour"], "names 2 sections"),
        (("masks", "maskcut", "depth"), "sensor", "uses no 'depth'"),
        (("masks", "cleave3d"), {"graphs": "colour"}, "masks.cleave3d: needs the key 'depth'"),
        (("masks", "maskct"), {"graphs": "colour"}, "did you mean 'maskcut'?"),
        (("masks", "maskcut"), [], "masks.maskcut: expected keys and values"),
        (("masks",), ["maskcut"], "masks: expected named entries"),
        (("masks", "a/b"), {"kind": "maskcut", "graphs": "colour"}, "letters, digits"),
        (("masks", "centre_box"), {"kind": "maskcut", "graphs": "colour"}, "this name is taken"),
        (("datasets", "tables"), {"kind": "scenes"}, "this name is taken"),
        (("datasets", "pretrain"), {"kind": "scenes"}, "this name is taken"),
        (("recipes", "control", "rounds"), 2, "'rounds' needs a 'detector'"),
        (("recipes", "control", "masks"), ["maskcut", "cleave3d"], "names 2 sections"),
        (("benchmarks", "crowded", "dataset"), "crowd", "did you mean 'crowded'?"),
        (("benchmarks", "crowded", "masks"), [], "names nothing"),
    ],
)
def test_refused(raw, path, value, expected):
    with pytest.raises(ConfigError) as error:
        config.load(changed(raw, path, value))
    assert expected in str(error.value)


@pytest.mark.parametrize("empty", [None, {}, [], "text"])
def test_empty_config_is_refused(empty):
    with pytest.raises(ConfigError, match="the config is empty"):
        config.load(empty)


def test_all_errors_come_at_once(raw):
    raw["masks"]["maskcut"]["x"] = 1
    raw["depth"]["sensor"]["noise"] = 3
    with pytest.raises(ConfigError) as error:
        config.load(raw)
    assert "masks.maskcut" in str(error.value)
    assert "depth.sensor.noise" in str(error.value)


@pytest.mark.parametrize(
    "path",
    [
        REPOSITORY / "config.yaml",
        REPOSITORY / "src/cleave/commands/segment.yaml",
        *sorted((REPOSITORY / "workflow/presets").glob("*.yaml")),
    ],
    ids=lambda p: p.name,
)
def test_committed_configs_are_valid(path):
    config.load(yaml.safe_load(path.read_text()))


def test_features_that_name_a_pretraining_of_another_kind_are_refused(raw):
    raw["pretrain"] = {"learned": {"kind": "neighbour_lda", "dataset": "crowded"}}
    raw["features"] |= {"words": {"kind": "kmeans", "pretrain": "learned"}}
    config.load(raw)
    raw["features"] |= {"vit": {"kind": "rotary", "pretrain": "learned"}}
    with pytest.raises(
        ConfigError, match=r"features\.vit\.pretrain: learned is of kind 'neigh.*'rot"
    ):
        config.load(raw)


def test_a_benchmark_compares_with_a_row_of_its_own(raw):
    for against in ("maskcut", "centre_box"):
        raw["benchmarks"]["crowded"]["against"] = against
        config.load(raw)
    raw["benchmarks"]["crowded"]["against"] = "maskcuts"
    with pytest.raises(
        ConfigError, match=r"crowded\.against: no row 'maskcuts'; did you mean 'maskc"
    ):
        config.load(raw)
    raw["benchmarks"]["crowded"] |= {"against": "maskcut", "bootstrap": 0}
    with pytest.raises(ConfigError, match="differences need resamples"):
        config.load(raw)
