"""The closed-form pre-training: its stage, its file, and the features that read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cleave.io import metrics
from cleave.io.images import write_image_shard
from cleave.io.shards import names
from cleave.io.weights import sha256
from cleave.ops.scatter import scatters
from cleave.pretrain.closed_form import load, save
from cleave.pretrain.neighbour_lda import choose
from cleave.pretrain.photos import Photos
from cleave.registry import make
from cleave.spec import ConfigError
from cleave.stages import pretrain
from cleave.stages.job import Job
from cleave.types import DataError, Image

SPEC = {
    "kind": "neighbour_lda", "photos": 4, "size": 64, "patches": 400, "centroids": 12,
    "iterations": 3, "components": 6, "directions": 8, "radius": 2,
}  # fmt: skip


def job(folder: Path, *, count: int = 5, shards: int = 1, **changed) -> Job:
    """A job on rendered scenes."""
    fields = {"flavour": "crowded", "count": count, "height": 64, "width": 80, "shards": shards}
    dataset = make("datasets", {"kind": "scenes", **fields})
    paths = [folder / "images" / f"{name}.json" for name in names(shards)]
    for number, path in enumerate(paths):
        write_image_shard(path, dataset.list(number), 1)
    output = folder / "out" / "weights.safetensors"
    return Job("pretrain", SPEC | changed, 1, {"images": (paths[0],)}, output)


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Job:
    one = job(tmp_path_factory.mktemp("lda"))
    pretrain.run(one)
    return one


def test_a_flipped_bit_in_the_weights_is_noticed_or_harmless(learned, tmp_path):
    path, whole, errors = tmp_path / "a.safetensors", learned.output.read_bytes(), []
    expected = load(learned.output)
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(0, header, 5), *range(header, len(whole), len(whole) // 60)]
    for i, place in enumerate(places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << i % 8
        path.write_bytes(damaged)
        try:
            np.testing.assert_equal(vars(load(path)), vars(expected))
        except DataError as error:
            errors.append(str(error))
    assert all(str(path) in error for error in errors)
    assert len(errors) > len(places) - 12


def photo(seed=0, height=50, width=70) -> Image:
    rng = np.random.default_rng(seed)
    return Image("a", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_stage_leaves_weights_and_metrics(learned):
    assert {path.name for path in learned.output.parent.iterdir()} == {
        "weights.safetensors",
        "metrics.jsonl",
    }
    lines = list(metrics.read(learned.output.with_name("metrics.jsonl")))
    assert [line["step"] for line in lines if line["phase"] == "kmeans"] == [1, 2, 3]
    ratios = [line["ratio"] for line in lines if line["phase"] == "lda"]
    assert len(ratios) == 8
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] > 1


def test_shards_and_runs_change_no_byte(learned, tmp_path):
    other = job(tmp_path, shards=3)
    pretrain.run(other)
    for name in ("weights.safetensors", "metrics.jsonl"):
        one = learned.output.with_name(name).read_bytes()
        assert other.output.with_name(name).read_bytes() == one


def test_photos_of_one_colour_are_refused(learned, tmp_path):
    photos = pretrain.read_photos(learned)
    flat = np.full((20, 30, 3), 90, np.uint8)
    plain = Photos(photos.records, lambda record: Image(record.id, flat))
    with pytest.raises(DataError, match="of one colour"):
        make("pretrain", SPEC).learn(plain, tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()


def test_directions_do_what_lda_promises_on_the_photos(learned):
    """Near cells differ by 1 along each direction, on average over the photos it learned from."""
    weights, one = load(learned.output), make("pretrain", SPEC)
    photos = choose(pretrain.read_photos(learned), 4, 0)
    near, pairs = 0, 0
    for _, pixels in one._pictures(photos):
        _, found, count = scatters(weights.discriminant(pixels), one.radius)
        near, pairs = near + found, pairs + count
    np.testing.assert_allclose(near / pairs, np.eye(8), atol=2e-3)


def test_principal_axes_have_the_variances_that_the_file_names(learned):
    weights, one = load(learned.output), make("pretrain", SPEC)
    photos = choose(pretrain.read_photos(learned), 4, 0)
    plain = np.concatenate(
        [weights.principal(pixels, 5, 0).reshape(-1, 5) for _, pixels in one._pictures(photos)]
    )
    np.testing.assert_allclose(plain.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(plain.T, ddof=0), np.diag(weights.variances[:5]), atol=1e-4)
    pixels = next(one._pictures(photos))[1]
    half = weights.principal(pixels, 5, 0.5) * weights.variances[:5] ** 0.25
    np.testing.assert_allclose(half, weights.principal(pixels, 5, 0), atol=1e-4)


def test_a_subset_is_the_same_whatever_else_is_asked_for(learned):
    photos = pretrain.read_photos(learned)
    ids = {n: [r.id for r in choose(photos, n, 0).records] for n in (1, 2, 3, 99)}
    assert set(ids[1]) <= set(ids[2]) <= set(ids[3])
    assert ids[99] == [record.id for record in photos.records]
    assert len(ids[3]) == 3
    with pytest.raises(DataError, match="empty"):
        choose(Photos((), photos.read), 3, 0)


def test_backbones_read_the_file(learned):
    for kind, channels, fields in (("lda", 8, {}), ("kmeans", 6, {"components": 6})):
        spec = {"kind": kind, "weights": str(learned.output), "size": 64, **fields}
        found = make("features", spec)([photo()])[0]
        assert found.facets["key"].shape == (8, 8, channels)
        digest = sha256(learned.output)
        make("features", {**spec, "sha256": digest})([photo()])
        with pytest.raises(DataError, match="sha256"):
            make("features", {**spec, "sha256": "0" * 64})([photo()])
    with pytest.raises(ConfigError, match="components: 13"):
        make("features", {**spec, "components": 13})([photo()])


def test_without_weights_the_config_must_name_a_section():
    assert make("features", {"kind": "lda"}).needs == {"weights"}
    assert make("features", {"kind": "lda", "weights": "a"}).needs == frozenset()
    with pytest.raises(ConfigError, match="name a weights file"):
        make("features", {"kind": "lda"})([photo()])


def test_other_files_are_refused(learned, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "none")
    (tmp_path / "text").write_bytes(b"no weights")
    with pytest.raises(DataError, match="not readable"):
        load(tmp_path / "text")
    weights = load(learned.output)
    save(weights, tmp_path / "again")
    assert load(tmp_path / "again").directions.tobytes() == weights.directions.tobytes()
    with pytest.raises(DataError, match=r"12 centroids.*\['centre'\]"):
        replace(weights, centre=weights.centre[:-1])
    from safetensors.numpy import load_file, save_file

    tensors = load_file(tmp_path / "again")
    save_file(tensors, tmp_path / "bare")
    with pytest.raises(DataError, match="expected format"):
        load(tmp_path / "bare")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"components": 13}, "13 of 12 centroids"),
        ({"directions": 37}, "30 numbers of texture"),
        ({"patches": 11}, "fewer than 12 centroids"),
        ({"size": 15}, "holds no two patches"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(changed, said):
    with pytest.raises(ConfigError, match=said):
        make("pretrain", SPEC | changed)
