"""`cleave list`: every plugin, with a line on each."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap

from cleave.registry import PLUGINS, lookup
from cleave.rounds import Relabel
from cleave.spec import to_mapping
from cleave.training.augment_settings import Augment
from cleave.training.settings import Training

# What a recipe may say of a training, and a round of its labels.
SETTINGS = {"training": Training, "augment": Augment, "relabel": Relabel}


def run(options: argparse.Namespace) -> None:
    """Prints section, kind, licence, what it is, and its fields with their defaults."""
    for section, kinds in PLUGINS.items():
        print(f"\n{section}")
        for kind in sorted(kinds):
            plugin = lookup(section, kind, section)
            first = (plugin.__doc__ or "").strip().splitlines()[0]
            licence = getattr(plugin, "licence", "Apache-2.0")
            print(f"  {kind:<19} {first}  [{licence}]")
            _print_fields(plugin)
    print("\nrecipes: dataset, masks, and with a detector: detector, seed, and the keys below;")
    print(
        "rounds: a list of what differs from the round before, with dataset, detector and relabel"
    )
    for key, settings in SETTINGS.items():
        _print_settings(key, settings)
    for settings, kinds in _losses().items():
        _print_settings("losses", settings, f"({', '.join(kinds)})")


def _losses() -> dict[type, list[str]]:
    """Each class of losses that a recipe may set, and the detectors that have it."""
    found: dict[type, list[str]] = {}
    for kind in sorted(PLUGINS["detectors"]):
        plugin = lookup("detectors", kind, "detectors")
        found.setdefault(type(plugin.plain_losses), []).append(kind)
    return found


def _print_settings(key: str, settings: type, of: str = "") -> None:
    print(f"  {key:<16} {settings.__doc__.splitlines()[0]} {of}".rstrip())
    _print_fields(settings)


def _print_fields(plugin: type) -> None:
    indent = " " * 19
    print(textwrap.fill(_fields(plugin), 100, initial_indent=indent, subsequent_indent=indent))


def _fields(plugin: type) -> str:
    parts = []
    for field in dataclasses.fields(plugin):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        required = default is dataclasses.MISSING
        parts.append(field.name if required else f"{field.name}={_plain(default)}")
    return ", ".join(parts) or "no fields"


def _plain(value: object) -> object:
    return to_mapping(value) if dataclasses.is_dataclass(value) else value
