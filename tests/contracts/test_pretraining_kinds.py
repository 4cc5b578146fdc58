"""What every kind of pre-training must do, tested from the registry."""

import dataclasses

import pytest

from cleave.registry import PLUGINS, lookup, make
from cleave.spec import ConfigError, build, to_mapping

KINDS = sorted(PLUGINS["pretrain"])


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_build_and_the_spec_comes_back(kind):
    plugin = make("pretrain", {"kind": kind})
    fields = to_mapping(plugin)
    assert build(lookup("pretrain", kind, kind), fields, kind) == plugin
    assert callable(plugin.learn)
    assert type(plugin).__doc__


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_key_is_refused_with_the_nearest(kind):
    name = dataclasses.fields(lookup("pretrain", kind, kind))[0].name
    with pytest.raises(ConfigError, match=f"unknown key '{name}x'; did you mean '{name}'"):
        make("pretrain", {"kind": kind, f"{name}x": 1}, f"pretrain.{kind}")


@pytest.mark.parametrize("kind", KINDS)
def test_some_backbone_reads_what_it_learns(kind):
    backbones = [lookup("features", name, name) for name in PLUGINS["features"]]
    assert kind in {getattr(backbone, "learned_by", None) for backbone in backbones}
