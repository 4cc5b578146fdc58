"""Settings of a training, its learning rates, and the places of the batch."""

from __future__ import annotations

import pytest

from cleave.spec import ConfigError, build, to_mapping
from cleave.training.schedule import learning_rate, peak_rate, slots
from cleave.training.settings import Training


def test_defaults_are_cutlers_initial_round():
    settings = Training()
    assert build(Training, to_mapping(settings), "training") == settings
    assert peak_rate(settings) == 0.01
    assert learning_rate(0, settings) == pytest.approx(1e-5)
    assert learning_rate(500, settings) == pytest.approx(0.01 * 0.5005)
    assert learning_rate(1000, settings) == learning_rate(79_999, settings) == 0.01
    assert learning_rate(80_000, settings) == learning_rate(159_999, settings) == 2e-4


def test_a_decay_inside_the_warm_up_is_what_it_rises_to():
    """detectron2: the warm-up ends at the value that the schedule has there."""
    settings = Training(steps=20, warmup_steps=10, warmup_factor=0.1, decay_steps=(5, 15),
                        gamma=0.5, learning_rate=1.0)  # fmt: skip
    rates = [learning_rate(step, settings) for step in range(20)]
    assert rates[:10] == pytest.approx([0.1 + 0.04 * step for step in range(10)])
    assert rates[10:] == [0.5] * 5 + [0.25] * 5


def test_no_warm_up_starts_at_the_peak():
    assert learning_rate(0, Training(warmup_steps=0)) == 0.01


@pytest.mark.parametrize(("batch", "scale", "rate"), [
    (64, "linear", 0.04), (2, "linear", 0.00125), (64, "none", 0.01),
])  # fmt: skip
def test_the_rate_follows_the_batch_by_the_rule(batch, scale, rate):
    assert peak_rate(Training(batch=batch, scale=scale)) == pytest.approx(rate)


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (1, 3), (2, 3), (6, 2)])
def test_each_place_is_seen_once(world, accumulate):
    settings = Training(batch=12, processes=world, accumulate=accumulate)
    seen = [
        list(slots(settings, rank, world, micro))
        for rank in range(world)
        for micro in range(accumulate)
    ]
    assert [place for part in seen for place in part] == list(range(12))
    assert {len(part) for part in seen} == {settings.micro_batch}


@pytest.mark.parametrize(("section", "words"), [
    ({"batch": 10, "processes": 4}, "batch 10 cannot be dealt evenly to processes 4"),
    ({"batch": 8, "accumulate": 3}, "accumulate 3"),
    ({"steps": 300}, "warmup_steps 1000 are more than steps 300"),
    ({"decay_steps": [5, 3]}, "ascending"),
    ({"momentum": 1.0}, r"training\.momentum"),
    ({"scale": "square"}, r"training\.scale"),
    ({"step": 3}, "did you mean 'steps'"),
])  # fmt: skip
def test_wrong_settings_are_refused(section, words):
    with pytest.raises(ConfigError, match=words):
        build(Training, section, "training")


def test_operation_is_no_part_of_the_result():
    one = Training(workers=0, checkpoint_every=5)
    assert one.result() == Training().result() != Training(accumulate=2).result()
