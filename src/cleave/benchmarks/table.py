"""Scores of many methods as one table: a CSV with every number, and Markdown to be read.

Rows have a role: `method`, `trivial` (looks at nothing), `ceiling` (knows the truth), or
`published` (a number from a paper, on the same data set but seldom of the same thing: most are of
detectors that were trained on pseudo-masks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleave.benchmarks import published
from cleave.benchmarks.baselines import DESCRIPTIONS
from cleave.io.atomic import replacing
from cleave.spec import ConfigError, nearest
from cleave.types import Scores

if TYPE_CHECKING:
    from pandas import DataFrame

PARTS = ("kind", "features", "depth", "graphs")  # what a mask section is made of
LEADING = ("method", "role", *PARTS, "saw_labels", "images", "objects")
METRICS = {  # metric -> title in Markdown; the CSV has all metrics under their own names
    "mask_AP": "AP",
    "mask_AP50": "AP50",
    "mask_AP75": "AP75",
    "mask_AR3": "AR@3",
    "mask_AR10": "AR@10",
    "mask_AR100": "AR@100",
    "mask_AR1000": "AR@1000",
    "mask_best_iou": "mean best IoU",
    "mask_best_iou_1pct": "the same, objects > 1 %",
    "CorLoc": "CorLoc",
    "box_AP": "box AP",
    "box_AP50": "box AP50",
    "box_AR100": "box AR@100",
    "masks_per_image": "masks / image",
}


def build(
    rows: Sequence[Mapping[str, Any]], scores: Mapping[str, Scores], dataset: str = ""
) -> DataFrame:
    """One row a method or baseline, in the given order, then the published numbers.

    Args:
        rows: each with `of` (the section's name, or a baseline's), `baseline`, and for methods
            `kind`, the references `features`, `depth`, `graphs`, and `saw_labels`, a list of the
            components that ever saw labels.
        scores: `of` to the metrics of `CocoBenchmark`.
        dataset: name of a data set of published.csv whose numbers to add; none if empty.

    Returns:
        Columns `LEADING`, then each metric followed by its `_low` and `_high`, then `source` and
        `status` of published numbers. What is not there is missing (NaN or "").

    Raises:
        ConfigError: a row without scores.
    """
    import pandas

    lines = [_line(row, scores) for row in rows]
    if dataset:
        lines += _published(dataset)
    metrics = _ordered({name for line in lines for name in line} - {*LEADING, "source", "status"})
    columns = [*LEADING, *metrics, *(("source", "status") if dataset else ())]
    frame = pandas.DataFrame(lines, columns=columns)
    text = [name for name in ("source", "status", *LEADING[:-2]) if name in frame]
    frame[text] = frame[text].astype(object).fillna("").astype(str)
    counts = ["images", "objects"]
    frame[counts] = frame[counts].round().astype("Int64")
    return frame


def _line(row: Mapping[str, Any], scores: Mapping[str, Scores]) -> dict[str, Any]:
    name = row["of"]
    if name not in scores:
        raise ConfigError(f"table: no scores of {name!r}; {nearest(name, scores)}")
    if row.get("baseline"):
        role, what = DESCRIPTIONS.get(name, ("trivial", ""))
        saw = "the ground truth" if role == "ceiling" else ""
        label = {"method": name.replace("_", " "), "role": role, "kind": what, "saw_labels": saw}
        return label | scores[name]
    parts = {part: row.get(part, "") for part in PARTS}
    saw = "; ".join(row.get("saw_labels", ()))
    return {"method": name, "role": "method", **parts, "saw_labels": saw, **scores[name]}


def _published(dataset: str) -> list[dict[str, Any]]:
    """The numbers that have a column here, one line per method, backbone, training and source."""
    lines: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in published.lookup(dataset):
        metric = published.our_name(row)
        if metric is None:
            continue
        source, *others = row.source.split(" ; ")  # the others repeat the number
        key = (row.method, row.backbone, row.train_data, source, row.status)
        while key in lines and lines[key].get(metric, row.value) != row.value:
            key = (*key, "again")  # the source has two numbers for it: both are shown
        line = lines.setdefault(
            key,
            {
                "method": row.method,
                "role": "published",
                "kind": f"train data: {row.train_data}",
                "features": row.backbone,
                "source": source,
                "status": row.status,
            },
        )
        line[metric] = row.value
        line["source"] = "; ".join(dict.fromkeys([*line["source"].split("; "), *others]))
    return list(lines.values())


def _ordered(names: set[str]) -> list[str]:
    """The metrics of `METRICS` first, then the others by name, each with its interval behind it."""
    bare = {name for name in names if not name.endswith(("_low", "_high"))}
    order = [*(m for m in METRICS if m in bare), *sorted(bare - METRICS.keys())]
    return [
        n for metric in order for n in (metric, f"{metric}_low", f"{metric}_high") if n in names
    ]


def markdown(frame: DataFrame, title: str) -> str:
    """The table as Markdown: our rows with intervals, and below them the published ones."""
    ours, theirs = frame[frame["role"] != "published"], frame[frame["role"] == "published"]
    images = ours["images"].dropna().unique()
    lines = [f"# {title}", ""]
    if len(images) == 1:
        objects = ours["objects"].dropna().unique()
        lines += [
            f"{images[0]} images, {objects[0]} objects. Per cent, class-agnostic; in brackets "
        ]
        lines[-1] += "the 95 % bootstrap interval over images."
        lines += ["*Trivial* rows look at nothing, *ceilings* know the truth: no methods.", ""]
    parts = [name for name in ("role", *PARTS, "saw_labels") if ours[name].astype(bool).any()]
    lines += _grid(ours, ["method", *parts])
    if len(theirs):
        lines += ["", "Published on this data set, as printed in the source; mostly of detectors "]
        lines[-1] += "trained on pseudo-masks, not of pseudo-masks themselves:"
        lines += ["", *_grid(theirs, ["method", "features", "kind", "status", "source"])]
    return "\n".join(lines) + "\n"


def _grid(frame: DataFrame, text: list[str]) -> list[str]:
    metrics = [name for name in METRICS if name in frame and frame[name].notna().any()]
    frame = frame[frame[metrics].notna().any(axis=1)]
    titles = [name.replace("_", " ") for name in text] + [METRICS[name] for name in metrics]
    lines = [titles, ["---"] * len(text) + ["---:"] * len(metrics)]
    for _, row in frame.iterrows():
        lines.append([row[name] for name in text] + [_cell(row, name) for name in metrics])
    return ["| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines]


def _cell(row: Mapping[str, Any], metric: str) -> str:
    value, low, high = (row.get(f"{metric}{end}") for end in ("", "_low", "_high"))
    if value is None or value != value:  # missing
        return ""
    if low is None or low != low:
        return f"{value:.1f}"
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _escaped(cell: Any) -> str:
    return str(cell).replace("|", "\\|").replace("\n", " ")


def write(frame: DataFrame, title: str, csv: Path, text: Path) -> None:
    """Writes both forms; equal tables give equal bytes. Numbers in the CSV have 4 decimals."""
    with replacing(csv) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.4f", lineterminator="\n")
    with replacing(text) as temporary:
        temporary.write_text(markdown(frame, title), encoding="utf-8")
