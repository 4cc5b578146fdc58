"""The page of recipes that train detectors, from written rounds: nothing is trained here."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_page import Page
from report_project import make_report, make_results

from cleave import config, paths
from cleave.io import metrics
from cleave.io.atomic import read_json
from cleave.io.coco import read_masks
from cleave.ops.render import scene
from cleave.report import recipes
from cleave.report.curves import falls, learning_curves, scores_by_round, thinned
from cleave.report.gallery import FEWEST_DRAWN, MOST_DRAWN, SURE, to_draw
from cleave.report.methods import Family, expanded, method_colours, ordered, recipe_order
from cleave.types import Size

TRAINING = {"steps": 200, "log_every": 2, "warmup_steps": 20, "decay_steps": [100], "batch": 4}
LEARNED = {"dataset": "crowded", "masks": "maskcut", "detector": "small", "training": TRAINING}
TIMES = "\u00d7"
BOXES = {"iou_types": ["box"], "baselines": ["centre_box"], "bootstrap": 10}

# Two seeds with two rounds; a recipe of one round that has one line of metrics; one that goes on
# with photos that nothing else looks at; and one that trains nothing. On `cars` there are boxes
# alone, and nothing but detectors.
CONFIG = {
    "datasets": {
        "crowded": {"kind": "scenes", "flavour": "crowded", "count": 4, "first_seed": 7000}
        | {"height": 48, "width": 64, "shards": 2},
        "domain": {"kind": "scenes", "flavour": "control", "count": 2, "height": 48, "width": 64},
        "cars": {"kind": "kitti", "images": "kitti/images", "annotations": "kitti/labels"},
    },
    "features": {"colour": {"size": 64}},
    "depth": {"sensor": {"kind": "rendered", "noise": "sensor"}},
    "graphs": {"colour": {"kind": "cosine", "features": "colour", "rule": "near_far"}},
    "masks": {
        "maskcut": {"graphs": "colour", "refine": "none"},
        "cleave3d": {"graphs": "colour", "depth": "sensor", "refine": "none"},
    },
    "detectors": {"small": {"kind": "mask_rcnn"}, "wide": {"kind": "cascade_mask_rcnn"}},
    "recipes": {
        "plain": {"dataset": "crowded", "masks": "maskcut"},
        "learned_s0": {**LEARNED, "seed": 0, "rounds": [{"relabel": {"threshold": 0.6}}]},
        "learned_s1": {**LEARNED, "seed": 1, "rounds": [{"relabel": {"threshold": 0.6}}]},
        "short": {**LEARNED, "detector": "wide"}
        | {"training": {"steps": 3, "warmup_steps": 0, "decay_steps": [], "log_every": 3}},
        "moved": {**LEARNED, "masks": "cleave3d"}
        | {"rounds": [{"dataset": "domain", "relabel": {"merge": False}}]},
    },
    "benchmarks": {
        "crowded": {
            "dataset": "crowded",
            "masks": ["maskcut", "cleave3d"],
            "recipes": ["learned_s0", "learned_s1", "short", "moved"],
            "bootstrap": 10,
            "baselines": ["centre_box"],
        },
        "cars": {"dataset": "cars", "recipes": ["learned_s0", "moved.round1"], **BOXES},
    },
}


def write_kitti(folder: Path) -> None:
    for seed in (1, 2):
        rendered = scene("crowded", seed, Size(48, 64))
        picture = folder / f"images/00000{seed}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rendered.pixels).save(picture)
        lines = []
        for mask in rendered.instances:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = f"{columns[0]} {rows[0]} {columns[-1] + 1} {rows[-1] + 1}"
            lines.append(f"Car 0 0 0 {box} 1 1 1 0 0 0 0\n")
        labels = folder / f"labels/00000{seed}.txt"
        labels.parent.mkdir(exist_ok=True)
        labels.write_text("".join(lines))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(folder, summary) of a run with its report. Do not change it: copy it with `copy`."""
    folder = tmp_path_factory.mktemp("recipes")
    write_kitti(folder / "kitti")
    with contextlib.chdir(folder):
        summary = make_results(CONFIG).summary()
        make_report(summary)
    return folder, summary


