"""Annotations give back what the files hold, in little memory; loaders see what they should."""

from __future__ import annotations

import json
import logging
import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
from augment_twins import ragged

torch = pytest.importorskip("torch")

from cleave.io.coco import read_masks, write_masks  # noqa: E402
from cleave.io.images import ImageRecord, number_of  # noqa: E402
from cleave.training.augment_settings import Augment  # noqa: E402
from cleave.training.loader import AugmentedBatches, Loader  # noqa: E402
from cleave.training.samples import Annotations  # noqa: E402
from cleave.training.settings import Training  # noqa: E402
from cleave.types import DataError, Image, MaskSet, Size  # noqa: E402

MADE_BY = {"spec": {"kind": "cuts3d"}, "version": 1, "dataset": {"kind": "folder", "shards": 3}}
BOUND = 4e9 / 1.3e6  # bytes an image that ImageNet may take


def record(image_id, size):
    number = number_of(image_id)
    return ImageRecord(image_id, f"{image_id}.jpg", size.height, size.width, number, "d" * 64)


def random_masks(rng, size, count, trust=True):
    return MaskSet(
        size,
        rng.random((count, *size)) < 0.5,
        rng.random(count),
        labels=rng.integers(0, 9, count),
        trust=(rng.integers(0, 256, (count, 3, 4)) / 255).astype(np.float16) if trust else None,
    )


def write(folder, ids, shards=1, seed=0, **fields):
    """Mask files of images of unequal sizes; the masks depend on the id and nothing else."""
    made = {}
    for image_id in ids:
        rng = np.random.default_rng([seed, number_of(image_id)])
        size = Size(*rng.integers(5, 12, 2).tolist())
        made[image_id] = random_masks(rng, size, int(rng.integers(0, 4)), **fields)
        made[image_id].masks[: int(rng.integers(0, 2))] = False  # of some, the first mask is empty
    paths = [folder / f"{k}.json" for k in range(shards)]
    for k, path in enumerate(paths):
        records = [record(image_id, made[image_id].size) for image_id in ids[k::shards]]
        write_masks(path, records, {r.id: made[r.id] for r in records}, **MADE_BY)
    return paths, made


def read(record):
    """Pixels that tell which image they are of."""
    value = record.number % 251
    return Image(record.id, np.full((record.height, record.width, 3), value, np.uint8))


@pytest.fixture
def ids():
    return [f"folder {k % 3}/é {k}" for k in range(20)]


def test_samples_are_what_the_files_hold(tmp_path, ids):
    paths, made = write(tmp_path, ids, 3)
    annotations = Annotations(paths)
    masked = sorted(image_id for image_id in ids if made[image_id].masks.any())
    assert [annotations.record(k).id for k in range(len(annotations))] == masked
    assert annotations.empty == sorted(set(ids) - set(masked))
    assert 0 < len(annotations.empty) < 20
    assert annotations.dataset == MADE_BY["dataset"]
    found = {r.id: r for path in paths for r in read_masks(path)[0]}
    for index, image_id in enumerate(masked):
        sample, masks = annotations.sample(index, read), made[image_id]
        kept = masks.masks.any((1, 2))
        assert annotations.record(index) == found[image_id]
        assert sample.id == image_id
        np.testing.assert_array_equal(sample.pixels, read(found[image_id]).pixels)
        np.testing.assert_array_equal(sample.masks, masks.masks[kept])
        np.testing.assert_array_equal(sample.scores, masks.scores[kept].astype(np.float32))
        np.testing.assert_array_equal(sample.labels, masks.labels[kept])
        np.testing.assert_array_equal(sample.trust, masks.trust[kept])
        assert (sample.labels.dtype, sample.trust.dtype) == (np.int64, np.float16)
    assert annotations.count == sum(made[i].masks.any((1, 2)).sum() for i in masked)
    assert annotations.pixel_bytes == sum(3 * np.prod(made[i].size) for i in masked)


