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

from cleave.paths import RESERVED, of_round
from cleave.references import (
    JOIN,
    REFERENCES,
    check_needs,
    known_names,
    losses_of,
    require_single,
    resolve,
)
from cleave.registry import make
from cleave.rounds import Round, parse, relabel_spec, train_spec
from cleave.sections import Section, mismatches, plugin_kind
from cleave.spec import ConfigError, canonical, nearest

SECTIONS = (
    *("datasets", "pretrain", "features", "depth", "graphs", "masks"),
    *("detectors", "recipes", "benchmarks"),
)

# The references that a section must have; and those it may have, as its plugin needs them.
REQUIRED = {
    "pretrain": {"dataset"},
    "recipes": {"dataset", "masks"},
    "benchmarks": {"dataset"},
}
PARTS = {"pretrain", "features", "depth", "graphs", "masks"}  # what masks may be made of
OPTIONAL = {
    "features": {"pretrain"},
    "graphs": PARTS,
    "masks": PARTS,
    "recipes": {"detector"},
    "benchmarks": {"masks", "recipes"},
}

# A section is named after its kind unless it says otherwise, or stands here.
DEFAULT_KINDS = {"pretrain": "rotary", "benchmarks": "coco"}

# Rows that a benchmark's table may hold beside the mask sections: they know the truth, or nothing.
BASELINES = ("centre_box", "ideal_features", "patch_truth", "whole_image")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Config:
    """A valid config; made by `load`."""

    sections: Mapping[str, Mapping[str, Section]]

    def __getitem__(self, kind: str) -> Mapping[str, Section]:
        return self.sections[kind]

    def spec(self, kind: str, name: str) -> str:
        return self.sections[kind][name].spec

    @cached_property
    def rounds(self) -> dict[str, tuple[str, Round]]:
        """The name of each round of each recipe, with its recipe."""
        return {
            of_round(name, round_.number): (name, round_)
            for name, section in self["recipes"].items()
            for round_ in section.rounds
        }

    def shown(self, benchmark: str) -> tuple[str, ...]:
        """Mask sections and rounds that a benchmark scores, in the order of its lists."""
        references = self["benchmarks"][benchmark].references
        found = list(references.get("masks", ()))
        for name in references.get("recipes", ()):
            recipe = self["recipes"].get(name)
            found += [of_round(name, r.number) for r in recipe.rounds] if recipe else [name]
        return tuple(dict.fromkeys(found))

    @cached_property
    def targets(self) -> tuple[tuple[str, str], ...]:
        """Every (dataset, masks) pair that a recipe or a benchmark asks for, sorted.

        Masks are a section's, or the predictions of a recipe's round.
        """
        pairs = {
            (section.references["dataset"][0], section.references["masks"][0])
            for section in self["recipes"].values()
        }
        for name, section in self["benchmarks"].items():
            pairs |= {(section.references["dataset"][0], of) for of in self.shown(name)}
        return tuple(sorted(pairs))

    def train_spec(self, recipe: str, number: int) -> str:
        """Canonical JSON of what a round's training reads: none of what only predictions do."""
        round_ = self["recipes"][recipe].rounds[number]
        return canonical(train_spec(round_, self._detector(round_, predicts=False)))

    def relabel_spec(self, recipe: str, number: int) -> str:
        """Canonical JSON of what makes a round's labels."""
        rounds = self["recipes"][recipe].rounds
        return canonical(relabel_spec(rounds[number], self._detector(rounds[number - 1])))

    def detect_spec(self, of: str) -> str:
        """Canonical JSON of what a round's predictions depend on beside its checkpoint."""
        return canonical({"detector": self._detector(self.rounds[of][1])})

    def _detector(self, round_: Round, predicts: bool = True) -> dict[str, Any]:
        section = self["detectors"][round_.detector]
        unread = () if predicts else getattr(section.plugin, "only_predict", ())
        return {key: value for key, value in section.mapping.items() if key not in unread}

    def rows(self, benchmark: str) -> list[dict[str, Any]]:
        """The rows of a benchmark's table: methods, rounds and baselines, with their make-up."""
        section = self["benchmarks"][benchmark]
        methods = [self.provenance(name) for name in self.shown(benchmark)]
        baselines = [{"of": name, "baseline": True} for name in section.plugin.baselines]
        return methods + baselines

    def provenance(self, of: str) -> dict[str, Any]:
        """What masks are made of: their kind, the sections they use, and who saw labels."""
        if of in self.rounds:
            return self._provenance_of_round(of)
        section = self["masks"][of]
        row: dict[str, Any] = {
            "of": of,
            "kind": plugin_kind("masks", section.plugin),
            "baseline": False,
        }
        labelled = [section]
        for key, name in self.parts(of):
            row[key] = f"{row[key]}{JOIN}{name}" if key in row else name
            labelled.append(self[REFERENCES[key]][name])
        seen = [(part.name, getattr(part.plugin, "saw_labels", "")) for part in labelled]
        return row | {"saw_labels": sorted({f"{name}: {text}" for name, text in seen if text})}

    def _provenance_of_round(self, of: str) -> dict[str, Any]:
        recipe, round_ = self.rounds[of]
        section = self["recipes"][recipe]
        row = self.provenance(section.references["masks"][0])
        before = section.rounds[: round_.number + 1]
        name, detector = round_.detector, self["detectors"][round_.detector].plugin
        text = getattr(detector, "saw_labels", "")
        return row | {
            "of": of,
            "kind": plugin_kind("detectors", detector),
            "masks": section.references["masks"][0],
            "recipe": recipe,
            "detector": name,
            "round": round_.number,
            "trained_on": list(dict.fromkeys(r.dataset for r in before)),
            "saw_labels": sorted({*row["saw_labels"], *([f"{name}: {text}"] if text else [])}),
        }

    def parts(self, masks: str) -> list[tuple[str, str]]:
        """(key, name) of each section that a mask section is made of, the nearest first."""
        found: list[tuple[str, str]] = []
        if masks in self.rounds:
            return []
        pending = [self["masks"][masks]]
        while pending:
            for key, names in sorted(pending.pop(0).references.items()):
                if key != "dataset":  # what the weights were trained on, not what is cut
                    found += [(key, name) for name in names]
                    pending += [self[REFERENCES[key]][name] for name in names]
        return list(dict.fromkeys(found))

    def table(self, benchmark: str) -> str:
        """Canonical JSON of what a benchmark's table says about its rows."""
        dataset = self["benchmarks"][benchmark].reference("dataset")
        return canonical({"benchmark": benchmark, "dataset": dataset, "rows": self.rows(benchmark)})

    def summary(self) -> str:
        """Canonical JSON of all that the report shows and how it hangs together.

        Each method is told once: the text is an argument of a job, which may have 128 kB.
        """
        learned_from = {round_.dataset for _, round_ in self.rounds.values()}
        datasets: dict[str, dict[str, Any]] = {}
        for dataset in sorted({dataset for dataset, _ in self.targets} | learned_from):
            plugin = self["datasets"][dataset].plugin
            kind = plugin_kind("datasets", plugin)
            masks = [of for place, of in self.targets if place == dataset]
            datasets[dataset] = {"shards": plugin.shards, "kind": kind, "masks": masks}
        benchmarks = {
            name: {"dataset": section.reference("dataset"), "methods": self.shown(name)}
            | {"baselines": section.plugin.baselines}
            for name, section in self["benchmarks"].items()
        }
        recipes = {
            name: {key: names[0] for key, names in section.references.items()}
            | {"rounds": [round_.dataset for round_ in section.rounds]}
            for name, section in self["recipes"].items()
        }
        methods = {of: self.provenance(of) for _, of in self.targets}
        parts = {"datasets": datasets, "benchmarks": benchmarks, "recipes": recipes}
        return canonical({**parts, "methods": methods})


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
    if errors := errors or mismatches(sections):
        raise ConfigError("\n".join(dict.fromkeys(errors)))  # what two sections run into, once
    config = Config(sections)
    if errors := _unknown_rows(config):
        raise ConfigError("\n".join(errors))
    return config


