"""Config sections to plugin dataclasses and back: strict, with errors that say what to write.

A plugin is a frozen dataclass; its fields are the keys of its config section. Validation is
pydantic's (strict, JSON mode, so a list is a tuple and "3" is no number); this file words the
errors and adds the nearest valid name.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from cleave.types import CleaveError

T = TypeVar("T")


class ConfigError(CleaveError):
    """A config value that cannot be used; the text names the section, the key and what is valid."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause naming the valid choice most like `name`, then all of them."""
    known = sorted(map(str, known))
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}valid: {', '.join(known) or 'none'}"


def build(plugin: type[T], section: Mapping[str, Any], where: str) -> T:
    """Makes `plugin` from its config section.

    Args:
        plugin: a dataclass; constraints stand in its annotations (`Annotated[int, Gt(0)]`).
        section: key to value, as YAML or JSON gives it.
        where: the section's place for error texts, like ``masks.maskcut``.

    Raises:
        ConfigError: unknown key, missing key, wrong type or value out of range.
    """
    fields = {f.name for f in dataclasses.fields(plugin)}
    for key in section:
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {key!r}; {nearest(key, fields)}")
    text = _json(section, where)
    try:
        return _adapter(plugin).validate_json(text, strict=True)
    except ValidationError as error:
        lines = [_describe(where, plugin, section, item) for item in error.errors()]
        raise ConfigError("\n".join(lines)) from None
    except CleaveError as error:  # raised by the plugin's own __post_init__
        raise ConfigError(f"{where}: {error}") from None


def _adapter(plugin: type) -> TypeAdapter:
    if "__pydantic_config__" not in vars(plugin):
        plugin.__pydantic_config__ = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    return TypeAdapter(plugin)


def _json(section: Mapping[str, Any], where: str) -> str:
    items = []
    for key, value in section.items():
        try:
            text = json.dumps(value, allow_nan=False, ensure_ascii=False)
            text.encode()  # refuses half of a surrogate pair
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"{where}.{key}: not a plain value ({error})") from None
        items.append(f"{json.dumps(key)}:{text}")
    return f"{{{','.join(items)}}}"


def _describe(where: str, plugin: type, section: Mapping[str, Any], item: Mapping[str, Any]) -> str:
    path = _path(section, item)
    if item["type"] == "unexpected_keyword_argument":
        known = {field.name for field in dataclasses.fields(_nested(plugin, path[:-1]))}
        place = ".".join([where, *path[:-1]])
        return f"{place}: unknown key {path[-1]!r}; {nearest(path[-1], known)}"
    key = ".".join([where, *path])
    given = "" if item["type"] == "missing" else f", got {item['input']!r}"
    return f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}{given}"


def _path(section: Mapping[str, Any], item: Mapping[str, Any]) -> list[str]:
    """Keys and positions that lead to an error, without the branches of unions that pydantic names.

    They are what is there when one walks along, and what is missing at the end.
    """
    value: Any = section
    path = []
    for part in item["loc"]:
        inside = part in value if isinstance(value, Mapping) else False
        if isinstance(value, list | tuple) and isinstance(part, int):
            inside = part < len(value)
        if inside:
            value = value[part]
        if inside or (item["type"] == "missing" and part == item["loc"][-1]):
            path.append(str(part))
    return path


def _nested(plugin: type, path: Iterable[str]) -> type:
    """The dataclass that stands at the end of a path of fields."""
    for name in path:
        hint = get_type_hints(plugin).get(name)  # none for a position in a list
        plugin = next((t for t in (hint, *get_args(hint)) if dataclasses.is_dataclass(t)), plugin)
    return plugin


def to_mapping(plugin: Any) -> dict[str, Any]:
    """The section that would build this plugin again, every default written out."""
    values = {f.name: getattr(plugin, f.name) for f in dataclasses.fields(plugin)}
    return to_jsonable_python(values)


def canonical(section: Mapping[str, Any]) -> str:
    """JSON that is equal for equal sections, whatever the order of their keys."""
    return json.dumps(section, sort_keys=True, separators=(",", ":"), allow_nan=False)
