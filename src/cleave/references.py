"""References of the config: keys that name a section of another kind, and what they may name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cleave.paths import of_round
from cleave.spec import ConfigError, nearest

# reference key -> the section it points into
REFERENCES = {
    "dataset": "datasets",
    "pretrain": "pretrain",
    "features": "features",
    "depth": "depth",
    "graphs": "graphs",
    "masks": "masks",
    "detector": "detectors",
    "recipes": "recipes",
}

# What a plugin may say it `needs`, and the reference key that provides it.
NEEDS = {"features": "features", "depth": "depth", "graph": "graphs", "weights": "pretrain"}


def known_names(section: str, raw: Mapping[str, Any]) -> set[str]:
    """Names that a reference into a section may use; a recipe has one for each of its rounds."""
    entries = raw.get(section)
    if not isinstance(entries, Mapping):
        return set()
    known = set(map(str, entries))
    if section != "recipes":
        return known
    with_detector = {
        str(name): entry.get("rounds") or []
        for name, entry in entries.items()
        if isinstance(entry, Mapping) and "detector" in entry
    }
    return with_detector.keys() | {
        of_round(name, number)
        for name, rounds in with_detector.items()
        if isinstance(rounds, list | tuple)
        for number in range(len(rounds) + 1)
    }


def resolve(where: str, value: Any, section: str, raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The names that a reference gives.

    Raises:
        ConfigError: none, or one that is not in the section; the text names the nearest.
    """
    names = tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)
    known = known_names(section, raw)
    for name in names:
        if name not in known:
            raise ConfigError(f"{where}: no {name!r} in {section}; {nearest(name, known)}")
    if not names:
        raise ConfigError(f"{where}: names nothing; {nearest('', known)}")
    return names


def require_single(where: str, key: str, names: tuple[str, ...]) -> None:
    """Refuses a reference that names several sections."""
    if len(names) != 1:
        raise ConfigError(f"{where}.{key}: names {len(names)} sections, expected one")


def needs_of(plugin: Any) -> frozenset[str]:
    """What a backbone, graph maker or mask method is given, among the keys of `NEEDS`."""
    if hasattr(plugin, "needs"):
        return frozenset(plugin.needs)
    if not hasattr(plugin, "needs_depth"):
        return frozenset()
    return frozenset({"features", "depth"} if plugin.needs_depth else {"features"})


def check_needs(where: str, plugin: Any, references: Mapping[str, tuple[str, ...]]) -> None:
    """Refuses a plugin whose references are not exactly what it needs, one of each."""
    needed = {NEEDS[need] for need in needs_of(plugin)}
    for key in sorted(needed - references.keys()):
        instead = "; or 'weights', a file" if key == "pretrain" else ""
        raise ConfigError(f"{where}: needs the key {key!r}, a name of {REFERENCES[key]}{instead}")
    for key in sorted(references.keys() - needed):
        raise ConfigError(f"{where}: {type(plugin).__name__} with these fields uses no {key!r}")
    for key, names in references.items():
        require_single(where, key, names)
