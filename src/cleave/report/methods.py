"""The methods of a report: their order, their colours, and which pictures stand beside each other.

A method is a mask section or a round of a recipe; recipes that are the same but for their seed are
a family.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cleave.paths import of_round
from cleave.report import plots

MOST = 8  # pictures beside each other
ALL_ROUNDS = 12  # pictures of detectors up to which every round is shown


@dataclass(frozen=True)
class Family:
    """Recipes that train detectors and are the same but for their seed."""

    name: str
    recipes: tuple[str, ...]
    masks: str  # the section that round 0 learns from
    rounds: int  # of each of them, with round 0

    @property
    def methods(self) -> Iterator[str]:
        """Names of all rounds of all recipes."""
        yield from (of_round(r, n) for r in self.recipes for n in range(self.rounds))


def expanded(summary: Mapping[str, Any]) -> dict[str, Any]:
    """`Config.summary`, parsed, with what each method is made of wherever it is named.

    Returns:
        The summary with `masks`, name to make-up, in each data set; and `rows` in each benchmark:
        make-ups of the methods, then of the baselines.
    """
    known = summary["methods"]
    datasets = {
        name: {**entry, "masks": {of: known[of] for of in entry["masks"]}}
        for name, entry in summary["datasets"].items()
    }
    benchmarks = {
        name: {
            "dataset": entry["dataset"],
            "rows": [known[of] for of in entry["methods"]]
            + [{"of": of, "baseline": True} for of in entry["baselines"]],
        }
        for name, entry in summary["benchmarks"].items()
    }
    return {**summary, "datasets": datasets, "benchmarks": benchmarks}


def ordered(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The expanded summary, the methods of each data set in the order of the benchmarks' lists.

    The order in which the config defines the sections does not count: it must not make a report
    stale (DESIGN.md section 7), and the lists say what is to be read beside what. Rounds also get
    `masks_kind`, the kind of what they began with.
    """
    kinds = {
        of: row["kind"]
        for entry in summary["datasets"].values()
        for of, row in entry["masks"].items()
    }

    def known(row: Mapping[str, Any]) -> dict[str, Any]:
        return {**row, "masks_kind": kinds.get(row["masks"], "")} if "recipe" in row else dict(row)

    listed = _listed(summary)
    datasets = {}
    for name, entry in summary["datasets"].items():
        rows = entry["masks"]
        datasets[name] = {**entry, "masks": {m: known(rows[m]) for m in _order(rows, listed)}}
    benchmarks = {
        name: {**entry, "rows": [known(row) for row in entry["rows"]]}
        for name, entry in summary["benchmarks"].items()
    }
    return {**summary, "datasets": datasets, "benchmarks": benchmarks}


def _order(rows: Mapping[str, Mapping[str, Any]], listed: Sequence[str]) -> list[str]:
    """The listed methods first, then by name; the rounds of a recipe together."""
    names = [of for of in listed if of in rows] + sorted(rows)
    groups = list(dict.fromkeys(rows[of].get("recipe", of) for of in names))
    return sorted(
        rows, key=lambda m: (groups.index(rows[m].get("recipe", m)), rows[m].get("round", -1))
    )


def _listed(summary: Mapping[str, Any]) -> list[str]:
    return [row["of"] for b in summary["benchmarks"].values() for row in b["rows"]]


def recipe_order(summary: Mapping[str, Any]) -> list[str]:
    """The recipes with a detector, in the order of the benchmarks' lists, then by name."""
    rows = [row for b in summary["benchmarks"].values() for row in b["rows"]]
    trained = {name: entry for name, entry in summary.get("recipes", {}).items() if entry["rounds"]}
    listed = [row["recipe"] for row in rows if row.get("recipe") in trained]
    return list(dict.fromkeys([*listed, *sorted(trained)]))


def method_colours(summary: Mapping[str, Any], families: Sequence[Family] = ()) -> dict[str, str]:
    """The colour that each method has all over the page.

    A family has that of its pseudo-masks, so that a line can be followed from them through the
    rounds, unless another family began with the same.
    """
    entries = summary["datasets"].values()
    present = dict.fromkeys(
        method for entry in entries for method, row in entry["masks"].items() if "recipe" not in row
    )
    methods = [m for m in dict.fromkeys([*_listed(summary), *present]) if m in present]
    colours = {m: plots.COLOURS[i % len(plots.COLOURS)] for i, m in enumerate(methods)}
    used, taken = len(methods), set()
    for family in families:
        if family.masks in colours and family.masks not in taken:
            colour = colours[family.masks]
            taken.add(family.masks)
        else:
            colour, used = plots.COLOURS[used % len(plots.COLOURS)], used + 1
        colours |= dict.fromkeys(family.methods, colour)
    return colours


