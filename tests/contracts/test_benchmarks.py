"""What every registered benchmark must do; a new one is tested the moment it is registered."""

import json

import numpy as np
import pytest

from cleave.benchmarks.truth import Truth
from cleave.io.atomic import write_json
from cleave.registry import PLUGINS, lookup, make
from cleave.spec import ConfigError, build, canonical, to_mapping
from cleave.types import DataError, MaskSet, Size

SIZES = {
    "a": Size(40, 60),
    "b": Size(60, 40),
    "c": Size(1, 1),
    "d": Size(3, 300),
    "e": Size(40, 40),
}

COUNTS = {"images", "objects", "objects_single", "objects_multi", "masks_per_image"}


@pytest.fixture(params=sorted(PLUGINS["benchmarks"]))
def kind(request):
    return request.param


def truths():
    """Images of all shapes; one has no object, one only crowds."""
    rng = np.random.default_rng(0)
    found = {}
    for image, size in SIZES.items():
        count = 0 if image == "b" else 2
        masks = rng.random((count, *size)) < 0.5
        masks[:, 0, 0] = True
        crowd = np.full(count, image == "e")
        found[image] = Truth.of_masks(size, masks, ["thing"] * count, crowd)
    return found


def perfect():
    return {
        image: MaskSet(truth.size, truth.masks, np.linspace(1, 0.5, len(truth)))
        for image, truth in truths().items()
    }


def test_builds_from_its_defaults_and_back(kind):
    plugin = make("benchmarks", {"kind": kind})
    section = to_mapping(plugin)
    again = build(lookup("benchmarks", kind, "test"), json.loads(canonical(section)), "test")
    assert again == plugin


def test_an_unknown_key_is_refused_with_the_nearest_valid_one(kind):
    key = next(iter(to_mapping(make("benchmarks", {"kind": kind}))))
    with pytest.raises(ConfigError, match=f"did you mean '{key}'"):
        make("benchmarks", {"kind": kind, f"{key}x": 1})


def test_scores_are_plain_numbers_and_the_same_every_time(kind, tmp_path):
    benchmark = make("benchmarks", {"kind": kind})
    scores = benchmark(truths(), perfect())
    assert scores
    assert all(type(value) is float and np.isfinite(value) for value in scores.values())
    write_json(tmp_path / "scores.json", scores)  # refuses NaN
    assert make("benchmarks", {"kind": kind})(truths(), perfect()) == scores


def test_percentages_lie_in_their_range_and_inside_their_interval(kind):
    scores = make("benchmarks", {"kind": kind})(truths(), perfect())
    bare = {name for name in scores if not name.endswith(("_low", "_high"))}
    for name in bare - COUNTS:
        assert 0 <= scores[name] <= 100
    with_interval = {name for name in bare if f"{name}_low" in scores}
    assert with_interval
    for name in with_interval:
        assert scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"]
    assert scores["images"] == len(SIZES)


def test_a_data_set_without_labels_is_refused(kind):
    plugin = make("benchmarks", {"kind": kind})
    plugin.check_truth("masks")
    with pytest.raises(ConfigError, match="dataset: it has no ground truth"):
        plugin.check_truth(None)


def test_perfect_masks_beat_none_and_none_is_zero(kind):
    benchmark = make("benchmarks", {"kind": kind})
    best, none = benchmark(truths(), perfect()), benchmark(truths(), {})
    metrics = {name for name in none if not name.endswith(("_low", "_high"))} - COUNTS
    assert metrics
    for name in metrics:
        assert none[name] == 0
        assert best[name] > 0


def test_the_order_of_the_images_does_not_matter(kind):
    benchmark = make("benchmarks", {"kind": kind})
    turned = dict(reversed(truths().items())), dict(reversed(perfect().items()))
    assert benchmark(*turned) == benchmark(truths(), perfect())


def test_masks_of_a_stranger_are_refused(kind):
    with pytest.raises(DataError, match="stranger"):
        make("benchmarks", {"kind": kind})(truths(), {"stranger": MaskSet.empty(Size(2, 2))})