@pytest.fixture(scope="module")
def shown(finished):
    return Page(finished[0] / paths.REPORT)


@pytest.fixture
def inside(finished, monkeypatch):
    """The run as the working directory, not to be changed; gives the summary in order."""
    monkeypatch.chdir(finished[0])
    return ordered(expanded(json.loads(finished[1])))


@pytest.fixture
def copy(finished, tmp_path, monkeypatch):
    """A copy to change, as the working directory; gives the summary."""
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return finished[1]


def test_the_page_is_whole_and_offline(shown):
    assert shown.open == []
    assert not re.search(r"https?:|url\(|@import|\bnan\b", shown.source, re.IGNORECASE)
    used = {element["src"] for element in shown.all("img", loading="lazy")}
    assert used == {f"assets/{p.name}" for p in (shown.folder / "assets").glob("*.webp")}
    assert len(shown.source) < 400_000


def test_each_family_has_its_rounds_in_a_table(shown):
    titles = shown.text("h3")
    # As in the lists, the first benchmark first.
    assert titles[-3:] == ["learned", "moved", "short"]
    rows = shown.text("tr")

    def row(of: str) -> str:
        return next(text for text in rows if text.startswith(f"{of} ") and TIMES in text)

    assert re.match(
        r"learned_s1\.round0 crowded 1 4 \d\.\d pseudo-masks 200 . 4", row("learned_s1.round0")
    )
    new = r"crowded 0 4 \d+\.\d \d+\.\d \d+\.\d score ≥ 0\.6, at most 30; old masks kept 200 . 4 "
    assert re.search(new + r"0\.0\d+ 0\.9 M$", row("learned_s0.round1"))
    assert "domain 0 1 1 without masks 1.0 1.0 0.0" in row("moved.round1")
    assert "0.0 score ≥ 0.7, at most 30; predictions alone" in row("moved.round1")
    assert "The recipes learned_s0, learned_s1 differ by their seed alone" in " ".join(
        shown.text("p")
    )


def test_scores_go_from_pseudo_masks_through_the_rounds(inside):
    rounds = recipes.read_rounds(inside)
    families = recipes.families(inside, rounds)
    colours = method_colours(inside, families)
    found = scores_by_round("crowded", inside["benchmarks"]["crowded"], families, colours)
    assert [entry["name"] for entry in found["legend"]] == [
        "learned_s0",
        "learned_s1",
        "moved",
        "short",
    ]
    shapes = [entry["shape"] for entry in found["legend"]]
    assert shapes[0] != shapes[1]  # two seeds of one colour
    assert found["legend"][0]["colour"] == found["legend"][1]["colour"]
    titles = [re.search(r'class="title"[^>]*>([^<]*)', chart)[1] for chart in found["charts"]]
    assert titles == ["AP, %", "AP50, %", "AR@100, %", "mean best IoU, %"]
    assert all(">masks</text>" in chart for chart in found["charts"])
    first = found["charts"][0]
    assert first.count('class="point"') == 3 + 3 + 2 + 3  # with the pseudo-masks of each
    assert first.count('class="line thick"') == 1
    assert first.count('class="whisker"') == 3 + 3 + 2 + 3
    score = Path(paths.SCORES.format(benchmark="crowded", of="short.round0"))
    value = json.loads(score.read_text())["scores"]["mask_AP"]
    assert f"<title>short: {value:.3g}</title>" in first


def test_a_benchmark_of_detectors_and_boxes_alone(shown, inside):
    rounds = recipes.read_rounds(inside)
    families = recipes.families(inside, rounds)
    colours = method_colours(inside, families)
    found = scores_by_round("cars", inside["benchmarks"]["cars"], families, colours)
    assert [entry["name"] for entry in found["legend"]] == ["learned_s0", "moved"]
    assert len(found["charts"]) == 4
    assert all("box " in chart and ">masks</text>" not in chart for chart in found["charts"])
    assert not found["means"]
    assert not any("thick" in chart for chart in found["charts"])  # one seed has no mean
    (section,) = [e["text"] for e in shown.all("section", id="data-cars")]
    assert "features colour" not in section  # they were made of other photos
    assert "Predictions of detectors" in section
    assert not re.search(r"truth\s+\d+ object", section)
    assert re.search(r"truth\s+\d+ boxes", section)
    assert "IoU of their box with that of their best mask" in section