def labels(summary: Mapping[str, Any], families: Sequence[Family] = ()) -> list[dict[str, Any]]:
    """Each component that saw more than unlabeled images: name, what it saw, and its users."""
    named = {recipe: family.name for family in families for recipe in family.recipes}
    users: dict[str, dict[str, None]] = defaultdict(dict)
    for entry in summary["datasets"].values():
        for method, row in entry["masks"].items():
            for text in row["saw_labels"]:
                recipe = row.get("recipe")
                users[text][f"recipe {named.get(recipe, recipe)}" if recipe else method] = None
    return [
        {
            "component": text.partition(": ")[0],
            "saw": text.partition(": ")[2],
            "methods": sorted(users[text], key=lambda user: user.startswith("recipe ")),
        }
        for text in sorted(users)
    ]


@dataclass(frozen=True)
class Layout:
    """Which methods a panel shows: rows of names, None for a gap, and what it leaves out."""

    rows: tuple[tuple[str | None, ...], ...]
    aligned: bool = False  # what stands below each other belongs together
    left_out: str = ""  # in sentences

    @property
    def methods(self) -> list[str]:
        return [name for row in self.rows for name in row if name is not None]


def arrange(masks: Mapping[str, Mapping[str, Any]], families: Sequence[Family]) -> Layout:
    """Sets the pictures of detectors below those of what they learned from, as far as they fit.

    Args:
        masks: the methods of a data set, from `Config.summary`.
        families: all families, in order.
    """
    sections = [name for name, row in masks.items() if "recipe" not in row]
    shown, seeds = {}, False  # family -> the rounds that are shown, of its first recipe
    for family in families:
        here = [of for recipe in family.recipes if (of := _scored(recipe, family.rounds, masks))]
        seeds |= len(here) > 1
        if here:
            shown[family] = here[0]
    few = sum(map(len, shown.values())) <= ALL_ROUNDS
    left = [] if few else ["Of each recipe only the last round is shown."]
    left += ["Of recipes that differ by their seed alone only the first is shown."] if seeds else []
    if not few:
        shown = {family: dict([max(of.items())]) for family, of in shown.items()}
    return _layout(sections, shown, few, " ".join(left))


def _scored(recipe: str, rounds: int, masks: Mapping[str, Any]) -> dict[int, str]:
    """The rounds of a recipe that predicted on a data set, by number."""
    return {n: of for n in range(rounds) if (of := of_round(recipe, n)) in masks}


def _layout(
    sections: Sequence[str], shown: Mapping[Family, Mapping[int, str]], few: bool, left: str
) -> Layout:
    """All in one row; or a row a round, below the pseudo-masks or else a column a recipe."""
    rounds = [of for found in shown.values() for of in found.values()]
    if len(sections) + len(rounds) < MOST:  # with the truth
        return Layout(((*sections, *rounds),), False, left)
    by_masks = {family.masks: found for family, found in shown.items()}
    apart = len(by_masks) == len(shown) and by_masks.keys() <= set(sections)
    if apart and len(sections) < MOST and 2 * len(shown) >= len(sections):
        below = _by_round([by_masks.get(section, {}) for section in sections], few)
        return Layout((tuple(sections), *below), True, left)
    if few and len(sections) < MOST and 1 < len(shown) <= MOST:
        return Layout((tuple(sections), *_by_round(list(shown.values()), few)), False, left)
    return Layout((tuple(sections), tuple(rounds)), False, left)


def _by_round(columns: Sequence[Mapping[int, str]], few: bool) -> list[tuple[str | None, ...]]:
    """A row for each number of a round; of last rounds alone one row, whatever their numbers."""
    if not few:
        return [tuple(next(iter(found.values()), None) for found in columns)]
    numbers = sorted({number for found in columns for number in found})
    return [tuple(found.get(number) for found in columns) for number in numbers]