def _unknown_rows(config: Config) -> list[str]:
    """Benchmarks that compare with a row which their table does not have."""
    errors = []
    for name, section in config["benchmarks"].items():
        rows = [row["of"] for row in config.rows(name)]
        if (against := getattr(section.plugin, "against", "")) and against not in rows:
            hint = nearest(against, rows)
            errors.append(f"benchmarks.{name}.against: no row {against!r}; {hint}")
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
        key: resolve(f"{where}.{key}", entry.pop(key), REFERENCES[key], raw)
        for key in sorted((required | OPTIONAL.get(kind, set())) & entry.keys())
    }
    for key in sorted(required - references.keys()):
        raise ConfigError(f"{where}: needs the key {key!r}, a name of {REFERENCES[key]}")
    if kind == "recipes":
        for key in references:
            require_single(where, key, references[key])
        return Section(kind, name, None, references, _rounds(where, entry, references, raw))
    entry.setdefault("kind", DEFAULT_KINDS.get(kind, name))
    plugin = make(kind, entry, where)
    rounds = known_names("recipes", raw) if "." in name else ()
    if kind == "masks" and (name in BASELINES or name in rounds):
        raise ConfigError(f"{where}: this name is taken by a baseline or by a round of a recipe")
    if "dataset" in required:
        require_single(where, "dataset", references["dataset"])
        if kind == "benchmarks" and not references.keys() & OPTIONAL[kind]:
            raise ConfigError(f"{where}: needs the key 'masks' or 'recipes': what is to be scored")
    elif kind in ("features", "graphs", "masks"):
        check_needs(where, plugin, references)
    return Section(kind, name, plugin, references)


def _rounds(
    where: str,
    entry: Mapping[str, Any],
    references: Mapping[str, tuple[str, ...]],
    raw: Mapping[str, Any],
) -> tuple[Round, ...]:
    """The rounds of a recipe with a detector; one without joins the masks, and has no settings."""
    if "detector" not in references:
        if entry:
            raise ConfigError(f"{where}: {next(iter(entry))!r} needs a 'detector', or is no key")
        return ()
    rounds = parse(
        entry,
        references["dataset"][0],
        references["detector"][0],
        where,
        lambda name, place: losses_of(place, name, raw),
    )
    for round_ in rounds:
        resolve(f"{where}.rounds[{round_.number}].dataset", round_.dataset, "datasets", raw)
    return rounds