def test_data_set_of_a_round_alone(shown):
    (section,) = [" ".join(e["text"].split()) for e in shown.all("section", id="data-domain")]
    assert section.startswith("domain 2 images, a data set of kind scenes.")
    assert section.endswith("Recipes learn from them; nothing else is shown of them.")


def test_predictions_stand_beside_pseudo_masks(shown):
    captions = shown.text("figcaption")
    panel = captions[captions.index("photo") :]
    panel = panel[: panel.index("photo", 1)]
    named = [text.split()[0] for text in panel]
    assert "learned_s0.round1" in named
    assert not any(name.startswith("learned_s1") for name in named)
    (text,) = [text for text in panel if text.startswith("learned_s0.round1")]
    count = int(re.search(r", (\d+) of 20 masks", text)[1])
    assert FEWEST_DRAWN <= count <= MOST_DRAWN
    assert "Of recipes that differ by their seed alone only the first is shown." in shown.source


def test_settings_and_times_tell_of_the_rounds(shown):
    rows = shown.text("tr")
    assert any(text.startswith("detectors wide cascade_mask_rcnn") for text in rows)
    (line,) = [t for t in rows if t.startswith("recipes learned_s1.round1 round 1")]
    assert "relabel.threshold 0.6, seed 1" in line
    assert "training.steps 200" in line
    assert "train short.round0 0.400" in rows
    assert "learned_s0.round0 5 min" in rows  # 200 steps of 4 images, 2.5 a second
    assert "moved.round1 5 min" in rows
    before_times = shown.source.partition('<section id="time">')[0]
    assert " min<" not in before_times  # so that but for its times the page is a function of files


def test_same_inputs_give_same_bytes(copy):
    report = Path(paths.REPORT).parent
    before = {p: p.read_bytes() for p in report.rglob("*") if p.is_file()}
    make_report(copy)
    assert {p: p.read_bytes() for p in report.rglob("*") if p.is_file()} == before


def test_a_round_without_metrics_or_log_or_recorded_settings(copy):
    """An old run, or one whose logs were thrown away: the page has less, and is there."""
    for path in Path("results/recipes").rglob("metrics.jsonl"):
        path.write_text("")
    shutil.rmtree("results/logs")
    for path in Path("results/recipes").rglob("trained.json"):
        found = read_json(path)
        del found["spec"]
        path.write_text(json.dumps(found))
    made = Page(make_report(copy))
    assert made.text("h3")[-4:] == ["learned_s0", "moved", "learned_s1", "short"]
    assert "total loss" not in made.source
    assert not made.all("section", id="time")


def test_a_recipe_without_a_detector_has_no_part():
    raw = {**CONFIG, "recipes": {"plain": CONFIG["recipes"]["plain"]}}
    raw["benchmarks"] = {"crowded": {"dataset": "crowded", "masks": "maskcut"}}
    summary = ordered(expanded(json.loads(config.load(raw).summary())))
    assert recipe_order(summary) == []
    assert recipes.read_rounds(summary) == {}
    assert recipes.families(summary, {}) == []


def test_labels_are_counted_as_the_stage_counts_them(inside):
    """The naive twin decodes all masks and compares them one with another."""
    found = recipes.read_rounds(inside)["learned_s0"][1].labels
    old, new = [], []
    for shard in ("0001-of-0002", "0002-of-0002"):
        masks = paths.MASKS.format(dataset="crowded", masks="maskcut", shard=shard)
        labels = paths.LABELS.format(recipe="learned_s0", round=1, shard=shard)
        old += list(read_masks(Path(masks))[1].items())
        new += list(read_masks(Path(labels))[1].items())
    kept = sum(
        any((mask == other).all() for other in dict(old)[image].masks)
        for image, masks in new
        for mask in masks.masks
    )
    assert (found.kept, found.predicted) == (kept, sum(len(m) for _, m in new) - kept)
    assert found.kept > 0
    assert found.predicted > 0


