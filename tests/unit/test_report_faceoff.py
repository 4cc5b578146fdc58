"""The page of all methods face to face, made from a small results folder of the real stages."""

import numpy as np
import pytest
from report_page import Page
from report_project import make_report, make_results

from cleave.ops.agreement import disagreement
from cleave.report import faceoff

CONFIG = {
    "datasets": {
        "crowded": {"kind": "scenes", "flavour": "crowded", "count": 5, "first_seed": 7100}
        | {"height": 48, "width": 64, "shards": 2},
        "unscored": {"kind": "scenes", "flavour": "control", "count": 2, "first_seed": 7200}
        | {"height": 48, "width": 64},
    },
    "features": {"colour": {"size": 64}},
    "depth": {"flat": {}},
    "graphs": {"colour": {"kind": "cosine", "features": "colour", "rule": "near_far"}},
    "masks": {
        "tokencut": {"graphs": "colour"},
        "maskcut": {"graphs": "colour", "refine": "none"},
        "alone": {"kind": "maskcut", "graphs": "colour", "refine": "none"},
    },
    "recipes": {
        "a": {"dataset": "unscored", "masks": "tokencut"},
        "b": {"dataset": "unscored", "masks": "maskcut"},
    },
    "benchmarks": {
        "crowded": {"dataset": "crowded", "masks": ["tokencut", "maskcut"], "bootstrap": 5}
    },
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("faceoff"))
        report = make_report(make_results(CONFIG).summary())
        yield Page(report.with_name(faceoff.FILE).absolute())


def test_every_image_stands_beside_all_methods(page):
    rows = page.all("tr", _class="panel")
    assert len(rows) == 5 + 2
    for picture in page.all("img", loading="lazy"):
        assert (page.folder / picture["src"]).stat().st_size > 0
    pictures = [p["alt"] for p in page.all("img", loading="lazy")]
    assert pictures.count("photo") == 7
    assert pictures.count("truth") == 5  # the other data set is not scored
    assert pictures.count("tokencut") == pictures.count("maskcut") == 7


def test_rows_come_by_disagreement_and_carry_what_they_sort_by(page):
    rows = page.all("tr", _class="panel")
    scored, unscored = rows[:5], rows[5:]
    for group in (scored, unscored):
        values = [float(row["data-disagreement"]) for row in group]
        assert values == sorted(values, reverse=True)
    for row in scored:
        methods = [float(row[f"data-m{i}"]) for i in range(2)]
        assert float(row["data-mean"]) == pytest.approx(sum(methods) / 2, abs=1)
        assert float(row["data-spread"]) == pytest.approx(abs(methods[0] - methods[1]), abs=1)
    assert all(row["data-mean"] == "" for row in unscored)
    options = page.text("option")
    assert "IoU: maskcut" in options
    assert "agreement with the others: maskcut" in options


def test_the_report_leads_there(page):
    assert Page(page.folder / "index.html").all("a", href=faceoff.FILE)
    assert page.all("a", href="index.html")


def test_of_a_recipe_the_last_round_is_shown_beside_masks_of_its_name():
    rows = {
        "maskcut": {"of": "maskcut"},
        "maskcut.round0": {"recipe": "maskcut"},
        "maskcut.round1": {"recipe": "maskcut"},
    }
    assert faceoff.compared(rows) == ["maskcut", "maskcut.round1"]


def test_of_many_images_half_are_the_most_disputed(monkeypatch):
    monkeypatch.setattr(faceoff, "PICTURED", 4)

    several = []
    for i in range(10):
        table = np.array([[1, i / 10], [i / 10, 1]])
        record = type("Record", (), {"id": f"{i}"})
        several.append(faceoff._Seen(None, record, {}, table))
    chosen = faceoff._pictured(several)
    assert [s.record.id for s in chosen[:2]] == ["0", "1"]
    assert len(chosen) == 4
    values = [disagreement(s.agreements) for s in chosen]
    assert values == sorted(values, reverse=True)


def test_one_method_has_nobody_to_face(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = {**CONFIG, "recipes": {}}
    raw["benchmarks"] = {"crowded": {"dataset": "crowded", "masks": ["maskcut"], "bootstrap": 5}}
    raw["datasets"] = {"crowded": {**CONFIG["datasets"]["crowded"], "count": 2, "shards": 1}}
    report = make_report(make_results(raw).summary())
    assert not Page(report).all("a", href=faceoff.FILE)
