"""Rounds of a recipe: each says what differs from the one before it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import yaml
from config_places import changed

from cleave import config
from cleave.rounds import merged, parse
from cleave.spec import ConfigError

TINY = yaml.safe_load((Path(__file__).resolve().parents[1] / "configs/tiny.yaml").read_text())


@pytest.fixture
def raw() -> dict:
    raw = copy.deepcopy(TINY)
    raw["detectors"] = {"small": {"kind": "mask_rcnn"}, "wide": {"kind": "mask_rcnn"}}
    raw["recipes"]["learned"] = {
        "dataset": "crowded",
        "masks": "maskcut",
        "detector": "small",
        "training": {"steps": 8, "warmup_steps": 0, "batch": 4},
        "rounds": [
            {"training": {"learning_rate": 0.005}, "losses": {"drop_loss": False}},
            {"relabel": {"threshold": 0.65}},
        ],
    }
    raw["benchmarks"]["crowded"]["recipes"] = "learned"
    return raw


def test_a_round_inherits_what_it_does_not_say():
    entry = {
        "seed": 3,
        "training": {"steps": 9, "warmup_steps": 0},
        "rounds": [{"training": {"batch": 8}}, {"dataset": "b", "relabel": {"merge": False}}],
    }
    first, second, third = parse(entry, "a", "small", "recipes.x")
    assert (first.learn.training.steps, first.learn.training.batch) == (9, 16)
    assert (second.learn.training.steps, second.learn.training.batch) == (9, 8)
    assert third.learn == second.learn
    assert [r.dataset for r in (first, second, third)] == ["a", "a", "b"]
    assert first.relabel is None
    assert second.relabel.merge
    assert not third.relabel.merge
    assert all(r.learn.seed == 3 for r in (first, second, third))


def test_merged_replaces_lists_and_merges_mappings():
    old = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert merged(old, {"a": {"y": [3]}, "c": 2}) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": 2}
    assert old == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"steps": 3}, "recipes.x: unknown key 'steps'"),
        ({"training": {"step": 3}}, "recipes.x.training: unknown key 'step'; did you mean 'steps'"),
        ({"rounds": 2}, "recipes.x.rounds: expected a list, got 2"),
        ({"rounds": [3]}, "recipes.x.rounds[1]: expected keys and values"),
        ({"rounds": [{"masks": "a"}]}, "recipes.x.rounds[1]: unknown key 'masks'"),
        ({"rounds": [{"relabel": {"threshold": 2}}]}, "recipes.x.rounds[1].relabel.threshold"),
        ({"rounds": [{"relabel": 0.7}]}, "recipes.x.rounds[1].relabel: expected keys"),
        ({"rounds": [{}, {"dataset": "b"}]}, "recipes.x.rounds[2]: b has no masks of the round"),
        ({"losses": {"trust_loss": True}}, "needs augment.trust"),
    ],
)
def test_refused(entry, expected):
    with pytest.raises(ConfigError) as error:
        parse(entry, "a", "small", "recipes.x")
    assert expected in str(error.value)


def test_rounds_stand_beside_the_masks(raw):
    loaded = config.load(raw)
    assert loaded.shown("crowded") == (
        "maskcut",
        "cleave3d",
        "learned.round0",
        "learned.round1",
        "learned.round2",
    )
    assert ("crowded", "learned.round2") in loaded.targets
    row = loaded.provenance("learned.round1")
    expected = {"masks": "maskcut", "detector": "small", "round": 1, "recipe": "learned"}
    assert expected.items() <= row.items()
    raw["benchmarks"]["crowded"]["recipes"] = ["learned.round1"]
    assert config.load(raw).shown("crowded")[2:] == ("learned.round1",)


def test_a_later_round_changes_no_spec_before_it(raw):
    before = config.load(raw)
    raw["recipes"]["learned"]["rounds"].append({"relabel": {"threshold": 0.6}})
    after = config.load(raw)
    for number in range(3):
        assert before.train_spec("learned", number) == after.train_spec("learned", number)
    assert before.relabel_spec("learned", 2) == after.relabel_spec("learned", 2)


def test_training_does_not_depend_on_how_one_predicts(raw):
    before = config.load(raw)
    raw["detectors"]["small"]["min_side"] = 640
    after = config.load(raw)
    assert before.train_spec("learned", 0) == after.train_spec("learned", 0)
    assert before.relabel_spec("learned", 1) != after.relabel_spec("learned", 1)
    assert before.detect_spec("learned.round0") != after.detect_spec("learned.round0")


def test_labels_are_made_by_the_detector_of_the_round_before(raw):
    raw["detectors"]["wide"]["rpn_nms"] = 0.7
    raw["recipes"]["learned"]["rounds"][0]["detector"] = "wide"
    loaded = config.load(raw)
    assert json.loads(loaded.relabel_spec("learned", 1))["detector"]["rpn_nms"] == 0.65
    assert json.loads(loaded.relabel_spec("learned", 2))["detector"]["rpn_nms"] == 0.7
    assert loaded.provenance("learned.round2")["detector"] == "wide"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("recipes", "learned", "detector"), "smal", "did you mean 'small'?"),
        (("recipes", "learned", "rounds"), [{"dataset": "x", "relabel": {"merge": False}}],
         "recipes.learned.rounds[1].dataset: no 'x' in datasets"),
        (("recipes", "learned", "rounds"), [{"detector": "x"}],
         "recipes.learned.rounds[1].detector: no 'x' in detectors"),
        (("benchmarks", "crowded", "recipes"), "control", "no 'control' in recipes"),
        (("benchmarks", "crowded", "recipes"), "learned.round3", "no 'learned.round3' in recipes"),
        (("benchmarks", "crowded"), {"dataset": "crowded"}, "needs the key 'masks' or 'recipes'"),
        (("masks", "learned.round1"), {"kind": "maskcut", "graphs": "colour"}, "is taken"),
        (("recipes", "control", "training"), {"steps": 3}, "'training' needs a 'detector'"),
    ],
)  # fmt: skip
def test_refused_by_the_config(raw, path, value, expected):
    with pytest.raises(ConfigError) as error:
        config.load(changed(raw, path, value))
    assert expected in str(error.value)


def test_losses_are_those_of_the_detectors_kind(raw):
    raw["detectors"]["wide"] = {"kind": "solov2"}
    recipe = raw["recipes"]["learned"] | {"detector": "wide"}
    raw["recipes"]["learned"] = recipe | {
        "losses": {"dice_weight": 0, "axis_max_weight": 1.0},
        "rounds": [{"losses": {"soft_targets": True}}],
    }
    first, second = config.load(raw)["recipes"]["learned"].rounds
    assert first.learn.losses.axis_max_weight == second.learn.losses.axis_max_weight == 1
    assert (first.learn.losses.soft_targets, second.learn.losses.soft_targets) == (False, True)
    for wrong in ("drop_loss", "trust_loss"):
        raw["recipes"]["learned"] = recipe | {"losses": {wrong: True}, "rounds": []}
        with pytest.raises(ConfigError, match=rf"learned\.losses: unknown key '{wrong}'"):
            config.load(raw)
    raw["recipes"]["learned"] = recipe | {"rounds": [{"detector": "wider"}]}
    with pytest.raises(ConfigError, match=r"rounds\[1\]\.detector: no 'wider'.*'wide'"):
        config.load(raw)


def test_what_trains_is_read_back_with_the_detectors_own_losses():
    from cleave.rounds import learning, train_spec
    from cleave.solo.settings import Losses
    from cleave.spec import build

    entry = {"losses": {"colour_weight": 1.0}}
    (first,) = parse(entry, "a", "b", "recipes.x", lambda *_: Losses)
    spec = train_spec(first, {"kind": "solov2"})
    assert build(learning(Losses), json.loads(json.dumps(spec["learn"])), "learn") == first.learn
