"""What the files of each recipe's rounds say: settings, labels, numbers and losses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from cleave import paths
from cleave.io import metrics, shards
from cleave.io.atomic import read_json
from cleave.io.coco import MaskFile, read_masks
from cleave.report.methods import Family, recipe_order
from cleave.report.timings import training_rate
from cleave.spec import canonical
from cleave.training.recorder import duration

SHARDS_READ = 4  # of a round's labels: what they consist of is told by the first ones


@dataclass(frozen=True)
class Labels:
    """What the labels of a round from 1 on consist of, in the shards that were read."""

    rule: Mapping[str, Any]  # the fields of `relabel`
    images: int  # that have any: a training leaves out the others
    predicted: int
    kept: int  # of the round before
    partial: bool  # not all shards were read


@dataclass(frozen=True)
class Round:
    """One training run of a recipe."""

    recipe: str
    number: int
    dataset: str
    trained: Mapping[str, Any]  # its trained.json
    lines: Sequence[Mapping[str, float]]  # of its metrics
    labels: Labels | None  # None in round 0, whose labels are pseudo-masks

    @property
    def of(self) -> str:
        """The name of its predictions."""
        return paths.of_round(self.recipe, self.number)

    @property
    def learn(self) -> Mapping[str, Any]:
        """The settings of the training; none of a run from before they were recorded."""
        return self.trained.get("spec", {}).get("learn", {})

    @property
    def steps(self) -> int:
        return int(self.trained["steps"])


def read_rounds(summary: Mapping[str, Any]) -> dict[str, list[Round]]:
    """The rounds of every recipe that has a detector, in order."""
    return {recipe: list(_rounds(recipe, summary)) for recipe in recipe_order(summary)}


def _rounds(recipe: str, summary: Mapping[str, Any]) -> Iterator[Round]:
    entry = summary["recipes"][recipe]
    names = {"dataset": entry["dataset"], "masks": entry["masks"]}
    before = paths.MASKS.format(**names, shard="{shard}"), entry["dataset"]
    for number, dataset in enumerate(entry["rounds"]):
        known = {"recipe": recipe, "round": number}
        lines = list(metrics.read(Path(paths.CURVES.format(**known))))
        trained = read_json(Path(paths.TRAINED.format(**known)))
        labels = None
        if number:
            pattern = paths.LABELS.format(**known, shard="{shard}")
            old = before[0] if before[1] == dataset else None
            total = summary["datasets"][dataset]["shards"]
            labels = read_labels(pattern, old, shards.names(total))
            before = pattern, dataset
        yield Round(recipe, number, dataset, trained, lines, labels)


def read_labels(pattern: str, old: str | None, names: Sequence[str]) -> Labels:
    """Counts which labels are predictions and which are masks of the round before.

    A kept mask is one that the old labels of the same image have, with the same score: what
    `ops.relabel` keeps it does not change.

    Args:
        pattern: path of the labels, with the shard left open.
        old: path of the labels of the round before; None where they are of other photos.
        names: of all shards.
    """
    predicted = kept = images = 0
    rule: Mapping[str, Any] = {}
    for shard in names[:SHARDS_READ]:
        _, found = read_masks(Path(pattern.format(shard=shard)))
        rule = found.info["spec"]["relabel"]
        merged = old is not None and rule["merge"]
        there = read_masks(Path(old.format(shard=shard)))[1] if merged else None
        for image, labels in found.content():
            same = _codes(there, image["key"])
            count = sum(_code(label) in same for label in labels)
            images += bool(labels)
            kept, predicted = kept + count, predicted + len(labels) - count
    return Labels(rule, images, predicted, kept, len(names) > SHARDS_READ)


def _codes(masks: MaskFile | None, image: str) -> set[tuple[str, float]]:
    return set() if masks is None else {_code(mask) for mask in masks.annotations(image)}


def _code(annotation: Mapping[str, Any]) -> tuple[str, float]:
    return annotation["segmentation"]["counts"], annotation["score"]


def families(summary: Mapping[str, Any], rounds: Mapping[str, Sequence[Round]]) -> list[Family]:
    """Joins the recipes that are the same but for their seed; a family stands where its first."""
    joined: dict[str, list[str]] = {}
    for recipe, found in rounds.items():
        joined.setdefault(_but_for_seed(recipe, summary, found), []).append(recipe)
    return [
        Family(_common(names), tuple(names), summary["recipes"][names[0]]["masks"], count)
        for names in joined.values()
        if (count := len(rounds[names[0]]))
    ]


def detectors(rounds: Sequence[Round], summary: Mapping[str, Any]) -> str:
    """The detector of the first round, and the kinds of all of them where they are known."""
    name = summary["recipes"][rounds[0].recipe]["detector"]
    kinds = dict.fromkeys(r.trained["spec"]["detector"]["kind"] for r in rounds if r.learn)
    return f"detector {name}" + (f" ({', '.join(kinds)})" if kinds else "")


def _but_for_seed(recipe: str, summary: Mapping[str, Any], rounds: Sequence[Round]) -> str:
    if not all(found.learn for found in rounds):
        return f"recipe {recipe}"
    made = [
        {
            "detector": found.trained["spec"]["detector"],
            "learn": {key: value for key, value in found.learn.items() if key != "seed"},
            "relabel": dict(found.labels.rule) if found.labels else None,
        }
        for found in rounds
    ]
    return canonical({"recipe": summary["recipes"][recipe], "rounds": made})


def _common(names: Sequence[str]) -> str:
    """What the names begin with, without what announces the seed: "a" of "a_s0" and "a_s1"."""
    if len(names) == 1:
        return names[0]
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    prefix = "".join(letters[0] for letters in same)
    return re.sub(r"[._-]+(seed|s)?\d*$", "", prefix) or names[0]


def table(
    family: Family, rounds: Mapping[str, Sequence[Round]], colours: Mapping[str, str]
) -> dict[str, Any]:
    """A line a round of each recipe, as text.

    Returns:
        `rows`; whether any round has new labels (`relabels`), of which only some shards were read
        (`partial`), or steps without a change (`skips`).
    """
    rows = [_row(found, colours) for recipe in family.recipes for found in rounds[recipe]]
    return {
        "rows": rows,
        "relabels": any(row["predicted"] for row in rows),
        "skips": any(row["skipped"] for row in rows),
        "partial": any(
            found.labels and found.labels.partial for r in family.recipes for found in rounds[r]
        ),
    }


def _row(found: Round, colours: Mapping[str, str]) -> dict[str, Any]:
    trained = found.trained
    rates = [line["learning_rate"] for line in found.lines if "learning_rate" in line]
    row = {
        "name": found.of,
        "colour": colours[found.of],
        "dataset": found.dataset,
        "seed": found.learn.get("seed", ""),
        "images": trained["images"],
        "without": trained["without_masks"],
        "masks": f"{trained['masks'] / trained['images']:.1f}",
        "steps": trained["steps"],
        "batch": trained["batch"],
        "rate": f"{max(rates):.3g}" if rates else "",
        "parameters": f"{trained['parameters'] / 1e6:.1f} M",
        "skipped": int(sum(line.get("skipped", 0) for line in found.lines)),
        "predicted": "",
        "kept": "",
        "rule": "pseudo-masks",
    }
    return row if found.labels is None else row | _label_cells(found.labels)


def training_times(rounds: Mapping[str, Sequence[Round]]) -> list[dict[str, str]]:
    """How long each training took, at the rate that its log ends with; none without a log."""
    return [
        {"name": found.of, "time": duration(found.steps * found.trained["batch"] / pace)}
        for several in rounds.values()
        for found in several
        if (pace := training_rate(found.recipe, found.number))
    ]


def _label_cells(labels: Labels) -> dict[str, str]:
    rule = labels.rule
    kept = "old masks kept" if rule["merge"] else "predictions alone"
    return {
        "predicted": f"{labels.predicted / max(labels.images, 1):.1f}",
        "kept": f"{labels.kept / max(labels.images, 1):.1f}",
        "rule": f"score ≥ {rule['threshold']:g}, at most {rule['detections']}; {kept}",
    }
