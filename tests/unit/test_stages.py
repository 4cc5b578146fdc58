"""Stages: what the plugin makes of each image, in its shard, whatever the shard and the batch."""

import json
import logging
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from cleave.backbones.colour import Colour
from cleave.cli import main
from cleave.depth.rendered import Rendered
from cleave.io.artifacts import unpack_depth, unpack_features, unpack_graph
from cleave.io.coco import read_masks
from cleave.io.images import read_image_shard
from cleave.io.store import read_shard
from cleave.registry import make
from cleave.stages import (
    baseline,
    depth,
    features,
    graphs,
    images,
    masks,
    predict,
    recipe,
    score,
    table,
)
from cleave.stages.job import Job, ahead, image_rng
from cleave.stages.versions import VERSIONS
from cleave.types import DataError, Scene

SCENES = {"kind": "scenes", "flavour": "crowded", "count": 4, "first_seed": 7000}
SCENES |= {"height": 64, "width": 72, "shards": 2}
COLOUR = {"kind": "colour", "size": 64}
EXACT = {"kind": "rendered", "noise": "exact"}
COSINE = {"kind": "cosine", "rule": "near_far", "centre": True}
CUT = {"kind": "maskcut", "refine": "none"}
CLEAVE = {"kind": "cleave3d", "refine": "none"}
SCORED = {"kind": "coco", "bootstrap": 5}
SHARDS = ("0001-of-0002", "0002-of-0002")