def test_shards_leave_no_trace(tmp_path, ids):
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    one = Annotations(write(tmp_path / "one", ids)[0])
    many = Annotations(write(tmp_path / "many", ids[::-1], 4)[0])
    assert len(one) == len(many)
    for index in range(len(one)):
        assert one.record(index) == many.record(index)
        a, b = one.sample(index, read), many.sample(index, read)
        for name in ("pixels", "masks", "scores", "labels", "trust"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_images_without_masks_are_counted_in_the_log(tmp_path, ids, caplog):
    paths, _ = write(tmp_path, ids)
    with caplog.at_level(logging.INFO, "cleave"):
        annotations = Annotations(paths)
    assert f"{len(annotations.empty)} images without a mask left out" in caplog.text


def test_masks_without_a_map_beside_those_with_one_are_trusted_everywhere(tmp_path):
    size = Size(6, 7)
    masks = random_masks(np.random.default_rng(0), size, 3)
    write_masks(tmp_path / "m.json", [record("a", size)], {"a": masks}, **MADE_BY)
    change(tmp_path / "m.json", lambda content: content["annotations"][1].pop("trust"))
    trust = Annotations([tmp_path / "m.json"]).sample(0, read).trust
    np.testing.assert_array_equal(trust[[0, 2]], masks.trust[[0, 2]])
    assert (trust[1] == 1).all()
    change(tmp_path / "m.json", lambda content: [a.pop("trust", 0) for a in content["annotations"]])
    assert Annotations([tmp_path / "m.json"]).sample(0, read).trust is None


def change(path, how):
    content = json.loads(path.read_text())
    content.pop("crc32", None)  # the checksum of what was there
    how(content)
    path.write_text(json.dumps(content))


def other_grid(content):
    content["annotations"][0]["trust"] = content["annotations"][0]["trust"] | {"size": [4, 3]}


def cut_trust(content):
    content["annotations"][0]["trust"]["counts"] = "eJxjYA=="


def cut_counts(content):
    content["annotations"][0]["segmentation"]["counts"] = "11"


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (lambda content: content["annotations"][0].update(score=1.5), "a mask of score 1.5"),
        (lambda content: content["annotations"].clear(), "nothing to train on"),
        (other_grid, "on different grids"),
        (cut_trust, "'a': trust map cannot be read"),
        (cut_counts, "RLE of 2 pixels"),
        (lambda content: content["images"][0].update(width=9), "RLE of 42 pixels"),
    ],
)
def test_damaged_files_are_refused(tmp_path, how, text):
    size = Size(6, 7)
    masks = random_masks(np.random.default_rng(0), size, 2)
    write_masks(tmp_path / "m.json", [record("a", size)], {"a": masks}, **MADE_BY)
    change(tmp_path / "m.json", how)
    with pytest.raises(DataError, match=text):
        Annotations([tmp_path / "m.json"]).sample(0, read)


def test_files_that_do_not_belong_together_are_refused(tmp_path, ids):
    paths, _ = write(tmp_path, ids, 2)
    with pytest.raises(DataError, match="in two mask files"):
        Annotations([*paths, paths[0]])
    change(paths[1], lambda content: content["info"].update(version=2))
    with pytest.raises(DataError, match="another spec or version"):
        Annotations(paths)
    with pytest.raises(DataError, match="nothing to train on"):
        Annotations([])


def test_an_image_of_another_size_is_refused(tmp_path, ids):
    annotations = Annotations(write(tmp_path, ids)[0])
    with pytest.raises(DataError, match=r"is \(3, 3\) \(height, width\), its masks"):
        annotations.sample(0, lambda record: Image(record.id, np.zeros((3, 3, 3), np.uint8)))


def test_imagenet_fits_in_4_gigabytes(tmp_path):
    """3,000 images of ImageNet's mean size, three masks each, with Spatial Confidence."""
    rng, size = np.random.default_rng(0), Size(387, 469)
    records = [record(f"n01440764/n01440764_{k:05d}", size) for k in range(20)]
    masksets = {}
    for r in records:
        levels = np.where(rng.random((3, 60, 60)) < 0.97, 6, rng.integers(3, 7, (3, 60, 60))) / 6
        discs = np.hypot(*(np.mgrid[:60, :60] - 30)) < rng.uniform(8, 20, (3, 1, 1))
        trust = np.where(discs, levels, 0).astype(np.float16)
        masks = np.stack([ragged(rng, size) for _ in range(3)])
        masksets[r.id] = MaskSet(size, masks, np.ones(3), trust=trust)
    path = tmp_path / "m.json"
    write_masks(path, records, masksets, **MADE_BY)
    change(path, lambda content: repeat(content, 150))
    annotations = Annotations([path])
    assert (len(annotations), annotations.count) == (3000, 9000)
    assert annotations._counts.nbytes / 9000 > 600  # no easier than the photos' masks
    assert annotations._trust.nbytes / 9000 > 120
    assert annotations.nbytes / 3000 < BOUND
    assert len(pickle.dumps(annotations)) == pytest.approx(annotations.nbytes, rel=0.05)


def repeat(content, times):
    """The images of a mask file many times, under other names."""
    images, annotations = content["images"], content["annotations"]
    content["images"] = [
        image | {"id": image["id"] + k, "key": f"{image['key']}-{k}"}
        for image in images
        for k in range(times)
    ]
    content["annotations"] = [
        annotation | {"image_id": annotation["image_id"] + k}
        for annotation in annotations
        for k in range(times)
    ]


@pytest.fixture
def annotations(tmp_path, ids):
    return Annotations(write(tmp_path, ids)[0])


def seen(samples):
    return [sample.id for sample in samples]


