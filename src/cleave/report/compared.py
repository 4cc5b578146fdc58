"""The differences of a benchmark's methods to published numbers, for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cleave.benchmarks import comparison


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
