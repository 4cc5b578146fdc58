"""The whole page, made from a small results folder that the real stages wrote."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from report_page import Page
from report_project import STRANGE, make_report, make_results, write_photos

from cleave import config, paths
from cleave.io.artifacts import pack_graph, unpack_graph
from cleave.io.atomic import read_json
from cleave.io.coco import read_masks, write_masks
from cleave.io.images import ImageShard, read_image_shard, write_image_shard
from cleave.io.store import read_shard, write_shard
from cleave.ops.render import scene
from cleave.report import dataset
from cleave.types import MaskSet, Size

# Eleven scenes so that there are best and worst ones beside those by lot; and a folder whose photos
# are as odd as they come. The lists name the methods in an order that is not the alphabet's.
CONFIG = {
    "datasets": {
        "crowded": {"kind": "scenes", "flavour": "crowded", "count": 11, "first_seed": 7000}
        | {"height": 48, "width": 64, "shards": 2},
        "mine": {"kind": "folder", "root": "photos", "shards": 2},
    },
    "features": {"colour": {"size": 64}},
    "depth": {"sensor": {"kind": "rendered", "noise": "sensor"}, "flat": {}},
    "graphs": {
        "colour": {"kind": "cosine", "features": "colour", "rule": "near_far", "centre": True},
        "near": {"kind": "cosine", "features": "colour", "depth": "sensor", "importance": True},
    },
    "masks": {
        "tokencut": {"graphs": "colour"},
        "maskcut": {"graphs": "near", "refine": "none"},
        "cleave3d": {"graphs": "colour", "depth": "sensor", "refine": "none"},
        "flat3d": {"kind": "cleave3d", "graphs": "colour", "depth": "flat", "refine": "none"},
    },
    "recipes": {"mine": {"dataset": "mine", "masks": "flat3d"}},
    "benchmarks": {
        "crowded": {
            "dataset": "crowded",
            "masks": ["tokencut", "maskcut", "cleave3d"],
            "bootstrap": 20,
            "published": "COCO20k",
            "baselines": ["centre_box", "patch_truth"],
        }
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(folder, summary) of a run with its report. Do not change it: copy it with `copy`."""
    folder = tmp_path_factory.mktemp("report")
    write_photos(folder / "photos")
    with contextlib.chdir(folder):
        summary = make_results(CONFIG).summary()
        make_report(summary)
    return folder, summary


@pytest.fixture
def copy(finished, tmp_path, monkeypatch):
    """A copy to change, as the working directory; gives the summary."""
    folder, summary = finished
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return summary


@pytest.fixture(scope="module")
def shown(finished):
    return Page(finished[0] / paths.REPORT)


def test_elements_are_closed(shown):
    assert shown.open == []
    assert shown.text("title")[0] == "cleave report"


def test_every_picture_is_there_and_of_the_size_that_the_page_says(shown):
    pictures = shown.all("img", loading="lazy")
    assert len(pictures) > 60
    for element in pictures:
        with Image.open(shown.folder / unquote(element["src"])) as picture:
            assert picture.format == "WEBP"
            assert picture.size == (int(element["width"]), int(element["height"]))
        assert element["alt"]
    used = {element["src"] for element in pictures}
    assert used == {f"assets/{p.name}" for p in (shown.folder / "assets").glob("*.webp")}


def test_every_link_resolves_inside_the_folder(shown):
    ids = {element["id"] for element in shown.elements if "id" in element}
    links = [element["href"] for element in shown.elements if "href" in element]
    assert len(links) > 60
    for link in links:
        if link.startswith("#"):
            assert unquote(link[1:]) in ids
        elif link != "data:,":
            assert (shown.folder / unquote(link)).is_file(), link
            assert (shown.folder / unquote(link)).resolve().is_relative_to(shown.folder)


def test_nothing_is_loaded_from_a_network(shown):
    assert not re.search(r"https?:|url\(|@import|srcset|\bfetch\(|XMLHttp", shown.source)
    for element in shown.elements:
        assert not any(str(value).startswith("//") for value in element.values())
        assert element["tag"] not in ("iframe", "object", "embed", "base")
    assert all("src" not in element for element in shown.all("script"))
    assert [element["href"] for element in shown.all("link")] == ["data:,"]


