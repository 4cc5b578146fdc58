"""Images that nobody would call photos go through every stage, or are listed with the reason."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow

from cleave import config
from cleave.io.artifacts import unpack_depth
from cleave.io.coco import read_masks
from cleave.io.images import read_image_shard
from cleave.io.store import read_shard
from cleave.stages import depth, detect, features, graphs, images, masks, predict, recipe, train
from cleave.stages.job import Job
from cleave.types import DataError

SHARD = "0001-of-0001"
LEARNER = Path(__file__).resolve().parents[1] / "configs/learner.yaml"
SIZES = {
    "black": (40, 56),
    "column": (300, 1),
    "dot": (1, 1),
    "line": (1, 300),
    "photo": (48, 64),
    "wide": (24, 20000),
    "white": (48, 48),
}  # (height, width)


def picture(height: int, width: int) -> np.ndarray:
    """A bright disc on dark noise."""
    pixels = np.random.default_rng(0).integers(0, 60, (height, width, 3), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    pixels[np.hypot(rows - height * 0.4, columns - width * 0.6) < min(height, width) / 4] = 220
    return pixels


def bomb(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes that claims to be so large."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def job(spec, output, **inputs):
    return Job(output.parent.name, spec, 1, {k: (v,) for k, v in inputs.items()}, output)


def fill(photos: Path, depths: Path) -> None:
    photos.mkdir()
    depths.mkdir()
    for name, size in SIZES.items():
        pixels = picture(*size)
        pixels[:] = {"black": 0, "white": 255}.get(name, pixels)
        Pillow.fromarray(pixels).save(photos / f"{name}.png")
        values = np.linspace(1, 5, size[0] * size[1]).reshape(size)
        if values.size > 1:
            values.flat[0], values.flat[-1] = np.nan, np.inf
        np.save(depths / f"{name}.npy", values)
    (photos / "bomb.png").write_bytes(bomb(60000, 50000))
    (photos / "text.jpg").write_text("no photo")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Every artifact up to the masks."""
    root = tmp_path_factory.mktemp("odd")
    fill(root / "photos", root / "depths")
    listed, seen = root / f"images/{SHARD}.json", root / f"features/{SHARD}.h5"
    near, joined = root / f"depth/{SHARD}.h5", root / f"graphs/{SHARD}.h5"
    images.run(job({"kind": "folder", "root": str(root / "photos")}, listed))
    features.run(job({"kind": "colour", "size": 64}, seen, images=listed))
    spec = {"kind": "files", "root": str(root / "depths"), "pattern": "{id}.npy"}
    depth.run(job(spec, near, images=listed))
    graphs.run(job({"kind": "cosine", "rule": "near_far"}, joined, images=listed, features=seen))
    for kind in ("maskcut", "cleave3d"):
        given = {"depth": near} if kind == "cleave3d" else {}
        output = root / f"{kind}/{SHARD}.json"
        spec = {"kind": kind, "refine": "none"}
        masks.run(job(spec, output, images=listed, graphs=joined, **given))
    return root


def test_the_unreadable_are_listed_and_the_odd_are_not(made):
    shard = read_image_shard(made / f"images/{SHARD}.json")
    assert {record.id: tuple(record.size) for record in shard.records} == SIZES
    reasons = {item.path: item.reason for item in shard.broken}
    assert reasons.keys() == {"bomb.png", "text.jpg"}
    assert "3000000000 pixels" in reasons["bomb.png"]


def test_depth_that_is_not_finite_is_filled(made):
    with read_shard(made / f"depth/{SHARD}.h5") as reader:
        for name in SIZES:
            found = unpack_depth(*reader.get(name))
            assert np.isfinite(found.values).all()
            assert (found.filled > 0) == (name != "dot")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_depth_without_a_finite_value_is_refused_and_names_its_file(made, tmp_path, value):
    for name, size in SIZES.items():
        np.save(tmp_path / f"{name}.npy", np.full(size, value))
    spec = {"kind": "files", "root": str(tmp_path), "pattern": "{id}.npy"}
    with pytest.raises(DataError, match=r"black\.npy: 100\.0% of the depth is missing"):
        depth.run(job(spec, tmp_path / "a.h5", images=made / f"images/{SHARD}.json"))
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize("kind", ["maskcut", "cleave3d"])
def test_masks_have_the_sizes_of_the_images(made, kind):
    _, found = read_masks(made / f"{kind}/{SHARD}.json")
    assert {name: tuple(found[name].size) for name in found} == SIZES
    assert len(found["photo"]) > 0
    assert all(found[name].masks.any(axis=(1, 2)).all() for name in found)
    assert all(np.isfinite(found[name].scores).all() for name in found)


def test_refined_masks_of_odd_images(made, tmp_path):
    """The CRF and the guided boundaries, which read the pixels."""
    given = {"images": made / f"images/{SHARD}.json", "graphs": made / f"graphs/{SHARD}.h5"}
    masks.run(job({"kind": "maskcut", "refine": "crf"}, tmp_path / f"{SHARD}.json", **given))
    _, found = read_masks(tmp_path / f"{SHARD}.json")
    assert {name: tuple(found[name].size) for name in found} == SIZES


def test_they_are_joined_trained_on_and_detected(made, tmp_path):
    """A detector takes an image of one pixel and one of 20,000 columns as they come."""
    cut, listed = made / f"maskcut/{SHARD}.json", made / f"images/{SHARD}.json"
    recipe.run(job({}, tmp_path / "annotations.json", masks=cut))
    predict.run(job({}, tmp_path / "predictions.json", masks=cut))
    assert len(json.loads((tmp_path / "annotations.json").read_text())["images"]) == len(SIZES)
    raw = yaml.safe_load(LEARNER.read_text())
    training = raw["recipes"]["learned"]["training"]
    training.update(steps=2, batch=4, checkpoint_every=2)
    loaded = config.load(raw)
    weights = tmp_path / "recipes/learned/round0/checkpoint.pt"
    train.run(job(json.loads(loaded.train_spec("learned", 0)), weights, labels=cut))
    spec = json.loads(loaded.detect_spec("learned.round0"))
    output = tmp_path / f"{SHARD}.json"
    detect.run(job(spec, output, images=listed, checkpoint=weights))
    _, found = read_masks(output)
    assert {name: tuple(found[name].size) for name in found} == SIZES
