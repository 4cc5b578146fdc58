"""A named section of the config, and what is wrong between sections that are right alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from cleave.references import cycle
from cleave.registry import PLUGINS
from cleave.rounds import Round
from cleave.spec import ConfigError, canonical, nearest, to_mapping


@dataclass(frozen=True)
class Section:
    """One named entry of the config, with its plugin built and its references resolved."""

    kind: str  # the section it stands in, like "masks"
    name: str
    plugin: Any  # None for recipes, which join other sections
    references: Mapping[str, tuple[str, ...]]
    rounds: tuple[Round, ...] = ()  # of a recipe that trains a detector

    @property
    def spec(self) -> str:
        """Canonical JSON of the plugin alone, defaults written out: what its stage gets."""
        if self.plugin is None:
            return canonical({})
        return canonical(self.mapping)

    @property
    def mapping(self) -> dict[str, Any]:
        """The plugin's kind and fields, defaults written out."""
        return {"kind": plugin_kind(self.kind, self.plugin), **to_mapping(self.plugin)}

    def reference(self, key: str) -> str | None:
        """The one section that `key` names, or None."""
        names = self.references.get(key, ())
        return names[0] if names else None


def plugin_kind(section: str, plugin: Any) -> str:
    """The name under which a plugin's class is registered."""
    target = f"{type(plugin).__module__}:{type(plugin).__qualname__}"
    return next(kind for kind, path in PLUGINS[section].items() if path == target)


Sections = Mapping[str, Mapping[str, Section]]  # by kind and name


def mismatches(sections: Sections) -> list[str]:
    """An error each; only that one where masks are made of each other, in a ring."""
    checks = (_wrong_facets, _wrong_weights, _without_truth)
    return _rings(sections) or [error for check in checks for error in check(sections)]


def _rings(sections: Sections) -> list[str]:
    """Mask sections that are made of each other."""
    masks = sections["masks"]
    ring = cycle({name: section.references.get("masks", ()) for name, section in masks.items()})
    return [f"masks.{ring[0]}.masks: a ring, {' of '.join(ring)}"] if ring else []


def _without_truth(sections: Sections) -> list[str]:
    """Benchmarks that need labels which their data set lacks."""
    errors = []
    for name, section in sections["benchmarks"].items():
        dataset = sections["datasets"][section.references["dataset"][0]].plugin
        try:
            section.plugin.check_truth(getattr(dataset, "truth", None))
        except ConfigError as error:
            errors.append(f"benchmarks.{name}.{error}")
    return errors


def _wrong_weights(sections: Sections) -> list[str]:
    """Features that name a pre-training of another kind than what they can read."""
    errors = []
    for name, section in sections["features"].items():
        for learned in section.references.get("pretrain", ()):
            kind = plugin_kind("pretrain", sections["pretrain"][learned].plugin)
            if kind != (wanted := section.plugin.learned_by):
                where = f"features.{name}.pretrain: {learned} is of kind {kind!r}"
                errors.append(f"{where}; valid: sections of kind {wanted!r}")
    return errors


def _wrong_facets(sections: Sections) -> list[str]:
    """Sections that read a facet which their features lack: else known only when these are made."""
    errors = []
    for section in chain(sections["graphs"].values(), sections["masks"].values()):
        if "features" not in section.references:
            continue
        features = sections["features"][section.references["features"][0]]
        offered = getattr(features.plugin, "facets", (getattr(features.plugin, "facet", "key"),))
        facet = getattr(section.plugin, "facet", offered[0])
        if facet not in offered:
            where = f"{section.kind}.{section.name}.facet"
            errors.append(f"{where}: {features.name} has no {facet!r}; {nearest(facet, offered)}")
    return errors
