"""What README.md tells to type is there: configs, commands, targets, files and kinds."""

import re
import shlex
from itertools import chain, dropwhile
from pathlib import Path

import pytest
import yaml

from cleave import cli, config
from cleave.registry import PLUGINS

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "README.md").read_text()
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
BLOCKS = FENCE.findall(TEXT)  # language, contents
INLINE = re.findall(r"`([^`]+)`", FENCE.sub("", TEXT))
LINES = [line for language, block in BLOCKS if not language for line in block.splitlines()]
CALLS = [shlex.split(text, comments=True) for text in (*LINES, *INLINE) if " " in text]
UNNAMED = {"oracle", "spectral_clusters"}  # parts of the studies


def given_to(program: str) -> list[list[str]]:
    """The arguments of each call of a program, behind variables of the environment."""
    calls = [list(dropwhile(lambda word: "=" in word, call)) for call in CALLS]
    return [call[1:] for call in calls if call[:1] == [program]]


def test_its_configs_are_valid():
    """Each block replaces sections of those before it."""
    raw = {}
    for block in (block for language, block in BLOCKS if language == "yaml"):
        raw |= yaml.safe_load(block)
        assert config.load(raw).targets


@pytest.mark.parametrize("arguments", given_to("cleave"), ids=" ".join)
def test_its_commands_are_known(arguments):
    assert cli._parser().parse_args(arguments).command


@pytest.mark.parametrize("arguments", given_to("snakemake"), ids=" ".join)
def test_its_workflow_commands_are_known(arguments):
    from snakemake.cli import get_argument_parser

    assert get_argument_parser().parse_args(arguments)


def test_its_targets_are_those_of_the_makefile():
    known = re.search(r"\.PHONY: (.*)", (REPOSITORY / "Makefile").read_text())[1].split()
    assert {call[0] for call in given_to("make")} <= set(known)


def test_its_files_are_there():
    ours = ("src/", "tests/", "workflow/", "envs/")
    words = [*chain.from_iterable(CALLS), *INLINE]
    named = {word for word in words if word.startswith(ours) and " " not in word}
    assert len(named) > 5
    assert {name for name in named if not (REPOSITORY / name).exists()} == set()


def test_every_kind_is_named():
    kinds = {kind for kinds in PLUGINS.values() for kind in kinds}
    assert kinds - UNNAMED <= set(re.findall(r"\w+", TEXT))