@pytest.mark.parametrize("workers", [0, 3])
def test_a_step_can_be_repeated_without_those_before_it(annotations, workers):
    loader = Loader(annotations, read, batch=4, seed=1, workers=workers)
    steps = []
    for step in range(12):
        loader.expect([(step, range(4)), (step + 1, range(4))])
        steps.append(seen(loader(step, range(4))))
    loader.close()
    fresh = Loader(annotations, read, batch=4, seed=1, workers=0)
    assert [seen(fresh(step, range(4))) for step in reversed(range(12))] == steps[::-1]
    other = Loader(annotations, read, batch=4, seed=2, workers=0)
    assert [seen(other(step, range(4))) for step in range(12)] != steps


def test_an_epoch_shows_every_image_once(annotations):
    loader = Loader(annotations, read, batch=3, seed=0, workers=0)
    n = len(annotations)
    stream = [i for step in range(2 * n) for i in loader.indices(step, range(3))]
    epochs = [stream[k * n : (k + 1) * n] for k in range(6)]
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_two_processes_and_micro_batches_see_what_one_sees(annotations):
    how = Augment(short_sides=(6, 9), copy_paste=0.0)

    def batches(accumulate):
        training = Training(batch=8, accumulate=accumulate, processes=1)
        loader = Loader(annotations, read, batch=8, seed=5, workers=2)
        return AugmentedBatches(loader, training, how, device="cpu", seed=5)

    whole, parts = batches(1), batches(2)
    for step in (0, 1, 5):
        one = whole(step, 0, 1, 0)
        four = [parts(step, rank, 2, micro) for rank in (0, 1) for micro in (0, 1)]
        images = [image for part in four for image in part[0]]
        targets = [target for part in four for target in part[1]]
        assert len(images) == len(one[0]) == 8
        for a, b, x, y in zip(one[0], images, one[1], targets, strict=True):
            assert torch.equal(a, b)
            assert torch.equal(x.masks, y.masks)


def test_only_what_is_expected_is_decoded_ahead(annotations):
    calls, lock = [], threading.Lock()

    def counted(record):
        with lock:
            calls.append(record.id)
        return read(record)

    loader = Loader(annotations, counted, batch=2, seed=0, workers=2, cache_megabytes=0)
    places = [(step, range(2)) for step in range(4)]
    for step in range(3):
        loader.expect(places[step : step + 2])
        loader(*places[step])
    loader.close()
    assert len(calls) <= 8  # four steps and no more
    assert set(seen(loader(*places[0]))) <= set(calls)


def test_what_is_no_longer_expected_is_not_decoded(annotations):
    calls, gate = [], threading.Event()

    def slow(record):
        calls.append(record.id)
        gate.wait(10)
        return read(record)

    loader = Loader(annotations, slow, batch=1, seed=0, workers=1, cache_megabytes=0)
    loader.expect([(step, range(1)) for step in range(10)])
    loader.expect([(20, range(1))])
    gate.set()
    (last,) = seen(loader(20, range(1)))
    loader.close()
    assert calls[-1] == last
    assert len(calls) <= 2  # the one that was under way, and the one asked for


def test_an_unreadable_image_stops_the_step_that_needs_it(annotations):
    def broken(record):
        raise DataError(f"{record.path}: truncated")

    loader = Loader(annotations, broken, batch=2, seed=0, workers=2)
    loader.expect([(0, range(2)), (1, range(2))])
    with pytest.raises(DataError, match="truncated"):
        loader(0, range(2))
    loader.close()


@pytest.mark.parametrize(("megabytes", "decodings"), [(1.0, 1), (0.0, 5)])
def test_images_are_decoded_once_if_all_fit(annotations, megabytes, decodings):
    calls = []

    def counted(record):
        calls.append(record.id)
        return read(record)

    n = len(annotations)
    loader = Loader(annotations, counted, batch=n, seed=0, workers=0, cache_megabytes=megabytes)
    for step in range(5):
        loader(step, range(n))
    assert len(calls) == decodings * n


def test_a_cached_image_is_never_changed(annotations):
    loader = Loader(annotations, read, batch=4, seed=0, workers=0)
    how = Augment(short_sides=(), flip=1.0, jitter=0.5, trust="spatial", blend="trust")
    training = Training(batch=4)
    for _ in range(2):
        batches = AugmentedBatches(loader, training, how, device="cpu", seed=0)
        first, _ = batches(0, 0, 1, 0)
        batches = AugmentedBatches(loader, training, replace(how, flip=0.0), device="cpu", seed=0)
        batches(0, 0, 1, 0)
        again, _ = AugmentedBatches(loader, training, how, device="cpu", seed=0)(0, 0, 1, 0)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for sample in loader(0, range(4)):
        assert len(np.unique(sample.pixels)) == 1
