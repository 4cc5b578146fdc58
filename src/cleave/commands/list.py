"""`cleave list`: every plugin, with a line on each."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap

from cleave.rcnn.settings import Losses
from cleave.registry import PLUGINS, lookup
from cleave.rounds import Relabel
from cleave.spec import to_mapping
from cleave.training.augment_settings import Augment
from cleave.training.settings import Training

# What a recipe may say of a training, and a round of its labels.
SETTINGS = {"training": Training, "losses": Losses, "augment": Augment, "relabel": Relabel}


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
        print(f"  {key:<16} {settings.__doc__.splitlines()[0]}")
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
