"""Numbers, times and choices of the report, each against a naive twin or the thing it reads."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleave import paths
from cleave.benchmarks import bootstrap
from cleave.io.images import ImageRecord, ImageShard, Skipped
from cleave.ops import rle
from cleave.report import dataset, gallery, methods, page, tables, timings
from cleave.report.plots import COLOURS
from cleave.stages import images as images_stage
from cleave.stages.job import Job, progress

METRICS = ("mask_AP50", "mask_best_iou", "box_AP50", "masks_per_image")


def write_benchmark(folder: Path, metrics=METRICS, samples=50, published="") -> dict:
    """Score files and the table of two methods and a baseline; gives the part of the summary."""
    rows = [
        {"of": "first", "baseline": False, "kind": "maskcut", "features": "dino", "graphs": "dino"},
        {"of": "second", "baseline": False, "kind": "cleave3d", "features": "dino"}
        | {"graphs": "thick", "depth": "zoe"},
        {"of": "centre_box", "baseline": True},
    ]
    rng = np.random.default_rng(0)
    spec = {"kind": "coco", "bootstrap": samples, "seed": 3, "published": published}
    header = ["method", "role", "kind", "features", "saw_labels", "images", "objects"]
    lines = [",".join([*header, *(f"{m}{end}" for m in metrics for end in ("", "_low", "_high"))])]
    for index, row in enumerate(rows):
        quality = {f"i{n:02d}": float(v) for n, v in enumerate(rng.random(12) * 50 + 10 * index)}
        file = {"of": row["of"], "best_iou": quality, "spec": spec, "scores": {}}
        path = folder / paths.SCORES.format(benchmark="b", of=row["of"])
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(file))
        role = "trivial" if row["baseline"] else "method"
        numbers = (f"{10 * index + m},{10 * index},{10 * index + 9}" for m in range(len(metrics)))
        label = [row["of"].replace("_", " "), role, "a box", "dino", "", "12", "30"]
        lines.append(",".join([*label, *numbers]))
    table = folder / paths.TABLE.format(benchmark="b")
    table.parent.mkdir(parents=True)
    table.write_text("\n".join(lines) + "\n")
    return {"dataset": "d", "rows": rows}


def test_gain_is_the_paired_difference_to_the_first_method(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = write_benchmark(tmp_path)
    found = tables.benchmark("b", entry, {})
    quality = [tables.read_scores("b", row["of"])["best_iou"] for row in entry["rows"]]
    gains = [quality[1][i] - quality[0][i] for i in sorted(quality[0])]
    # The naive twin: draw the images one by one, as often as the weights say.
    drawn = [
        np.mean([g for g, count in zip(gains, row, strict=True) for _ in range(count)])
        for row in bootstrap.resamples(12, 50, 3)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    at = found["columns"].index("gain in IoU")
    assert found["rows"][1]["cells"][at]["value"] == f"{np.mean(gains):+.1f}"
    assert found["rows"][1]["cells"][at]["interval"] == f"{low:+.1f} to {high:+.1f}"
    assert [found["rows"][i]["cells"][at]["value"] for i in (0, 2)] == ["", ""]


def test_a_method_is_described_without_repeating_names():
    assert tables.describe({"of": "maskcut", "kind": "maskcut"}) == ""
    row = {"of": "cuts", "kind": "cuts3d", "graphs": "g", "depth": "zoe"}
    assert tables.describe(row) == "cuts3d, g graph, zoe depth"


def test_columns_of_one_kind_stand_under_one_heading(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = tables.benchmark("b", write_benchmark(tmp_path), {"first": "#123456"})
    assert found["columns"] == ["AP50", "best IoU", "gain in IoU", "AP50", "masks / image"]
    assert found["groups"] == [
        {"title": "masks", "span": 3},
        {"title": "boxes", "span": 1},
        {"title": "", "span": 1},
    ]
    rows = found["rows"]
    assert [row["name"] for row in rows] == ["first", "second", "centre box"]
    assert rows[0]["colour"] == "#123456"
    assert rows[0]["made_of"] == "maskcut, dino features"
    assert rows[1]["made_of"] == "cleave3d, dino features, thick graph, zoe depth"
    assert [row["ours"] for row in rows] == [False, True, False]
    assert rows[2]["made_of"] == "trivial: a box"


def test_baselines_are_never_the_best_and_a_count_has_no_best(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = tables.benchmark("b", write_benchmark(tmp_path), {})["rows"]
    assert [cell["value"] for cell in rows[2]["cells"]][:2] == ["20.0", "21.0"]
    assert [[cell["best"] for cell in row["cells"]] for row in rows] == [
        [False] * 5,
        [True, True, True, True, False],
        [False] * 5,
    ]
    assert rows[0]["cells"][1]["share"] == f"{1 / 11:.2f}"


def test_without_resamples_there_are_no_intervals(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = write_benchmark(tmp_path, samples=0)
    table = Path(paths.TABLE.format(benchmark="b"))
    header, *lines = [line.split(",") for line in table.read_text().splitlines()]
    kept = [i for i, name in enumerate(header) if not name.endswith(("_low", "_high"))]
    table.write_text("\n".join(",".join(line[i] for i in kept) for line in [header, *lines]))
    found = tables.benchmark("b", entry, {})
    assert {cell["interval"] for row in found["rows"] for cell in row["cells"]} == {""}
    assert "<circle" in found["plot"]


def test_a_metric_that_one_method_lacks_stays_blank(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = write_benchmark(tmp_path)
    table = Path(paths.TABLE.format(benchmark="b"))
    table.write_text(table.read_text().replace("10,10,19", ",,"))  # AP50 of the second method
    found = tables.benchmark("b", entry, {})
    assert [row["cells"][0]["value"] for row in found["rows"]] == ["0.0", "", "20.0"]
    assert not any(row["cells"][0]["best"] for row in found["rows"])
    assert found["plot"].count("<circle") == 2 + 3 + 3


def test_a_benchmark_of_boxes_has_no_mask_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = tables.benchmark("b", write_benchmark(tmp_path, metrics=("box_AP50", "CorLoc")), {})
    assert found["columns"] == ["gain in IoU", "AP50", "CorLoc"]
    assert "box AP50, %" in found["plot"]


def test_ceilings_are_in_the_table_but_do_not_squeeze_the_plot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = write_benchmark(tmp_path)
    table = Path(paths.TABLE.format(benchmark="b"))
    table.write_text(table.read_text().replace("trivial", "ceiling"))
    found = tables.benchmark("b", entry, {})
    assert [row["name"] for row in found["rows"]] == ["first", "second", "centre box"]
    assert "second" in found["plot"]
    assert "centre box" not in found["plot"]


def test_best_iou_joins_the_benchmarks_of_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = write_benchmark(tmp_path)
    other = {"dataset": "elsewhere", "rows": [{"of": "missing", "baseline": False}]}
    found = tables.best_iou("d", {"b": entry, "other": other})
    assert sorted(found) == ["first", "second"]
    assert found["first"] == tables.read_scores("b", "first")["best_iou"]
    assert tables.best_iou("nowhere", {"b": entry}) == {}


def coco_shard(tmp_path: Path, annotations: list[dict]) -> ImageShard:
    file = tmp_path / "truth.json"
    image = {"id": 7, "file_name": "a.jpg", "height": 6, "width": 8}
    category = {"id": 1, "name": "thing"}
    content = {"images": [image], "annotations": annotations, "categories": [category]}
    file.write_text(json.dumps(content))
    record = ImageRecord("a", "a.jpg", 6, 8, 7, "")
    return ImageShard({"kind": "coco", "annotations": str(file), "root": "."}, (record,))


def test_true_objects_are_without_crowds(tmp_path):
    box = {"image_id": 7, "category_id": 1, "area": 6, "bbox": [0, 0, 3, 2]}
    mask = np.zeros((6, 8), bool)
    mask[:2, :3] = True
    shape = {"segmentation": rle.encode(mask)}
    shard = coco_shard(
        tmp_path,
        [box | shape | {"id": 1, "iscrowd": 0}, box | shape | {"id": 2, "iscrowd": 1}],
    )
    (found,) = tables.true_objects(shard, shard.records[0])
    assert (rle.decode(found) == mask).all()


def test_true_objects_of_boxes_alone_cannot_be_drawn(tmp_path):
    box = {"id": 1, "image_id": 7, "category_id": 1, "area": 6, "bbox": [0, 0, 3, 2], "iscrowd": 0}
    shard = coco_shard(tmp_path, [box])
    assert tables.true_objects(shard, shard.records[0]) is None


def test_true_boxes_cover_what_they_touch_and_are_without_crowds(tmp_path):
    box = {"image_id": 7, "category_id": 1, "area": 6, "iscrowd": 0}
    part, crowd = {"id": 1, "bbox": [1.5, 2, 3, 2.2]}, {"id": 2, "bbox": [0, 0, 8, 6]}
    shard = coco_shard(tmp_path, [box | part, box | crowd | {"iscrowd": 1}])
    (found,) = tables.true_boxes(shard, shard.records[0])
    expected = np.zeros((6, 8), bool)
    expected[2:5, 1:5] = True
    assert (rle.decode(found) == expected).all()


def log_of(tmp_path: Path, pattern: str, caplog, **names: str) -> Path:
    """What the stages logged, in the file and with the words that the workflow gives it."""
    path = tmp_path / paths.log(pattern.format(**names))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{r.levelname} {r.getMessage()}\n" for r in caplog.records))
    caplog.clear()
    return path


def test_times_are_read_from_the_lines_that_the_stages_write(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "cleave")
    records = tuple(ImageRecord(f"i{n}", "", 4, 4, n, "") for n in range(3))
    clock = iter([0.0, 0.06, 10.0, 16.0])
    monkeypatch.setattr("cleave.stages.job.time.perf_counter", lambda: next(clock))
    for shard in ("0001-of-0002", "0002-of-0002"):
        names = {"dataset": "d", "features": "dino", "shard": shard}
        job = Job("features", {}, 1, {}, Path(paths.FEATURES.format(**names)))
        assert len(list(progress(job, ImageShard({}, records)))) == 3
        log_of(tmp_path, paths.FEATURES, caplog, **names)
    entry = {"shards": 2, "masks": {"m": {"of": "m", "features": "dino"}}}
    found = timings.read_timings({"datasets": {"d": entry, "other": entry}})
    assert found["columns"] == ["d", "other"]
    (row,) = found["rows"]
    assert (row["stage"], row["section"]) == ("features", "dino")
    assert float(row["cells"][0]) == pytest.approx(6.06 / 6, abs=0.002)
    assert row["cells"][1] == ""


def test_time_of_listing_images(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "cleave")
    clock = iter([0.0, 8.0])
    monkeypatch.setattr("cleave.stages.images.time.perf_counter", lambda: next(clock))
    output = Path(paths.IMAGES.format(dataset="d", shard="0001-of-0001"))
    spec = {"kind": "scenes", "flavour": "control", "count": 4, "height": 32, "width": 32}
    images_stage.run(Job("images", spec, 1, {}, output))
    log = log_of(tmp_path, paths.IMAGES, caplog, dataset="d", shard="0001-of-0001")
    assert timings.seconds_an_image([log]) == 2.0


def test_times_of_sections_that_left_the_config_are_not_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = "INFO masks results/d/masks/gone/0001-of-0001.json: 3 images in 6.0 s, 0.50 images/s\n"
    for name in ("gone", "kept"):
        path = Path(paths.log(paths.MASKS.format(dataset="d", masks=name, shard="0001-of-0001")))
        path.parent.mkdir(parents=True)
        path.write_text("WARNING something 5 images in a box\n" + line + "no line of ours\n")
    found = timings.read_timings(
        {"datasets": {"d": {"shards": 1, "masks": {"kept": {"of": "kept"}}}}}
    )
    assert found["rows"] == [{"stage": "masks", "section": "kept", "cells": ["2.000"]}]


def test_no_logs_no_times(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert timings.read_timings({"datasets": {"d": {"shards": 1, "masks": {}}}})["rows"] == []


IOU = {
    "a": {f"i{n}": float(n) for n in range(20)},
    "b": {f"i{n}": float(n % 7) for n in range(20) if n != 4},
}


def rank(image_id: str) -> int:
    return sum(map(ord, image_id)) * 7919 % 101


def test_best_and_worst_are_those_of_what_the_lot_left():
    ids = [f"i{n}" for n in range(20)]
    found = gallery.choose(ids, IOU, rank, 6, 3)
    assert found["by lot"] == sorted(ids, key=lambda i: (rank(i), i))[:6]
    left = [i for i in ids if i not in found["by lot"]]
    mean = {i: np.mean([v[i] for v in IOU.values() if i in v]) for i in left}
    assert [mean[i] for i in found["best"]] == sorted(mean.values(), reverse=True)[:3]
    assert [mean[i] for i in found["worst"]] == sorted(mean.values())[:3]


def test_the_lot_does_not_depend_on_other_images():
    ids = [f"i{n}" for n in range(20)]
    few = gallery.choose(ids[:10], {}, rank, 20, 3)["by lot"]
    many = gallery.choose(ids, {}, rank, 20, 3)["by lot"]
    assert [i for i in many if i in few] == few


@given(st.integers(0, 20), st.integers(0, 8), st.integers(0, 4))
def test_no_image_is_chosen_twice(count, sampled, extremes):
    ids = [f"i{n}" for n in range(count)]
    for iou in ({}, {"a": {}}, IOU):
        found = gallery.choose(ids, iou, rank, sampled, extremes)
        chosen = [i for group in found.values() for i in group]
        assert len(chosen) == len(set(chosen))
        assert set(chosen) <= set(ids)
        assert len(found["by lot"]) == min(count, sampled)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((4, 2), 5), ((6, 7), 7), ((8, 8), 8), ((7, 9), 5), ((6, 13), 7), ((1, 27), 7)],
)
def test_pictures_beside_each_other(counts, expected):
    assert gallery.columns(*counts) == expected


def test_masks_shrink_as_the_pixels_at_the_middles_of_the_new_ones():
    mask = np.random.default_rng(0).random((9, 14)) < 0.5
    (found,) = gallery.shrunk([rle.encode(mask)], (4, 28))
    for y in range(4):
        for x in range(28):
            assert found[y, x] == mask[int((y + 0.5) * 9 / 4), int((x + 0.5) * 14 / 28)]


def test_a_mask_has_the_colour_of_the_object_that_it_finds():
    objects = np.zeros((2, 60, 60), bool)
    objects[0, :30, :30] = objects[1, 30:, 30:] = True
    masks = np.zeros((3, 60, 60), bool)
    masks[0, 32:, 30:] = True  # the second object, nearly
    masks[1, :30, :] = True  # half of it the first object: IoU 1/2
    masks[2, 50:, :20] = True  # nothing
    photo = np.full((60, 60, 3), 128, np.uint8)
    truth, found = gallery.drawn(photo, objects, None), gallery.drawn(photo, masks, objects)
    assert (found[45, 45] == truth[45, 45]).all()
    assert (found[15, 15] == truth[15, 15]).all()
    assert (found[51:59, 1:19] == photo[51:59, 1:19]).all(-1).any()  # hatched
    assert not (found[31:, 31:] == photo[31:, 31:]).all(-1)[2:].any()
    alone = gallery.drawn(photo, masks, objects[:0])
    assert (alone[35:59, 31:59] == photo[35:59, 31:59]).all(-1).any()


def summary() -> dict:
    def row(of: str, *saw: str) -> dict:
        return {"of": of, "kind": of, "baseline": False, "saw_labels": list(saw)}

    masks = {name: row(name) for name in ("alpha", "beta", "gamma")}
    masks["beta"] = row("beta", "zoe: depth of NYU", "net: ImageNet classes")
    masks["gamma"] = row("gamma", "zoe: depth of NYU")
    listed = [masks["gamma"], masks["beta"], {"of": "centre_box", "baseline": True}]
    return {
        "datasets": {"d": {"masks": masks}, "e": {"masks": {"beta": masks["beta"]}}},
        "benchmarks": {"b": {"dataset": "d", "rows": listed}},
    }


def test_methods_come_in_the_order_of_the_lists_then_by_name():
    ordered = methods.ordered(summary())
    assert list(ordered["datasets"]["d"]["masks"]) == ["gamma", "beta", "alpha"]
    assert list(ordered["datasets"]["e"]["masks"]) == ["beta"]
    colours = methods.method_colours(ordered)
    assert list(colours.items()) == list(zip(["gamma", "beta", "alpha"], COLOURS[:3], strict=True))


def test_labels_name_every_component_with_its_users():
    assert methods.labels(methods.ordered(summary())) == [
        {"component": "net", "saw": "ImageNet classes", "methods": ["beta"]},
        {"component": "zoe", "saw": "depth of NYU", "methods": ["gamma", "beta"]},
    ]


def test_files_by_reason_name_the_most_frequent_first_and_not_all():
    files = [Skipped(f"{i:04d}.txt", "text") for i in range(300)] + [Skipped("a.gif", "animated")]
    found = dataset.by_reason(files)
    assert found["count"] == 301
    assert [row["reason"] for row in found["reasons"]] == ["text", "animated"]
    assert [len(row["paths"]) for row in found["reasons"]] == [dataset.LISTED, 0]
    assert found["unlisted"] == 101
    assert dataset.by_reason([]) == {"count": 0, "reasons": [], "unlisted": 0}


def test_rows_of_a_benchmark_get_the_seconds_of_their_own_stage():
    found = {
        "columns": ["a", "b"],
        "rows": [
            {"stage": "features", "section": "cut", "cells": ["9.000", "9.000"]},
            {"stage": "masks", "section": "cut", "cells": ["0.100", "0.200"]},
            {"stage": "detect", "section": "learned.round0", "cells": ["", "0.300"]},
        ],
    }
    rows = [{"name": name} for name in ("cut", "learned.round0", "centre_box")]
    datasets = [
        {"name": "b", "benchmarks": [{"rows": rows}]},
        {"name": "a", "benchmarks": [{"rows": [{"name": "learned.round0"}]}]},
    ]
    page.add_seconds(datasets, found)
    assert [row["seconds"] for row in rows] == ["0.200", "0.300", ""]
    assert [d["benchmarks"][0]["timed"] for d in datasets] == [True, False]
