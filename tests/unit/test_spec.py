"""Config sections to dataclasses: what stands there fits, or a ConfigError says why not."""

import dataclasses
import datetime
import json
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Interval, MinLen
from hypothesis import example, given
from hypothesis import strategies as st

from cleave.config import SECTIONS, load
from cleave.registry import PLUGINS, lookup
from cleave.spec import ConfigError, build, canonical, nearest, to_mapping


@dataclass(frozen=True, kw_only=True)
class Part:
    width: Annotated[int, Gt(0)] = 3
    share: Annotated[float, Interval(ge=0, le=1)] = 0.5


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A field of every type that plugins have."""

    name: str
    count: Annotated[int, Ge(0)] = 4
    scale: Annotated[float, Gt(0)] = 1.5
    loud: bool = False
    rule: Literal["fixed", "density"] = "fixed"
    limit: float | None = None
    file: str | None = None
    either: int | Literal["auto"] = "auto"
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[float, float] = (0.1, 2.0)
    labels: Annotated[tuple[str, ...], MinLen(1)] = ("a",)
    part: Part = field(default_factory=Part)
    parts: tuple[Part, ...] = ()

    def __post_init__(self):
        if self.limit is not None and self.limit < self.scale:
            raise ConfigError(f"limit: {self.limit} is below scale {self.scale}")


def whole(value):
    return type(value) is int


def number(value):
    return whole(value) or type(value) is float


def several(fits):
    return lambda value: isinstance(value, list | tuple) and all(map(fits, value))


def part(value):
    if not isinstance(value, dict) or not value.keys() <= {"width", "share"}:
        return False
    width, share = value.get("width", 1), value.get("share", 0)
    return whole(width) and width > 0 and number(share) and 0 <= share <= 1


# What fits a field, said without pydantic.
FITS = {
    "name": lambda v: isinstance(v, str),
    "count": lambda v: whole(v) and v >= 0,
    "scale": lambda v: number(v) and v > 0,
    "loud": lambda v: isinstance(v, bool),
    "rule": lambda v: v in ("fixed", "density") and isinstance(v, str),
    "limit": lambda v: v is None or (number(v) and v >= 1.5),
    "file": lambda v: v is None or isinstance(v, str),
    "either": lambda v: whole(v) or (isinstance(v, str) and v == "auto"),
    "sizes": several(whole),
    "pair": lambda v: several(number)(v) and len(v) == 2,
    "labels": lambda v: several(lambda s: isinstance(s, str))(v) and len(v) > 0,
    "part": part,
    "parts": several(part),
}

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 6),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.sampled_from(["fixed", "auto", "1", "true", "null", "", "0.5", "yes"]),
)
KEYS = st.sampled_from(["width", "share", "witdh", "kind", ""]) | TEXT
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(FITS)), PLAIN)
@example("scale", 1)
@example("count", 1.0)
@example("pair", [0, 1])
@example("either", True)
@example("sizes", [True])
@example("part", {"width": 2, "share": 1})
@example("parts", [{"width": 2}, {"share": 0.1}])
def test_a_value_fits_or_is_refused_by_its_place(name, value):
    section = {"name": "x"} | {name: value}
    if FITS[name](value):
        toy = build(Toy, section, "toys.mine")
        assert build(Toy, to_mapping(toy), "toys.mine") == toy
        found = to_mapping(toy)[name]
        if name not in ("part", "parts"):
            assert found == (list(value) if isinstance(value, tuple) else value)
    else:
        with pytest.raises(ConfigError) as error:
            build(Toy, section, "toys.mine")
        for line in str(error.value).splitlines()[:1]:
            assert line.startswith(("toys.mine." + name, "toys.mine: " + name))


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        [1.0, float("-inf")],
        datetime.date(2024, 1, 1),
        b"bytes",
        {1, 2},
        object(),
        "half a pair \ud800",
        {"width": b"x"},
        {(1, 2): 3},
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("name", sorted(FITS))
def test_what_json_cannot_hold_is_refused_by_its_place(name, value):
    with pytest.raises(ConfigError, match=rf"^toys\.mine\.{name}: not a plain value"):
        build(Toy, {"name": "x"} | {name: value}, "toys.mine")


def test_a_list_that_holds_itself_is_refused():
    value: list = []
    value.append(value)
    with pytest.raises(ConfigError, match=r"^toys\.mine\.sizes: not a plain value"):
        build(Toy, {"name": "x", "sizes": value}, "toys.mine")


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({}, "toys.mine.name: field required"),
        (
            {"name": "x", "coutn": 1},
            "toys.mine: unknown key 'coutn'; did you mean 'count'? ",
        ),
        ({"name": "x", 3: 1}, "toys.mine: unknown key 3; valid: count, "),
        ({"name": "x", "count": "4"}, "toys.mine.count: input should be a valid integer, got '4'"),
        ({"name": "x", "count": -1}, "toys.mine.count: input should be greater than or equal to 0"),
        ({"name": "x", "rule": "fix"}, "toys.mine.rule: input should be 'fixed' or 'density'"),
        ({"name": "x", "sizes": [1, "2"]}, "toys.mine.sizes.1: input should be a valid integer"),
        ({"name": "x", "pair": [1]}, "toys.mine.pair.1: field required"),
        ({"name": "x", "part": {"width": 0}}, "toys.mine.part.width: input should be greater"),
        (
            {"name": "x", "part": {"widht": 1}},
            "toys.mine.part: unknown key 'widht'; did you mean 'width'? valid: share, width",
        ),
        (
            {"name": "x", "parts": [{}, {"shape": 1}]},
            "toys.mine.parts.1: unknown key 'shape'; did you mean 'share'? valid: share, width",
        ),
        ({"name": "x", "parts": [{"width": "w"}]}, "toys.mine.parts.0.width: input should be a"),
        ({"name": "x", "limit": 1.0}, "toys.mine: limit: 1.0 is below scale 1.5"),
    ],
)
def test_errors_say_what_and_where(section, expected):
    with pytest.raises(ConfigError) as error:
        build(Toy, section, "toys.mine")
    assert str(error.value).startswith(expected)


def test_all_wrong_values_are_told_at_once():
    with pytest.raises(ConfigError) as error:
        build(Toy, {"count": "4", "loud": 1, "part": {"width": 0, "share": 2}}, "toys.mine")
    places = [line.partition(":")[0] for line in str(error.value).splitlines()]
    expected = ["name", "count", "loud", "part.width", "part.share"]
    assert sorted(places) == sorted(f"toys.mine.{name}" for name in expected)


def test_defaults_are_written_out():
    mapping = to_mapping(build(Toy, {"name": "x"}, "toys.mine"))
    assert mapping.keys() == {f.name for f in dataclasses.fields(Toy)}
    assert json.loads(canonical(mapping)) == mapping
    assert mapping["sizes"] == [1, 2]
    assert mapping["part"] == {"width": 3, "share": 0.5}


@given(st.dictionaries(TEXT, PLAIN, max_size=4), st.randoms())
def test_canonical_text_does_not_depend_on_order(section, random):
    items = list(section.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(section)
    assert json.loads(canonical(section)) == section


def test_nearest_names_all_there_is():
    assert nearest("maskut", ["tokencut", "maskcut"]) == (
        "did you mean 'maskcut'? valid: maskcut, tokencut"
    )
    assert nearest("x", []) == "valid: none"


REGISTERED = [
    (section, kind, each.name)
    for section, kinds in sorted(PLUGINS.items())
    for kind in sorted(kinds)
    for each in dataclasses.fields(lookup(section, kind, section))
]


@given(st.sampled_from(REGISTERED), PLAIN)
def test_no_value_of_a_registered_plugin_does_anything_else(place, value):
    section, kind, name = place
    plugin = lookup(section, kind, section)
    required = {
        f.name: "x"
        for f in dataclasses.fields(plugin)
        if f.default is f.default_factory is dataclasses.MISSING
    }
    try:
        made = build(plugin, required | {name: value}, "section.mine")
    except ConfigError as error:
        place = str(error)
    else:
        place = "section.mine"
        assert build(plugin, to_mapping(made), "section.mine") == made
    assert place.startswith("section.mine")


NAMES = st.sampled_from(["a", "maskcut", "colour", "scenes", "flat", "coco", "a b", "images"])
VALUES = PLAIN | NAMES | st.lists(NAMES, max_size=2)
ENTRY = st.dictionaries(
    st.sampled_from(
        ["kind", "dataset", "features", "depth", "graphs", "masks", "flavour", "count"]
    ),
    VALUES,
    max_size=4,
)
CONFIGS = st.dictionaries(
    st.sampled_from([*SECTIONS, "mask", ""]) | st.integers(0, 2),
    PLAIN | st.dictionaries(NAMES | st.integers(0, 2), ENTRY | PLAIN, max_size=3),
    max_size=5,
)


@given(CONFIGS)
@example({"masks": {"maskcut": {"kind": ["a"], "graphs": {"a": 1}}}})
@example({"features": {1: {"kind": "colour"}}, "graphs": {2: {"kind": "cosine", "features": 1}}})
def test_a_config_of_any_shape_is_valid_or_refused_with_sections(raw):
    try:
        place = load(raw).summary() and "config"
    except ConfigError as error:
        place = re.match(r"\w+", str(error))[0]
    assert place in {*SECTIONS, "config", "the"}  # "the config is empty"


def test_a_facet_that_features_lack_is_refused_before_they_are_made():
    features = {"vit": {"facets": ["key", "value"]}, "colour": {}}
    graph = {"kind": "cosine", "features": "vit", "facet": "value"}
    load({"features": features, "graphs": {"mine": graph}})
    with pytest.raises(ConfigError) as error:
        load({"features": features, "graphs": {"mine": graph | {"features": "colour"}}})
    assert str(error.value) == "graphs.mine.facet: colour has no 'value'; valid: key"