def test_files_are_small(shown):
    assert len(shown.source) < 200_000
    sizes = [p.stat().st_size for p in (shown.folder / "assets").glob("*.webp")]
    assert max(sizes) < 60_000
    assert np.mean(sizes) < 15_000


def test_names_of_images_are_text(shown):
    assert any(title.startswith(STRANGE) for title in shown.text("h5"))
    assert "<b>&" not in shown.source
    assert "broken <i>.jpg" in shown.text("code")


def test_methods_have_the_order_of_the_config_and_one_colour(shown):
    order = ["tokencut", "maskcut", "cleave3d"]
    rows = [e["text"].split()[0] for e in shown.all("td", class_="text") if e["text"].strip()]
    assert rows[:5] == [*order, "centre", "patch"]
    captions = [text.split()[0] for text in shown.text("figcaption")]
    assert [text for text in captions if text in CONFIG["masks"]][:3] == order
    # In tables and captions, and beside the plots.
    swatches = set(re.findall(r'--colour: (#\w+)"></span>(\w+)', shown.source))
    swatches |= set(re.findall(r'fill="(#\w+)"/><text class="name"[^>]*>(\w+)', shown.source))
    methods = [(name, colour) for colour, name in swatches if name in CONFIG["masks"]]
    assert sorted(name for name, _ in methods) == sorted(CONFIG["masks"])
    assert len({colour for _, colour in methods}) == len(methods)


def test_panels_show_every_stage_and_method_beside_truth(shown):
    captions = shown.text("figcaption")
    panels = [i for i, text in enumerate(captions) if text == "photo"]
    first = captions[panels[0] : panels[1]]
    assert first[:6] == [
        *("photo", "features colour", "depth sensor"),
        *("eigenvector colour", "importance near", "eigenvector near"),
    ]
    assert re.fullmatch(r"truth \d+ objects?", first[6])
    for text, method in zip(first[7:], ("tokencut", "maskcut", "cleave3d"), strict=True):
        assert re.fullmatch(rf"{method} IoU \d+, \d+ masks?", text)
    last = captions[panels[-1] :]
    assert not any(text.startswith("truth") for text in last)
    assert re.fullmatch(r"flat3d \d+ masks?", last[-1])
    assert shown.text("h4") == [
        "Drawn by lot",
        "Best of the rest, by the mean IoU of all methods",
        "Worst of the rest",
        "Drawn by lot",
    ]


def test_benchmark_table_has_intervals_gain_and_marks_what_is_no_method(shown):
    table = shown.text("table", class_="wide")[0]
    assert "gain in IoU" in table
    assert "paired difference to tokencut" in " ".join(shown.text("p"))
    assert re.search(r"\d+\.\d 0?\d*\.\d to \d+\.\d", table)
    assert "trivial: one mask, a centred box" in table
    assert "ceiling: the truth on the patch grid" in table
    assert len(shown.all("tr", class_="baseline")) == 2
    best = [e for e in shown.all("td", class_="best")]
    assert best
    assert all("patch" not in e["text"] for e in best)


def test_published_numbers_have_their_source_and_stand_below_ours(shown):
    assert any(re.fullmatch(r"\d+ published results on COCO20k", s) for s in shown.text("summary"))
    table = shown.text("table", class_="wide")[1]
    row = r"CutLER DINO, trained on IN1K 10\.0 19\.6 9\.2 [ .\d]*CutS3D arXiv 2411.16319 Table 1"
    assert re.search(row, table)
    assert table.index("this run") < table.index("arXiv")
    assert "as tabulated" not in table


def test_files_that_were_not_used_are_listed_with_their_reason(shown):
    found = [e for e in shown.all("details") if "section" in e["in"]]
    broken = next(e for e in found if "could not be read" in e["text"])
    assert "broken <i>.jpg" in broken["text"]
    assert "no image, or damaged" in broken["text"]
    ignored = next(e for e in found if "passed over" in e["text"])
    assert "notes.txt" in ignored["text"]
    assert "suffix '.txt' is not a photo's" in ignored["text"]
    assert "open" in broken
    assert "open" not in ignored


