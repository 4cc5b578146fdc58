"""The report: an HTML page, and one of all methods face to face, readable without a network."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cleave import __version__, paths
from cleave.io.atomic import replacing
from cleave.report import curves, dataset, faceoff, gallery, pretraining, recipes
from cleave.report.methods import Family, expanded, labels, method_colours, ordered
from cleave.report.settings import read_settings
from cleave.report.speed import read_speed
from cleave.report.timings import read_timings

MANY = 16  # rows of a plot from which it is behind a click


def build(summary: Mapping[str, Any], output: Path, benches: Sequence[Path] = ()) -> None:
    """Writes the pages and their pictures.

    Args:
        summary: `Config.summary`, parsed.
        output: index.html, written last; `assets` beside it is emptied first.
        benches: files of `make bench`, a machine each.
    """
    folder = Path(output).parent
    shutil.rmtree(folder / "assets", ignore_errors=True)
    (folder / "assets").mkdir(parents=True)
    summary = ordered(expanded(summary))
    rounds = recipes.read_rounds(summary)
    families = recipes.families(summary, rounds)
    colours = method_colours(summary, families)
    for name in summary["benchmarks"]:
        shutil.copyfile(paths.TABLE.format(benchmark=name), folder / "assets" / f"{name}.csv")
    datasets = [
        dataset.section(name, summary, families, colours, folder) for name in summary["datasets"]
    ]
    timings = read_timings(summary)
    add_seconds(datasets, timings)
    faced = faceoff.build(summary, colours, folder)
    _write(folder / faceoff.FILE, faceoff.FILE, datasets=faced)
    _write(
        output,
        "report.html",
        faceoff=faceoff.FILE if faced else "",
        labels=labels(summary, families),
        colours=colours,
        datasets=datasets,
        many=MANY,
        sure_score=gallery.SURE,
        most_drawn=gallery.MOST_DRAWN,
        fewest_drawn=gallery.FEWEST_DRAWN,
        clusters_drawn=gallery.CLUSTERS_DRAWN,
        shards_read=recipes.SHARDS_READ,
        learning=_learning(summary, families, rounds, colours),
        pretraining=pretraining.read_pretraining(summary),
        timings=timings,
        trainings=recipes.training_times(rounds),
        pretrainings=pretraining.read_rates(summary),
        speed=read_speed(benches),
        settings=read_settings(summary, {d["name"]: d["specs"] for d in datasets}, rounds),
    )


def add_seconds(datasets: Sequence[Mapping[str, Any]], timings: Mapping[str, Any]) -> None:
    """Gives each row of the benchmarks its `seconds` an image, those of the method's own stage."""
    spent = {
        (row["section"], data): cell
        for row in timings["rows"]
        if row["stage"] in ("masks", "detect")
        for data, cell in zip(timings["columns"], row["cells"], strict=True)
    }
    for data in datasets:
        for benchmark in data["benchmarks"]:
            for row in benchmark["rows"]:
                row["seconds"] = spent.get((row["name"], data["name"]), "")
            benchmark["timed"] = any(row["seconds"] for row in benchmark["rows"])


def _write(output: Path, template: str, **shown: Any) -> None:
    html = _templates().get_template(template).render(version=__version__, **shown)
    with replacing(output) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _learning(
    summary: Mapping[str, Any],
    families: Sequence[Family],
    rounds: Mapping[str, Sequence[recipes.Round]],
    colours: Mapping[str, str],
) -> dict[str, Any]:
    """The part of the recipes that train detectors; empty lists where there is none."""
    scores = [
        curves.scores_by_round(name, entry, families, colours)
        for name, entry in summary["benchmarks"].items()
    ]
    return {
        "scores": [found for found in scores if found],
        "families": [
            {
                "name": family.name,
                "recipes": family.recipes,
                "masks": family.masks,
                "detectors": recipes.detectors(rounds[family.recipes[0]], summary),
                "colour": (colour := colours[rounds[family.recipes[0]][0].of]),
                "charts": curves.learning_curves(family, rounds, colour),
                "table": recipes.table(family, rounds, colours),
            }
            for family in families
        ],
    }


def _templates():
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