FAMILY = Family("a", ("a",), "m", 2)


def one_round(lines, number=0, steps=10) -> recipes.Round:
    return recipes.Round("a", number, "d", {"steps": steps}, lines, None)


def test_curves_of_one_line_are_a_point():
    lines = [{"step": 10, "loss": 2.0, "learning_rate": 0.1, "mask": 1.0, "skipped": 0}]
    charts = learning_curves(Family("a", ("a",), "m", 1), {"a": [one_round(lines)]}, "#123456")
    assert [re.search(r'class="title"[^>]*>([^<]*)', c)[1] for c in charts] == [
        "total loss",
        "mask",
        "learning rate",
    ]
    for chart in charts:
        assert chart.count('class="point"') == 1
        assert 'class="line"' not in chart
        assert 'class="begins"' not in chart


def test_rounds_follow_each_other_on_one_axis():
    rates = [0.1, 0.1, 0.01, 0.01]
    lines = [{"step": s, "loss": 5.0 - s, "learning_rate": r} for s, r in enumerate(rates, 1)]
    rounds = {"a": [one_round(lines, 0, 4), one_round(lines, 1, 4)]}
    total, rate = learning_curves(FAMILY, rounds, "#123456")
    for chart in (total, rate):
        assert chart.count('class="line"') == 2
        assert chart.count('class="begins"') == 2
        assert chart.count("learning rate 0.1 to 0.01") == 2
    left, right = re.findall(r'class="line" d="M([\d.]+) [^"]*L([\d.]+) [\d.]+"', total)
    # Steps 1 to 4 and 5 to 8 of 8, on an axis of 248 pixels.
    assert [float(x) for x in (*left, *right)] == pytest.approx([31, 124, 155, 248], abs=0.1)


def test_a_fall_is_where_the_last_line_before_it_stands():
    lines = [{"step": 10 * i, "learning_rate": r} for i, r in enumerate([0.01, 0.1, 0.1, 0.02])]
    assert list(falls(lines)) == [(20, 0.1, 0.02)]


def test_thinned_points_are_means_and_lose_nothing():
    points = [(float(i), float(i % 7)) for i in range(1000)]
    found = thinned(points, 50)
    assert len(found) == 50
    assert found == [
        (float(np.mean([x for x, _ in points[i : i + 20]])),
         float(np.mean([y for _, y in points[i : i + 20]])))
        for i in range(0, 1000, 20)
    ]  # fmt: skip
    assert thinned(points[:50], 50) == points[:50]


def test_values_that_are_no_numbers_are_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"loss": NaN, "step": 1}\n{"loss": 1.0, "step": 2}\n{"loss": 3')
    (chart,) = learning_curves(
        Family("a", ("a",), "m", 1), {"a": [one_round(list(metrics.read(path)))]}, "#123456"
    )
    assert chart.count('class="point"') == 1


def test_what_is_drawn_of_a_detector():
    def found(scores):
        return [{"score": score} for score in scores]

    low = found([0.1, 0.3, 0.2, 0.4, 0.05])
    assert [a["score"] for a in to_draw(low)] == [0.4, 0.3, 0.2]
    high = found(np.linspace(SURE, 1, 40))
    assert len(to_draw(high)) == MOST_DRAWN
    assert to_draw(high)[0]["score"] == 1
    assert len(to_draw(found([0.9, 0.8, 0.7, 0.6, 0.2]))) == 4
    assert to_draw([]) == []


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a_s0", "a_s1"], "a"),
        (["masks0", "masks1"], "masks"),
        (["x-seed1", "x-seed2"], "x"),
        (["one", "two"], "one"),
        (["c_10", "c_11"], "c"),
        (["only_s0"], "only_s0"),
    ],
)
def test_a_family_has_what_its_names_begin_with(names, expected):
    assert recipes._common(names) == expected
