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
from typing import Any, TypeVar

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
    try:
        text = json.dumps(section, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: not a plain value: {error}") from None
    try:
        return _adapter(plugin).validate_json(text, strict=True)
    except ValidationError as error:
        lines = [_describe(where, section, item) for item in error.errors()]
        raise ConfigError("\n".join(lines)) from None
    except CleaveError as error:  # raised by the plugin's own __post_init__
        raise ConfigError(f"{where}: {error}") from None


def _adapter(plugin: type) -> TypeAdapter:
    if "__pydantic_config__" not in vars(plugin):
        plugin.__pydantic_config__ = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    return TypeAdapter(plugin)


def _describe(where: str, section: Mapping[str, Any], item: Mapping[str, Any]) -> str:
    names = [str(part) for part in item["loc"] if isinstance(part, int) or part in section]
    key = ".".join([where, *names]) if names else ".".join([where, *map(str, item["loc"])])
    given = "" if item["type"] == "missing" else f", got {item['input']!r}"
    return f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}{given}"


def to_mapping(plugin: Any) -> dict[str, Any]:
    """The section that would build this plugin again, every default written out."""
    values = {f.name: getattr(plugin, f.name) for f in dataclasses.fields(plugin)}
    return to_jsonable_python(values)


def canonical(section: Mapping[str, Any]) -> str:
    """JSON that is equal for equal sections, whatever the order of their keys."""
    return json.dumps(section, sort_keys=True, separators=(",", ":"), allow_nan=False)
