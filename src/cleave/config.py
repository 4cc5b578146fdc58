"""The config as a graph of named sections: checked whole, before any job is planned.

A key that names another kind of section is a reference and becomes an input file; every other key
is a field of the section's plugin. Nothing here reads an artifact or imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cleave.paths import RESERVED
from cleave.registry import PLUGINS, make
from cleave.spec import ConfigError, canonical, nearest, to_mapping

SECTIONS = ("datasets", "pretrain", "features", "depth", "graphs", "masks", "recipes", "benchmarks")

# reference key -> the section it points into
REFERENCES = {
    "dataset": "datasets",
    "pretrain": "pretrain",
    "features": "features",
    "depth": "depth",
    "graphs": "graphs",
    "masks": "masks",
}

# The references that a section must have; and those it may have, as its plugin needs them.
REQUIRED = {
    "pretrain": {"dataset"},
    "recipes": {"dataset", "masks"},
    "benchmarks": {"dataset", "masks"},
}
OPTIONAL = {"features": {"pretrain"}, "graphs": set(REFERENCES), "masks": set(REFERENCES)}

# A section is named after its kind unless it says otherwise, or stands here.
DEFAULT_KINDS = {"pretrain": "rotary", "benchmarks": "coco"}

# Rows that a benchmark's table may hold beside the mask sections: they know the truth, or nothing.
BASELINES = ("centre_box", "ideal_features", "patch_truth", "whole_image")

# What a plugin may say it `needs`, and the reference key that provides it.
NEEDS = {"features": "features", "depth": "depth", "graph": "graphs", "weights": "pretrain"}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Section:
    """One named entry of the config, with its plugin built and its references resolved."""

    kind: str  # the section it stands in, like "masks"
    name: str
    plugin: Any  # None for recipes, which only join other sections
    references: Mapping[str, tuple[str, ...]]

    @property
    def spec(self) -> str:
        """Canonical JSON of the plugin alone, defaults written out: what its stage gets."""
        if self.plugin is None:
            return canonical({})
        return canonical({"kind": plugin_kind(self.kind, self.plugin), **to_mapping(self.plugin)})

    def reference(self, key: str) -> str | None:
        """The one section that `key` names, or None."""
        names = self.references.get(key, ())
        return names[0] if names else None


def plugin_kind(section: str, plugin: Any) -> str:
    """The name under which a plugin's class is registered."""
    target = f"{type(plugin).__module__}:{type(plugin).__qualname__}"
    return next(kind for kind, path in PLUGINS[section].items() if path == target)


@dataclass(frozen=True)
class Config:
    """A valid config; made by `load`."""

    sections: Mapping[str, Mapping[str, Section]]

    def __getitem__(self, kind: str) -> Mapping[str, Section]:
        return self.sections[kind]

    def spec(self, kind: str, name: str) -> str:
        return self.sections[kind][name].spec

    @cached_property
    def targets(self) -> tuple[tuple[str, str], ...]:
        """Every (dataset, masks) pair that a recipe or a benchmark asks for, sorted."""
        pairs = set()
        for kind in ("recipes", "benchmarks"):
            for section in self.sections[kind].values():
                for dataset in section.references["dataset"]:
                    pairs |= {(dataset, masks) for masks in section.references["masks"]}
        return tuple(sorted(pairs))

    def rows(self, benchmark: str) -> list[dict[str, Any]]:
        """The rows of a benchmark's table: mask sections and baselines, with their make-up."""
        section = self["benchmarks"][benchmark]
        methods = [self.provenance(name) for name in section.references["masks"]]
        baselines = [{"of": name, "baseline": True} for name in section.plugin.baselines]
        return methods + baselines

    def provenance(self, masks: str) -> dict[str, Any]:
        """What a mask section is made of: its kind, the sections it uses, and who saw labels."""
        section = self["masks"][masks]
        row: dict[str, Any] = {
            "of": masks,
            "kind": plugin_kind("masks", section.plugin),
            "baseline": False,
        }
        labelled = [section]
        for key, name in self.parts(masks):
            row.setdefault(key, name)
            labelled.append(self[REFERENCES[key]][name])
        seen = [(part.name, getattr(part.plugin, "saw_labels", "")) for part in labelled]
        return row | {"saw_labels": sorted({f"{name}: {text}" for name, text in seen if text})}

    def parts(self, masks: str) -> list[tuple[str, str]]:
        """(key, name) of each section that a mask section is made of, the nearest first."""
        found: list[tuple[str, str]] = []
        pending = [self["masks"][masks]]
        while pending:
            for key, names in sorted(pending.pop(0).references.items()):
                if key != "dataset":  # what the weights were trained on, not what is cut
                    found.append((key, names[0]))
                    pending.append(self[REFERENCES[key]][names[0]])
        return list(dict.fromkeys(found))

    def table(self, benchmark: str) -> str:
        """Canonical JSON of what a benchmark's table says about its rows."""
        dataset = self["benchmarks"][benchmark].reference("dataset")
        return canonical({"benchmark": benchmark, "dataset": dataset, "rows": self.rows(benchmark)})

    def summary(self) -> str:
        """Canonical JSON of all that the report shows and how it hangs together."""
        datasets: dict[str, dict[str, Any]] = {}
        for dataset, masks in self.targets:
            plugin = self["datasets"][dataset].plugin
            entry = {"shards": plugin.shards, "kind": plugin_kind("datasets", plugin), "masks": {}}
            datasets.setdefault(dataset, entry)["masks"][masks] = self.provenance(masks)
        benchmarks = {
            name: {"dataset": section.reference("dataset"), "rows": self.rows(name)}
            for name, section in self["benchmarks"].items()
        }
        recipes = {
            name: {key: names[0] for key, names in section.references.items()}
            for name, section in self["recipes"].items()
        }
        return canonical({"datasets": datasets, "benchmarks": benchmarks, "recipes": recipes})