def job(spec, output, **inputs):
    tuples = {name: v if isinstance(v, tuple) else (v,) for name, v in inputs.items()}
    return Job(output.parent.name, spec, 1, tuples, output)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Every artifact of two shards, each by its own stage."""
    root = tmp_path_factory.mktemp("stages")
    for shard in SHARDS:
        listed, drawn, seen, joined = (
            root / name / f"{shard}{suffix}"
            for name, suffix in (
                ("images", ".json"), ("depth", ".h5"), ("features", ".h5"), ("graphs", ".h5")
            )
        )  # fmt: skip
        images.run(job(SCENES, listed))
        depth.run(job(EXACT, drawn, images=listed))
        features.run(job(COLOUR, seen, images=listed))
        graphs.run(job(COSINE, joined, images=listed, features=seen))
        inputs = {"images": listed, "graphs": joined}
        masks.run(job(CUT, root / "maskcut" / f"{shard}.json", **inputs))
        masks.run(job(CLEAVE, root / "cleave3d" / f"{shard}.json", **inputs, depth=drawn))
    return root


def records(made):
    return [(s, r) for s in SHARDS for r in read_image_shard(made / f"images/{s}.json").records]


def test_each_image_is_listed_once(made):
    found = [record.id for _, record in records(made)]
    assert sorted(found) == [f"crowded-{seed:06d}" for seed in range(7000, 7004)]
    assert len({shard for shard, _ in records(made)}) == 2


def test_caches_hold_what_the_plugins_make(made):
    dataset = make("datasets", SCENES)
    for shard, record in records(made):
        image = dataset.read(record)
        (expected,) = make("features", COLOUR)([image])
        with read_shard(made / f"features/{shard}.h5") as reader:
            assert reader.spec == COLOUR
            found = unpack_features(*reader.get(record.id))
        np.testing.assert_array_equal(found.facets["key"], np.float16(expected.facets["key"]))
        with read_shard(made / f"depth/{shard}.h5") as reader:
            map_ = unpack_depth(*reader.get(record.id))
        np.testing.assert_array_equal(map_.values, np.float16(make("depth", EXACT)(image).values))
        graph = make("graphs", COSINE)(found, None, image_rng(record.id))
        with read_shard(made / f"graphs/{shard}.h5") as reader:
            stored = unpack_graph(*reader.get(record.id))
        np.testing.assert_array_equal(stored.edges, graph.edges)
        np.testing.assert_array_equal(stored.eigenvectors, graph.eigenvectors)


@pytest.mark.parametrize("spec", [CUT, CLEAVE], ids=lambda spec: spec["kind"])
def test_masks_are_what_the_method_cuts(made, spec):
    dataset, method = make("datasets", SCENES), make("masks", spec)
    for shard, record in records(made):
        with read_shard(made / f"graphs/{shard}.h5") as reader:
            graph = unpack_graph(*reader.get(record.id))
        with read_shard(made / f"depth/{shard}.h5") as reader:
            map_ = unpack_depth(*reader.get(record.id)) if "depth" in method.needs else None
        expected = method(Scene(dataset.read(record), graph=graph, depth=map_))
        _, found = read_masks(made / spec["kind"] / f"{shard}.json")
        np.testing.assert_array_equal(found[record.id].masks, expected.masks)
        np.testing.assert_array_equal(found[record.id].scores, expected.scores)
        assert found.info["spec"] == spec
        assert found.info["dataset"]["kind"] == "scenes"


def test_a_larger_batch_gives_the_same_bytes(made, tmp_path, monkeypatch):
    """Every image once, in order, and the last batch as large as what is left."""
    whole = dict(SCENES, shards=1, count=5)
    images.run(job(whole, tmp_path / "images/0001-of-0001.json"))
    listed = tmp_path / "images/0001-of-0001.json"
    features.run(job(COLOUR, tmp_path / "one/a.h5", images=listed))
    batches = []

    def watched(plugin, pictures, call=Colour.__call__):
        batches.append(len(pictures))
        return call(plugin, pictures)

    monkeypatch.setattr(Colour, "batch", 2)
    monkeypatch.setattr(Colour, "__call__", watched)
    features.run(job(COLOUR, tmp_path / "two/a.h5", images=listed))
    assert batches == [2, 2, 1]
    assert (tmp_path / "two/a.h5").read_bytes() == (tmp_path / "one/a.h5").read_bytes()


def test_shards_are_joined_in_the_order_of_ids(made, tmp_path):
    """Given the first shard, a stage finds the others by its name."""
    first = made / f"cleave3d/{SHARDS[0]}.json"
    predict.run(job({}, tmp_path / "predictions.json", masks=first))
    recipe.run(job({}, tmp_path / "annotations.json", masks=first))
    joined = json.loads((tmp_path / "annotations.json").read_text())
    assert [image["key"] for image in joined["images"]] == sorted(r.id for _, r in records(made))
    assert [a["id"] for a in joined["annotations"]] == list(
        range(1, len(joined["annotations"]) + 1)
    )
    results = json.loads((tmp_path / "predictions.json").read_text())
    assert [r["image_id"] for r in results] == [a["image_id"] for a in joined["annotations"]]
    assert [r["segmentation"] for r in results] == [
        a["segmentation"] for a in joined["annotations"]
    ]


def test_baselines_go_through_scores_to_the_table(made, tmp_path):
    """A baseline that knows the truth above one that knows nothing, up to the table."""
    listed = made / f"images/{SHARDS[0]}.json"
    scores = []
    for row in ("whole_image", "ideal_features"):
        output = tmp_path / row / "predictions.json"
        baseline.run(job({"baseline": row}, output, images=listed))
        scores.append(tmp_path / row / "scores.json")
        score.run(job(SCORED, scores[-1], images=listed, predictions=output))
    low, high = (json.loads(path.read_text()) for path in scores)
    assert (low["of"], high["of"]) == ("whole_image", "ideal_features")
    assert len(high["best_iou"]) == 4
    assert np.mean(list(high["best_iou"].values())) > np.mean(list(low["best_iou"].values())) + 10
    rows = [{"of": name, "baseline": True} for name in ("ideal_features", "whole_image")]
    spec = {"benchmark": "b", "dataset": "d", "rows": rows}
    table.run(job(spec, tmp_path / "b.csv", scores=tuple(scores)))
    lines = (tmp_path / "b.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["ideal features", "whole image"]
    assert "b, on d" in (tmp_path / "b.md").read_text()


@pytest.mark.parametrize("name", ["0001-of-0003", "0003-of-0002", "first"])
def test_a_shard_that_the_data_set_does_not_have_is_refused(tmp_path, name):
    with pytest.raises(DataError):
        images.run(job(SCENES, tmp_path / f"{name}.json"))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_is_logged(tmp_path, caplog):
    (tmp_path / "photos").mkdir()
    Pillow.new("RGB", (5, 4)).save(tmp_path / "photos/good.png")
    (tmp_path / "photos/bad.png").write_text("no photo")
    (tmp_path / "photos/notes.txt").touch()
    spec = {"kind": "folder", "root": str(tmp_path / "photos")}
    with caplog.at_level(logging.INFO):
        images.run(job(spec, tmp_path / "0001-of-0001.json"))
    warning, summary = caplog.records
    assert (warning.levelname, "bad.png: no image" in warning.message) == ("WARNING", True)
    assert "1 images, 1 broken, 1 ignored files" in summary.message


def test_an_error_names_the_image_and_leaves_no_file(made, tmp_path, monkeypatch, caplog):
    seen = []

    def failing(plugin, image, call=Rendered.__call__):
        seen.append(image.id)
        if len(seen) == 2:
            raise DataError("too deep")
        return call(plugin, image)

    monkeypatch.setattr(Rendered, "__call__", failing)
    shard = next(s for s in SHARDS if len(read_image_shard(made / f"images/{s}.json").records) > 1)
    with pytest.raises(DataError, match="too deep"):
        depth.run(job(EXACT, tmp_path / "a.h5", images=made / f"images/{shard}.json"))
    assert f"failed at image {seen[1]!r}" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_reading_ahead_changes_nothing(made, tmp_path, monkeypatch):
    """As on a GPU: the images are decoded by a thread meanwhile."""
    images = made / f"images/{SHARDS[0]}.json"
    for name in ("here", "ahead"):
        depth.run(job(EXACT, tmp_path / f"{name}.h5", images=images))
        monkeypatch.setattr(depth, "on_gpu", lambda plugin: True)
    assert (tmp_path / "here.h5").read_bytes() == (tmp_path / "ahead.h5").read_bytes()


def test_items_come_in_order_and_no_more_are_made_than_asked_for():
    made_so_far, begun = [], threading.Event()

    def items():
        for number in range(20):
            made_so_far.append(number)
            begun.set()
            yield number

    found = ahead(items(), 3)
    assert next(found) == 0
    assert begun.wait(10)
    assert len(made_so_far) <= 1 + 3
    assert list(found) == list(range(1, 20))


def test_an_error_read_ahead_comes_where_its_item_would_have():
    def items():
        yield from "ab"
        raise DataError("no third")

    found = ahead(items(), 8)
    assert [next(found), next(found)] == ["a", "b"]
    with pytest.raises(DataError, match="no third"):
        next(found)


def test_a_thread_that_reads_ahead_ends_with_its_iterator():
    before = threading.active_count()
    found = ahead(iter(range(100)), 4)
    next(found)
    found.close()
    assert threading.active_count() == before


def test_inputs_are_counted(tmp_path):
    none = job({}, tmp_path / "a.json")
    two = job({}, tmp_path / "a.json", masks=(tmp_path / "a", tmp_path / "b"))
    with pytest.raises(DataError, match=r"expected one file for --masks, got 0"):
        none.input("masks")
    with pytest.raises(DataError, match=r"expected one file for --masks, got 2"):
        two.optional("masks")
    assert none.optional("masks") is None


def test_a_shard_without_images_goes_through_every_stage(tmp_path):
    few = dict(SCENES, count=1)
    for shard in SHARDS:
        images.run(job(few, tmp_path / f"images/{shard}.json"))
        listed = tmp_path / f"images/{shard}.json"
        if not read_image_shard(listed).records:
            break
    features.run(job(COLOUR, tmp_path / "features.h5", images=listed))
    graphs.run(job(COSINE, tmp_path / "g.h5", images=listed, features=tmp_path / "features.h5"))
    masks.run(job(CUT, tmp_path / "masks.json", images=listed, graphs=tmp_path / "g.h5"))
    assert read_masks(tmp_path / "masks.json")[0] == []


def test_a_missing_image_names_the_cache(made, tmp_path):
    """Caches of another list of images: the file at fault is named."""
    both = made / f"images/{SHARDS[0]}.json", made / f"images/{SHARDS[1]}.json"
    seen = made / f"features/{SHARDS[1]}.h5"
    with pytest.raises(DataError, match=rf"features/{SHARDS[1]}\.h5: holds no image"):
        graphs.run(job(COSINE, tmp_path / "a.h5", images=both[0], features=seen))


def test_the_command_runs_the_stage(made, tmp_path, capsys):
    output, listed = tmp_path / "depth/a.h5", made / f"images/{SHARDS[0]}.json"
    arguments = ["--images", str(listed), "--output", str(output), "--version", "1"]
    assert main(["depth", "--spec", json.dumps(EXACT), *arguments]) == 0
    assert output.read_bytes() == (made / f"depth/{SHARDS[0]}.h5").read_bytes()
    listed = tmp_path / "cut.json"
    listed.write_text("{")
    arguments[1] = str(listed)
    assert main(["depth", "--spec", json.dumps(EXACT), *arguments]) == 2
    assert f"cleave: error: {listed}: not readable as JSON" in capsys.readouterr().err


def test_random_numbers_depend_on_the_image_alone():
    draws = {name: image_rng(name).random(3).tolist() for name in ("a", "b", "grün", "a\udcff")}
    assert image_rng("a").random(3).tolist() == draws["a"]
    assert len({tuple(draw) for draw in draws.values()}) == len(draws)


def test_every_stage_has_a_version_and_every_version_a_stage():
    folder = Path(depth.__file__).parent
    shared = {"__init__", "job", "together", "unfinished", "versions"}
    assert {path.stem for path in folder.glob("*.py")} - shared == set(VERSIONS)
    assert all(isinstance(version, int) for version in VERSIONS.values())
