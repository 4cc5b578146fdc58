"""References of the config: keys that name a section of another kind, and what they may name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from cleave.paths import of_round
from cleave.registry import lookup
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
NEEDS = {
    "features": "features",
    "depth": "depth",
    "graph": "graphs",
    "graphs": "graphs",  # one or more
    "masks": "masks",  # of another section
    "weights": "pretrain",
}

JOIN = " + "  # between the names in a row of several sections of one kind; no name holds it


def names_in(rows: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    """Every section that rows of `Config.provenance` name under a key, each once."""
    found = (row[key].split(JOIN) for row in rows if key in row)
    return list(dict.fromkeys(chain.from_iterable(found)))


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


def losses_of(where: str, detector: str, raw: Mapping[str, Any]) -> type:
    """The class of the losses of the detector section that a recipe names.

    Raises:
        ConfigError: no such section, or none of a known kind.
    """
    resolve(f"{where}.detector", detector, "detectors", raw)
    entry = {str(name): entry for name, entry in raw["detectors"].items()}[detector]
    kind = entry.get("kind", detector) if isinstance(entry, Mapping) else detector
    return type(lookup("detectors", kind, f"detectors.{detector}").plain_losses)


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
    """Refuses a plugin whose references are not exactly what it needs, one of each but graphs."""
    needs = needs_of(plugin)
    needed = {NEEDS[need] for need in needs}
    for key in sorted(needed - references.keys()):
        instead = "; or 'weights', a file" if key == "pretrain" else ""
        raise ConfigError(f"{where}: needs the key {key!r}, a name of {REFERENCES[key]}{instead}")
    for key in sorted(references.keys() - needed):
        raise ConfigError(f"{where}: {type(plugin).__name__} with these fields uses no {key!r}")
    for key, names in references.items():
        if key not in needs or key != "graphs":
            require_single(where, key, names)
        elif len(set(names)) < len(names):
            raise ConfigError(f"{where}.{key}: names a section twice: {', '.join(names)}")


def cycle(references: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Names that refer to each other in a ring, the first repeated at the end; () if none do.

    Args:
        references: name to the names, of the same kind, that it refers to.
    """
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> tuple[str, ...]:
        if name in path:
            return (*path[path.index(name) :], name)
        if name in done:
            return ()
        rings = (walk(other, (*path, name)) for other in references[name])
        ring = next(filter(None, rings), ())
        done.add(name)
        return ring

    return next(filter(None, (walk(name, ()) for name in references)), ())
