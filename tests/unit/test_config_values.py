"""Any value in any place of a config: it is used, or refused with its section; never a bug."""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from config_places import changed
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave import config
from cleave.config import SECTIONS
from cleave.registry import make
from cleave.spec import ConfigError
from cleave.types import CleaveError

FOLDER = Path(__file__).resolve().parents[1] / "configs"
NAMES = ("tiny", "learner", "pretrain", "neighbour_lda")
EXAMPLES = int(os.environ.get("CLEAVE_EXAMPLES", "60"))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 6) | st.just(10**30),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["", "auto", "3", "true", "null", "~nobody/x", "\x00", "a\nb", "..", "\ud800"]),
    st.just(b"x") | st.just(datetime.date(2024, 1, 1)) | st.just({1, 2}),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "steps", "x", 1, None]), inner, max_size=2)
    ),
    max_leaves=4,
)


def full(raw: dict) -> dict:
    """The config with every default of its plugins and of its recipes' first rounds written out."""
    loaded = config.load(raw)
    filled: dict[str, dict[str, Any]] = {}
    for kind in SECTIONS:
        for name, section in loaded[kind].items():
            entry = dict(raw[kind][name] or {})
            entry |= section.mapping if section.plugin is not None else {}
            entry |= json.loads(loaded.train_spec(name, 0))["learn"] if section.rounds else {}
            filled.setdefault(kind, {})[name] = entry
    return filled


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Every place of a config, from whole sections to single numbers."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else ()
    for key, item in inner or enumerate(value if isinstance(value, list) else ()):
        yield from places(item, (*path, key))


@cache
def configs() -> dict[str, tuple[dict, tuple[tuple, ...]]]:
    """A config for each kind of section with everything in it, and its places."""
    filled = {n: full(yaml.safe_load((FOLDER / f"{n}.yaml").read_text())) for n in NAMES}
    return {name: (raw, tuple(places(raw))) for name, raw in filled.items()}


def test_the_configs_name_every_kind_of_section_and_hundreds_of_places():
    assert {kind for raw, _ in configs().values() for kind in raw} == set(SECTIONS)
    assert sum(len(found) for _, found in configs().values()) > 400
    assert all(config.load(raw) for raw, _ in configs().values())


@settings(deadline=None, max_examples=EXAMPLES)
@given(st.sampled_from(NAMES), st.data())
def test_any_value_anywhere_is_used_or_refused_with_its_section(name, data):
    raw, found = configs()[name]
    path, value = data.draw(st.sampled_from(found)), data.draw(VALUES)
    try:
        loaded = config.load(changed(raw, path, value))
        told = loaded.summary() and "config"
        for recipe, section in loaded["recipes"].items():
            assert [loaded.train_spec(recipe, round_.number) for round_ in section.rounds] or True
    except ConfigError as error:
        told = re.match(r"\w+", str(error))[0]
    assert told in {*SECTIONS, "config", "the"}  # "the config is empty"


FILES = "~nobody_at_all/x", "\x00", "a\x00b", "x" * 300, "x/" * 3000, "\n", "/dev/null", ""


@pytest.mark.parametrize("value", FILES, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize(
    ("section", "spec", "key"),
    [
        ("datasets", {"kind": "folder", "root": "."}, "root"),
        ("datasets", {"kind": "folder", "root": "."}, "list_file"),
        ("datasets", {"kind": "coco", "images": ".", "annotations": "."}, "images"),
        ("datasets", {"kind": "coco", "images": ".", "annotations": "."}, "annotations"),
        ("depth", {"kind": "files", "root": "."}, "root"),
    ],
)
def test_names_of_files_that_cannot_be(tmp_path, monkeypatch, section, spec, key, value):
    """What the plan asks of a data set before any job is started."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CleaveError, match=r"\S"):
        look(section, {**spec, key: value})


def look(section: str, spec: dict) -> None:
    plugin = make(section, spec, f"{section}.mine")
    plugin.list(0) if hasattr(plugin, "list") else plugin.fingerprint()
