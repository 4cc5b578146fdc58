"""`cleave check CONFIG`: validate without computing anything."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from cleave import config
from cleave.spec import ConfigError


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as a mapping.

    Raises:
        ConfigError: no such file, or not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None


def run(options: argparse.Namespace) -> None:
    """Says what the config would make, or all that is wrong with it."""
    checked = config.load(read_yaml(options.config))
    for kind in config.SECTIONS:
        names = ", ".join(checked[kind])
        print(f"{kind:<11} {names or '-'}")
    for dataset, masks in checked.targets:
        row = checked.provenance(masks)
        keys = ("masks", "graphs", "features", "pretrain", "depth")
        path = " <- ".join(f"{key} {row[key]}" for key in keys if key in row)
        print(f"{dataset}: {masks} ({row['kind']}) <- {path}")
    if not checked.targets:
        print("nothing to make: add a recipe or a benchmark")
    print(f"{options.config}: valid")
