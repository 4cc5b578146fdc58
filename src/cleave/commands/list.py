"""`cleave list`: every plugin, with a line on each."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap

from cleave.registry import PLUGINS, lookup
from cleave.spec import to_mapping


def run(options: argparse.Namespace) -> None:
    """Prints section, kind, licence, what it is, and its fields with their defaults."""
    for section, kinds in PLUGINS.items():
        print(f"\n{section}")
        for kind in sorted(kinds):
            plugin = lookup(section, kind, section)
            first = (plugin.__doc__ or "").strip().splitlines()[0]
            licence = getattr(plugin, "licence", "Apache-2.0")
            print(f"  {kind:<16} {first}  [{licence}]")
            indent = " " * 19
            print(
                textwrap.fill(_fields(plugin), 100, initial_indent=indent, subsequent_indent=indent)
            )


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