def test_what_saw_more_than_images_stands_on_top_and_at_its_methods(shown):
    (note,) = shown.text("div", class_="note")
    assert "sensor: the true depth of the rendered scenes. Used by maskcut, cleave3d." in note
    assert "tokencut" not in note
    tags = [e for e in shown.all("span", class_="warn") if e["tag"] == "span"]
    assert len(tags) == 2
    assert all(tag["title"] == "sensor: the true depth of the rendered scenes" for tag in tags)


def test_settings_are_those_of_the_artifacts(shown):
    rows = [" ".join(e["text"].split()) for e in shown.all("tr") if "tr" not in e["in"]]
    assert any(re.match(r"datasets crowded scenes .*flavour crowded, height 48", r) for r in rows)
    assert any(re.match(r"graphs near cosine .*eigenvectors 1,.*importance yes", r) for r in rows)
    assert any(re.match(r"depth sensor rendered noise sensor, seed 0", r) for r in rows)
    assert any(re.match(r"masks maskcut maskcut all_components no.*refine none", r) for r in rows)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_same_inputs_give_same_bytes_and_old_pictures_go(copy):
    report = Path(paths.REPORT).parent
    before = contents(report)
    (report / "assets" / "old.webp").write_bytes(b"from another run")
    make_report(copy)
    assert contents(report) == before


def test_names_of_methods_are_text(copy):
    """The config admits no such name; the page would stand it all the same."""
    name = 'x<u>&"y'
    summary = json.loads(copy)
    (benchmark,) = summary["benchmarks"].values()
    entry = summary["datasets"]["crowded"]
    for part, key in ((benchmark, "methods"), (entry, "masks")):
        part[key] = [name if of == "maskcut" else of for of in part[key]]
    summary["methods"][name] = summary["methods"].pop("maskcut") | {"of": name, "kind": name}
    os.rename("results/crowded/masks/maskcut", f"results/crowded/masks/{name}")
    os.rename("results/benchmarks/crowded/maskcut", f"results/benchmarks/crowded/{name}")
    table = Path("results/tables/crowded.csv")
    quoted = name.replace('"', '""')
    table.write_text(re.sub("^maskcut,", f'"{quoted}",', table.read_text(), flags=re.MULTILINE))
    made = Page(make_report(json.dumps(summary)))
    assert made.open == []
    assert not made.all("u")
    assert name in made.text("span", class_="name")
    assert any(text.startswith(f"{name} IoU") for text in made.text("figcaption"))
    assert name in [e["text"] for e in made.all("text", class_="name")]


def only(summary: str, *datasets: str) -> str:
    """The summary without the other data sets and their benchmarks."""
    parsed = json.loads(summary)
    parsed["datasets"] = {k: v for k, v in parsed["datasets"].items() if k in datasets}
    parsed["benchmarks"] = {
        k: v for k, v in parsed["benchmarks"].items() if v["dataset"] in datasets
    }
    return json.dumps(parsed)


def rewrite_masks(dataset: str, method: str, change) -> None:
    """Puts other masks into the files of a method; `change(record)` makes them."""
    for path in sorted(Path("results", dataset, "masks", method).glob("*.json")):
        records, masks = read_masks(path)
        made = {record.id: change(record) for record in records}
        spec, version = masks.info["spec"], masks.info["version"]
        write_masks(path, records, made, spec=spec, version=version, dataset=masks.info["dataset"])


def test_data_set_without_benchmark_and_labels(copy):
    made = Page(make_report(only(copy, "mine")))
    assert "No labels." in made.text("div", class_="note")[0]
    assert "Benchmark" not in " ".join(made.text("h3"))
    assert not made.all("a", href=".csv")
    assert len(made.text("h5")) == 5


def test_images_without_masks(copy):
    rewrite_masks("mine", "flat3d", lambda record: MaskSet.empty(record.size))
    made = Page(make_report(only(copy, "mine")))
    assert "flat3d 0 masks" in made.text("figcaption")
    assert not made.all("svg")
    row = next(text for text in made.text("tr") if text.startswith("flat3d"))
    assert row == "flat3d ours 0 0.0 5"


def test_equal_scores_have_no_plot_and_one_number(copy):
    def whole(record):
        return MaskSet(record.size, np.ones((1, *record.size), bool), np.array([0.5]))

    rewrite_masks("mine", "flat3d", whole)
    made = Page(make_report(only(copy, "mine")))
    assert made.text("text", class_="title") == ["masks an image", "area of a mask, % of the image"]
    assert "flat3d ours 5 1.0 0 100.0 % 0.50" in made.text("tr")