def load(raw: Mapping[str, Any]) -> Config:
    """Checks a config and builds every plugin of it.

    Raises:
        ConfigError: all that is wrong, a line each: section, key, and what would be valid.
    """
    if not isinstance(raw, Mapping) or not raw:
        raise ConfigError(f"the config is empty; it needs sections among: {', '.join(SECTIONS)}")
    errors = [
        f"config: unknown section {key!r}; {nearest(key, SECTIONS)}"
        for key in raw
        if key not in SECTIONS
    ]
    sections: dict[str, dict[str, Section]] = {kind: {} for kind in SECTIONS}
    for kind in SECTIONS:
        entries = raw.get(kind) or {}
        if not isinstance(entries, Mapping):
            errors.append(f"{kind}: expected named entries, got {entries!r}")
            continue
        for name, entry in entries.items():
            try:
                sections[kind][str(name)] = _section(kind, str(name), entry, raw)
            except ConfigError as error:
                errors.append(str(error))
    errors += [] if errors else _wrong_facets(sections)
    if errors:
        raise ConfigError("\n".join(errors))
    return Config(sections)


def _wrong_facets(sections: Mapping[str, Mapping[str, Section]]) -> list[str]:
    """Graphs of a facet that their features lack: else known only when the features are made."""
    errors = []
    for name, graph in sections["graphs"].items():
        features = sections["features"][graph.references["features"][0]]
        offered = getattr(features.plugin, "facets", (getattr(features.plugin, "facet", "key"),))
        facet = getattr(graph.plugin, "facet", offered[0])
        if facet not in offered:
            hint = nearest(facet, offered)
            errors.append(f"graphs.{name}.facet: {features.name} has no {facet!r}; {hint}")
    return errors


def _section(kind: str, name: str, entry: Any, raw: Mapping[str, Any]) -> Section:
    where = f"{kind}.{name}"
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{kind}: {name!r} is no name; valid: letters, digits, '_', '.', '-', the first of "
            "them a letter or a digit"
        )
    if kind == "datasets" and name in RESERVED:
        raise ConfigError(f"{where}: this name is taken; not valid: {', '.join(sorted(RESERVED))}")
    if entry is not None and not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: expected keys and values, got {entry!r}")
    entry = dict(entry or {})
    required = REQUIRED.get(kind, set())
    references = {
        key: _names(f"{where}.{key}", entry.pop(key), REFERENCES[key], raw)
        for key in sorted((required | OPTIONAL.get(kind, set())) & entry.keys())
    }
    for key in sorted(required - references.keys()):
        raise ConfigError(f"{where}: needs the key {key!r}, a name of {REFERENCES[key]}")
    if kind == "recipes":
        if entry:
            raise ConfigError(f"{where}: unknown key {next(iter(entry))!r}; valid: dataset, masks")
        for key in ("dataset", "masks"):
            _single(where, key, references[key])
        return Section(kind, name, None, references)
    entry.setdefault("kind", DEFAULT_KINDS.get(kind, name))
    plugin = make(kind, entry, where)
    if kind == "masks" and name in BASELINES:
        raise ConfigError(f"{where}: this name is taken; not valid: {', '.join(BASELINES)}")
    if "dataset" in required:
        _single(where, "dataset", references["dataset"])
    elif kind in OPTIONAL:
        _check_needs(where, plugin, references)
    return Section(kind, name, plugin, references)


def _names(where: str, value: Any, section: str, raw: Mapping[str, Any]) -> tuple[str, ...]:
    names = tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)
    entries = raw.get(section)
    known = set(map(str, entries)) if isinstance(entries, Mapping) else set()
    for name in names:
        if name not in known:
            raise ConfigError(f"{where}: no {name!r} in {section}; {nearest(name, known)}")
    if not names:
        raise ConfigError(f"{where}: names nothing; {nearest('', known)}")
    return names


def _single(where: str, key: str, names: tuple[str, ...]) -> None:
    if len(names) != 1:
        raise ConfigError(f"{where}.{key}: names {len(names)} sections, expected one")


def needs_of(plugin: Any) -> frozenset[str]:
    """What a backbone, graph maker or mask method is given, among the keys of `NEEDS`."""
    if hasattr(plugin, "needs"):
        return frozenset(plugin.needs)
    if not hasattr(plugin, "needs_depth"):
        return frozenset()
    return frozenset({"features", "depth"} if plugin.needs_depth else {"features"})


def _check_needs(where: str, plugin: Any, references: Mapping[str, tuple[str, ...]]) -> None:
    needed = {NEEDS[need] for need in needs_of(plugin)}
    for key in sorted(needed - references.keys()):
        instead = "; or 'weights', a file" if key == "pretrain" else ""
        raise ConfigError(f"{where}: needs the key {key!r}, a name of {REFERENCES[key]}{instead}")
    for key in sorted(references.keys() - needed):
        raise ConfigError(f"{where}: {type(plugin).__name__} with these fields uses no {key!r}")
    for key, names in references.items():
        _single(where, key, names)
