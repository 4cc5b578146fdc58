"""The differences of a benchmark's methods to published numbers, or to a row, for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cleave.benchmarks import comparison, paired


def compared(
    lines: Sequence[Mapping[str, str]], titles: Mapping[str, tuple[str, str]]
) -> list[dict[str, Any]]:
    """One small table for each metric that is published of the same protocol.

    Args:
        lines: of a benchmark's CSV, without the published ones.
        titles: metric to the group and title of its column, in the order to show.
    """
    return [
        {
            "title": " ".join(part for part in (*titles[block.metric],) if part),
            "methods": block.methods,
            "ours": [f"{value:.1f}" for value in block.ours],
            "rows": [
                {"name": name, "value": f"{value:.1f}", "found": [f"{d:+.1f}" for d in found]}
                for name, value, found in block.rows
            ],
        }
        for block in comparison.blocks(lines, titles)
    ]


def against(lines: Sequence[Mapping[str, str]]) -> dict[str, Any] | None:
    """The paired differences to the row that the benchmark names; None where it names none.

    Args:
        lines: of a benchmark's CSV, without the published ones.
    """
    block = paired.block(lines)
    if block is None:
        return None
    return {
        "name": block.against,
        "columns": [paired.METRICS[metric] for metric in block.metrics],
        "rows": [{"name": name, "cells": [_cell(c) for c in cells]} for name, cells in block.rows],
    }


def _cell(cell: tuple[float, float, float] | None) -> dict[str, Any]:
    """A difference and its interval; `sure` where that leaves 0 out."""
    if cell is None:
        return {"value": "", "interval": "", "sure": False}
    value, low, high = cell
    shown = {"value": f"{value:+.1f}", "interval": f"{low:+.1f} to {high:+.1f}"}
    return shown | {"sure": paired.is_clear(cell)}
