"""Plots as SVG text: the same numbers give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np

STYLE = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.labelcolor": "#5b616b",
    "xtick.color": "#5b616b",
    "ytick.color": "#5b616b",
    "axes.axisbelow": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "cleave",
}
INK, MUTED = "#3b6fd8", "#b9bec8"


def _svg(figure) -> str:
    import matplotlib.pyplot as plt

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    return buffer.getvalue()


def _figure(width: float, height: float):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)
    return plt.subplots(figsize=(width, height), layout="constrained")


def intervals(rows: Sequence[Mapping[str, float | str]], label: str) -> str:
    """One horizontal bar a method with its 95 % interval.

    Args:
        rows: each with name, value, low, high, and `baseline` (drawn grey).
        label: of the axis.
    """
    figure, axes = _figure(6.4, 0.5 + 0.27 * len(rows))
    places = np.arange(len(rows))[::-1]
    values = np.array([row["value"] for row in rows], float)
    whiskers = np.array(
        [[row["value"] - row["low"], row["high"] - row["value"]] for row in rows], float
    ).T.reshape(2, -1)
    colours = [MUTED if row["baseline"] else INK for row in rows]
    axes.barh(places, values, color=colours, height=0.62)
    axes.errorbar(
        values, places, xerr=np.maximum(whiskers, 0), fmt="none", ecolor="#22262e", elinewidth=1,
        capsize=2,
    )  # fmt: skip
    axes.set_yticks(places, [str(row["name"]) for row in rows])
    axes.set_xlabel(label)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color="#e3e6eb", linewidth=0.6)
    return _svg(figure)


def distributions(samples: Mapping[str, np.ndarray], label: str, *, logarithmic: bool) -> str:
    """One step histogram a method over shared bins; nothing for methods without masks."""
    samples = {name: values for name, values in samples.items() if len(values)}
    figure, axes = _figure(4.6, 2.4)
    if samples:
        joined = np.concatenate(list(samples.values()))
        low, high = float(joined.min()), float(joined.max())
        if high <= low:
            high = low + (abs(low) * 0.01 or 0.01)
        edges = np.geomspace(low, high, 25) if logarithmic else np.linspace(low, high, 25)
        for index, (name, values) in enumerate(samples.items()):
            axes.hist(
                values, edges, histtype="step", linewidth=1.4, label=name, color=f"C{index % 10}"
            )
        if logarithmic:
            axes.set_xscale("log")
        axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel(label)
    axes.set_ylabel("masks")
    return _svg(figure)