def test_empty_data_set(copy):
    for path in Path("results/mine/images").glob("*.json"):
        write_image_shard(path, ImageShard(read_image_shard(path).spec, ()), 1)
    for path in Path("results/mine/masks/flat3d").glob("*.json"):
        info = read_masks(path)[1].info
        write_masks(path, [], {}, spec=info["spec"], version=1, dataset=info["dataset"])
    made = Page(make_report(only(copy, "mine")))
    assert "0 images, a data set of kind folder." in " ".join(made.text("p"))
    assert not made.all("h5")
    assert not made.all("svg")


def test_images_without_objects_have_no_iou(copy):
    """Neither in a caption nor in the choice; and never as NaN."""
    for path in Path("results/benchmarks/crowded").glob("*/scores.json"):
        file = read_json(path)
        kept = "crowded-007003"
        file["best_iou"] = {kept: file["best_iou"][kept]} if path.parent.name == "maskcut" else {}
        path.write_text(json.dumps(file))
    made = Page(make_report(only(copy, "crowded")))
    assert not re.search(r"\bnan\b", made.source, re.IGNORECASE)
    assert sum("IoU" in text for text in made.text("figcaption")) <= 1
    assert "gain in IoU" not in made.text("table", class_="wide")[0]


def test_only_the_first_shards_are_shown_and_the_page_says_so(copy, monkeypatch):
    monkeypatch.setattr(dataset, "SHARDS_SHOWN", 1)
    made = Page(make_report(only(copy, "crowded")))
    text = " ".join(made.text("p"))
    assert "From the first 1 of 2 shards" in text
    assert "11 images, a data set" in text
    first = read_image_shard(Path("results/crowded/images/0001-of-0002.json"))
    assert len(made.text("h5")) <= len(first.records) < 11


def test_names_that_are_no_utf8(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    picture = Image.fromarray(scene("control", 3, Size(48, 64)).pixels)
    try:
        picture.save(b"photos/bad\xff.png", format="PNG")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    raw = {key: CONFIG[key] for key in ("features", "depth", "graphs", "masks", "recipes")}
    raw["datasets"] = {"mine": {"kind": "folder", "root": "photos"}}
    made = Page(make_report(make_results(raw).summary()))
    assert [text.split()[0] for text in made.text("h5")] == [r"bad\xff"]


def test_grid_of_one_patch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Image.fromarray(scene("control", 3, Size(48, 64)).pixels).save("photos/one.png")
    graph = {"kind": "cosine", "features": "colour", "depth": "flat", "importance": True}
    raw = {
        "datasets": {"mine": {"kind": "folder", "root": "photos"}},
        "features": {"colour": {"size": 8}},
        "depth": {"flat": {}},
        "graphs": {"one": graph},
        "masks": {"flat3d": {"kind": "cleave3d", "graphs": "one", "depth": "flat"}},
        "recipes": {"mine": {"dataset": "mine", "masks": "flat3d"}},
    }
    made = Page(make_report(make_results(raw).summary()))
    seen = ["photo", "features colour", "depth flat", "importance one", "eigenvector one"]
    assert made.text("figcaption")[:5] == seen


def test_graphs_that_keep_no_eigenvector(copy):
    for path in Path("results/mine/graphs/colour").glob("*.h5"):
        with read_shard(path) as reader:
            spec = reader.spec
            graphs = {i: unpack_graph(*reader.get(i)) for i in reader.ids()}
        with write_shard(path, spec=spec, version=1) as writer:
            for image_id, graph in graphs.items():
                writer.add(image_id, *pack_graph(replace(graph, eigenvectors=None)))
    captions = Page(make_report(only(copy, "mine"))).text("figcaption")
    assert captions.count("photo") == 5
    assert not any(text.startswith("eigenvector") for text in captions)


def test_order_of_sections_makes_no_other_summary():
    shuffled = {kind: dict(reversed(list(CONFIG[kind].items()))) for kind in reversed(CONFIG)}
    assert config.load(shuffled).summary() == config.load(CONFIG).summary()
