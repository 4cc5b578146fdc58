"""Every field of every section, as the artifacts say that they were made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cleave import paths
from cleave.io import shards
from cleave.io.coco import read_masks
from cleave.io.images import read_image_shard
from cleave.io.store import read_shard

STORES = {"features": paths.FEATURES, "depth": paths.DEPTH, "graphs": paths.GRAPHS}


def read_settings(datasets: Mapping[str, Any]) -> list[dict[str, str]]:
    """A line a section, each once: `section`, `name`, `kind` and `fields` as "key value" text.

    Args:
        datasets: of `Config.summary`.
    """
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for dataset, entry in datasets.items():
        for section, name, spec in _specs(dataset, entry):
            found.setdefault((section, name), spec)
    order = ["datasets", *STORES, "masks"]
    return [
        {
            "section": section,
            "name": name,
            "kind": str(spec["kind"]),
            "fields": ", ".join(f"{k} {_text(v)}" for k, v in sorted(spec.items()) if k != "kind"),
        }
        for (section, name), spec in sorted(found.items(), key=lambda i: order.index(i[0][0]))
    ]


def _specs(dataset: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Section, name and spec, read from the first shard of each."""
    shard = shards.names(entry["shards"])[0]
    names = {"dataset": dataset, "shard": shard}
    yield "datasets", dataset, read_image_shard(Path(paths.IMAGES.format(**names))).spec
    rows = entry["masks"].values()
    for section, pattern in STORES.items():
        for name in dict.fromkeys(row[section] for row in rows if section in row):
            with read_shard(Path(pattern.format(**names, **{section: name}))) as reader:
                yield section, name, reader.spec
    for name in entry["masks"]:
        path = Path(paths.MASKS.format(**names, masks=name))
        yield "masks", name, read_masks(path)[1].info["spec"]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_text, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in (None, "") else str(value)
