"""Every field of every section, as the artifacts say that they were made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cleave import paths
from cleave.io import shards
from cleave.io.images import read_image_shard
from cleave.io.store import read_shard
from cleave.references import names_in
from cleave.report.recipes import Round

STORES = {"features": paths.FEATURES, "depth": paths.DEPTH, "graphs": paths.GRAPHS}

Spec = Mapping[str, Any]


def read_settings(
    summary: Mapping[str, Any],
    masks: Mapping[str, Mapping[str, Spec]],
    rounds: Mapping[str, Sequence[Round]],
) -> list[dict[str, str]]:
    """A line a section, each once: `section`, `name`, `kind` and `fields` as "key value" text.

    Args:
        summary: `Config.summary`.
        masks: data set to method to the spec in its files; they are large, so the caller, who has
            read them, tells.
        rounds: of each recipe.
    """
    found: dict[tuple[str, str], Spec] = {}
    for dataset, entry in summary["datasets"].items():
        for section, name, spec in _specs(dataset, entry, masks[dataset]):
            found.setdefault((section, name), spec)
    for section, name, spec in _of_rounds(rounds):
        found.setdefault((section, name), spec)
    order = ["datasets", *STORES, "masks", "detectors", "recipes"]
    return [
        {
            "section": section,
            "name": name,
            "kind": str(spec["kind"]),
            "fields": ", ".join(f"{k} {_text(v)}" for k, v in sorted(spec.items()) if k != "kind"),
        }
        for (section, name), spec in sorted(found.items(), key=lambda i: order.index(i[0][0]))
    ]


def _specs(
    dataset: str, entry: Mapping[str, Any], masks: Mapping[str, Spec]
) -> Iterator[tuple[str, str, Spec]]:
    """Section, name and spec, read from the first shard of each."""
    shard = shards.names(entry["shards"])[0]
    names = {"dataset": dataset, "shard": shard}
    yield "datasets", dataset, read_image_shard(Path(paths.IMAGES.format(**names))).spec
    # Where a detector is only applied, nothing that it learned from was made.
    rows = [row for row in entry["masks"].values() if "recipe" not in row]
    for section, pattern in STORES.items():
        for name in names_in(rows, section):
            with read_shard(Path(pattern.format(**names, **{section: name}))) as reader:
                yield section, name, reader.spec
    for name, spec in masks.items():
        row = entry["masks"][name]
        if "recipe" in row:
            yield "detectors", row["detector"], spec["detector"]
        else:
            yield "masks", name, spec


def _of_rounds(rounds: Mapping[str, Sequence[Round]]) -> Iterator[tuple[str, str, Spec]]:
    """All that a training was given beside its detector and labels, and how these were made."""
    for found in (found for several in rounds.values() for found in several):
        rule = {"relabel": dict(found.labels.rule)} if found.labels else {}
        if fields := dict(_flat({**found.learn, **rule})):
            yield "recipes", found.of, {"kind": f"round {found.number}", **fields}


def _flat(fields: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Fields of mappings within mappings, with their path as name."""
    for key, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_text, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in (None, "") else str(value)
