"""Scores of many methods as one table: a CSV with every number, and Markdown to be read.

Rows have a role: `method`, `trivial` (looks at nothing), `ceiling` (knows the truth), or
`published` (a number from a paper, on the same data set but seldom of the same thing: most are of
detectors that were trained on pseudo-masks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleave.benchmarks import comparison, paired, published
from cleave.benchmarks.baselines import DESCRIPTIONS
from cleave.io.atomic import replacing
from cleave.spec import ConfigError, nearest
from cleave.types import Scores

if TYPE_CHECKING:
    from pandas import DataFrame

PARTS = ("kind", "features", "depth", "graphs")  # what a mask section is made of
TRAINING = ("masks", "recipe", "detector", "round", "trained_on", "training_images")  # a detector
LEADING = ("method", "role", *PARTS, *TRAINING, "saw_labels", "images", "objects")
COUNTS = ("round", "training_images", "images", "objects")
METRICS = {  # metric -> title in Markdown; the CSV has all metrics under their own names
    "mask_AP": "AP",
    "mask_AP50": "AP50",
    "mask_AP75": "AP75",
    "mask_AR3": "AR@3",
    "mask_AR3_1pct": "AR@3, objects > 1 %",
    "mask_AR10": "AR@10",
    "mask_AR100": "AR@100",
    "mask_AR1000": "AR@1000",
    "mask_AR1000_S": "AR@1000 small",
    "mask_AR1000_M": "AR@1000 medium",
    "mask_AR1000_L": "AR@1000 large",
    "mask_AR1000_level0": "AR@1000 roots",
    "mask_AR1000_level1": "AR@1000 level 1",
    "mask_AR1000_level2": "AR@1000 level 2",
    "mask_AR1000_level3": "AR@1000 level 3+",
    "mask_best_iou": "mean best IoU",
    "mask_best_iou_1pct": "the same, objects > 1 %",
    "CorLoc": "CorLoc",
    "box_AP": "box AP",
    "box_AP50": "box AP50",
    "box_AP75": "box AP75",
    "box_AR100": "box AR@100",
    "recall50_multi": "recall at .5, several of their class",
    "recall50_single": "recall at .5, the only one of their class",
    "recall_multi": "recall .5 to .95, several",
    "recall_single": "recall .5 to .95, the only one",
    "merge_error": "merge error",
    "saliency_iou": "saliency IoU",
    "saliency_CorLoc": "saliency CorLoc",
    "masks_per_image": "masks / image",
}


def build(
    rows: Sequence[Mapping[str, Any]], scores: Mapping[str, Scores], dataset: str = ""
) -> DataFrame:
    """One row a method or baseline, in the given order, then the published numbers.

    Args:
        rows: each with `of` (the section's name, or a baseline's), `baseline`, and for methods
            `kind`, the references `features`, `depth`, `graphs`, and `saw_labels`, a list of the
            components that ever saw labels. A row of a detector also has `masks`, `recipe`,
            `detector`, `round`, `trained_on` (data sets) and `images`, that it was trained on.
        scores: `of` to the metrics of `CocoBenchmark`.
        dataset: name of a data set of published.csv whose numbers to add; none if empty.

    Returns:
        Columns `LEADING` (of `TRAINING` those that some row has), then each metric followed by its
        `_low` and `_high`, the differences to published numbers, then `source` and `status` of
        published numbers. What is not there is missing (NaN or "").

    Raises:
        ConfigError: a row without scores.
    """
    import pandas

    lines = [_line(row, scores, dataset) for row in rows]
    if dataset:
        lines += _published(dataset)
    present = {name for line in lines for name in line}
    leading = [name for name in LEADING if name in present or name not in TRAINING]
    columns = [*leading, *_ordered(present - {*LEADING, "source", "status"})]
    columns += [column for column in _differences(dataset) if column in present]
    columns += ("source", "status") if dataset else ()
    frame = pandas.DataFrame(lines, columns=columns)
    counts = [name for name in COUNTS if name in frame]
    text = [name for name in ("source", "status", *leading) if name in frame and name not in counts]
    frame[text] = frame[text].astype(object).fillna("").astype(str)
    frame[counts] = frame[counts].astype(float).round().astype("Int64")
    return frame


def _line(row: Mapping[str, Any], scores: Mapping[str, Scores], dataset: str) -> dict[str, Any]:
    name = row["of"]
    if name not in scores:
        raise ConfigError(f"table: no scores of {name!r}; {nearest(name, scores)}")
    if row.get("baseline"):
        role, what = DESCRIPTIONS.get(name, ("trivial", ""))
        saw = "the ground truth" if role == "ceiling" else ""
        label = {"method": name.replace("_", " "), "role": role, "kind": what, "saw_labels": saw}
        return label | scores[name]
    parts = {part: row.get(part, "") for part in PARTS}
    return {
        **{"method": name, "role": "method", **parts, **_training(row)},
        "saw_labels": "; ".join(row.get("saw_labels", ())),
        **scores[name],
        **comparison.differences(row, scores[name], dataset),
    }


def _training(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a detector was made of; nothing for masks that were cut."""
    if "detector" not in row:
        return {}
    found = {part: row[part] for part in TRAINING if part in row}
    if "trained_on" in found:
        found["trained_on"] = "; ".join(found["trained_on"])
    return found | ({"training_images": row["images"]} if "images" in row else {})


