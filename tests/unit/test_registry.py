"""The table of plugins: names that lead to classes, imported when they are asked for."""

import ast
import dataclasses
import inspect
import subprocess
import sys

import pytest

from cleave import registry
from cleave.config import SECTIONS
from cleave.registry import PLUGINS, lookup, make
from cleave.sections import plugin_kind
from cleave.spec import ConfigError

ALL = [(section, kind) for section, kinds in PLUGINS.items() for kind in kinds]


@pytest.mark.parametrize(("section", "kind"), ALL)
def test_every_name_leads_to_a_plugin(section, kind):
    plugin = lookup(section, kind, section)
    assert dataclasses.is_dataclass(plugin)
    assert plugin.__dataclass_params__.frozen
    assert all(each.kw_only for each in dataclasses.fields(plugin))
    assert inspect.getdoc(plugin)
    assert not inspect.getdoc(plugin).startswith(plugin.__name__ + "(")  # dataclass's own


def test_sections_are_those_of_the_config():
    assert PLUGINS.keys() == set(SECTIONS) - {"recipes"}


def test_no_name_is_given_twice():
    """A dict display keeps the last of two equal keys without a word."""
    tree = ast.parse(inspect.getsource(registry))
    for table in (node for node in ast.walk(tree) if isinstance(node, ast.Dict)):
        keys = [key.value for key in table.keys if isinstance(key, ast.Constant)]
        assert len(keys) == len(set(keys))
    for kinds in PLUGINS.values():
        assert len(set(kinds.values())) == len(kinds)


def test_the_name_of_a_plugin_is_found_again():
    flat = make("depth", {"kind": "flat"})
    assert plugin_kind("depth", flat) == "flat"


@pytest.mark.parametrize("kind", ["flatt", "", None, 3, ["flat"], {"flat": 1}, True])
def test_an_unknown_kind_lists_those_there_are(kind):
    with pytest.raises(ConfigError) as error:
        make("depth", {"kind": kind}, "depth.mine")
    assert str(error.value).startswith(f"depth.mine: no kind {kind!r} of depth; ")
    assert str(error.value).endswith("valid: " + ", ".join(sorted(PLUGINS["depth"])))


def test_a_spec_needs_its_kind():
    with pytest.raises(ConfigError, match=r"^depth: needs the key 'kind'; valid: .*flat"):
        make("depth", {})


def test_the_table_imports_no_plugin():
    code = (
        "import sys, cleave.config, cleave.registry; "
        "print([m for m in sys.modules if m.startswith('cleave.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {module.split(".")[1] for module in ast.literal_eval(done.stdout)}
    settings = {"rounds", "networks", "rcnn", "training"}  # dataclasses that a recipe is built from
    allowed = {"config", "sections", "references", "registry", "spec", "types", "paths"}
    assert packages - settings <= allowed