def _differences(dataset: str) -> list[str]:
    """Every column that differences may have, in the order of the published file."""
    return [
        comparison.column(metric, reference)
        for reference in published.references(dataset)
        for metric in reference.values
    ]


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
    names = {name for name in names if not comparison.is_difference(name)}
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
        lines.append(
            f"{images[0]} images, {objects[0]} objects. Per cent, class-agnostic; in brackets "
            "the 95 % bootstrap interval over images."
        )
        lines += ["*Trivial* rows look at nothing, *ceilings* know the truth: no methods.", ""]
    parts = [name for name in ("role", *PARTS, *TRAINING, "saw_labels") if _any(ours, name)]
    lines += _grid(ours, ["method", *parts])
    lines += _paired(ours)
    lines += _compared(ours)
    if len(theirs):
        said = (
            "Published on this data set, as printed in the source; mostly of detectors "
            "trained on pseudo-masks, not of pseudo-masks themselves:"
        )
        lines += ["", said, "", *_grid(theirs, ["method", "features", "kind", "status", "source"])]
    return "\n".join(lines) + "\n"


def _any(frame: DataFrame, name: str) -> bool:
    return name in frame and bool((frame[name].notna() & (frame[name] != "")).any())


def _paired(ours: DataFrame) -> list[str]:
    """Our rows minus one of them, bold where the interval leaves 0 out."""
    block = paired.block(ours.to_dict("records"))
    if block is None:
        return []
    said = (
        f"Minus `{block.against}`, on the same resamples of the images; bold where the "
        "interval leaves 0 out:"
    )
    lines = ["", said, "", "| | " + " | ".join(paired.METRICS[m] for m in block.metrics) + " |"]
    lines.append("| --- |" + " ---: |" * len(block.metrics))
    for name, cells in block.rows:
        shown = ["" if cell is None else _signed(cell) for cell in cells]
        lines.append(f"| {_escaped(name)} | " + " | ".join(shown) + " |")
    return lines


def _signed(cell: tuple[float, float, float]) -> str:
    value, low, high = cell
    text = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"**{text}**" if paired.is_clear(cell) else text


def _compared(ours: DataFrame) -> list[str]:
    """For each metric: published numbers, and our methods minus them."""
    lines = []
    for block in comparison.blocks(ours.to_dict("records"), METRICS):
        methods = [_escaped(name) for name in block.methods]
        lines += ["", f"{METRICS[block.metric]}: ours, published, and ours minus published:", ""]
        lines.append("| | published | " + " | ".join(methods) + " |")
        lines.append("| --- |" + " ---: |" * (len(methods) + 1))
        lines.append("| this run | | " + " | ".join(f"{value:.1f}" for value in block.ours) + " |")
        for name, value, found in block.rows:
            cells = " | ".join(f"{difference:+.1f}" for difference in found)
            lines.append(f"| {_escaped(name)} | {value:.1f} | {cells} |")
    if any("?" in line for line in lines):
        lines += ["", "? The source does not say what the number is of; its task is inferred."]
    return lines


def _grid(frame: DataFrame, text: list[str]) -> list[str]:
    metrics = [name for name in METRICS if name in frame and frame[name].notna().any()]
    frame = frame[frame[metrics].notna().any(axis=1)]
    titles = [name.replace("_", " ") for name in text] + [METRICS[name] for name in metrics]
    lines = [titles, ["---"] * len(text) + ["---:"] * len(metrics)]
    for _, row in frame.iterrows():
        lines.append([_text(row[name]) for name in text] + [_cell(row, n) for n in metrics])
    return ["| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines]


def _text(value: Any) -> str:
    """A label as text; counts that a row lacks are blank."""
    import pandas

    return "" if pandas.isna(value) else str(value)


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
