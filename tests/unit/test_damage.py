"""Flipped bits and full disks: noticed and named, and nothing half-written is left."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from cleave.io import atomic, sink, store
from cleave.io.atomic import read_json, write_json
from cleave.io.checkpoints import load_state, save_state
from cleave.io.coco import merge, read_masks, write_masks, write_predictions
from cleave.io.images import (
    ImageRecord,
    ImageShard,
    Skipped,
    number_of,
    read_image_shard,
    write_image_shard,
)
from cleave.io.results import ResultFile
from cleave.io.sink import Sink
from cleave.types import DataError, MaskSet, Size

SIZE = Size(12, 9)
RECORDS = [ImageRecord(name, f"{name}.jpg", *SIZE, number_of(name), "ab" * 32) for name in "ab"]
SHARD = ImageShard({"kind": "folder", "root": "x"}, tuple(RECORDS), (Skipped("c.jpg", "torn"),))


def masks(seed: int) -> MaskSet:
    found = np.zeros((2, *SIZE), bool)
    found[0, 2 : 6 + seed, 1:5] = True
    found[1, 7:11, 3:8] = True
    return MaskSet(SIZE, found, np.array([0.9, 0.5]), trust=np.ones((2, 3, 2), np.float16))


def write_mask_shard(path: Path) -> None:
    found = {record.id: masks(i) for i, record in enumerate(RECORDS)}
    write_masks(path, RECORDS, found, spec={"kind": "m"}, version=1, dataset={"kind": "d"})


def write_joined(path: Path) -> None:
    write_mask_shard(path.with_name("0001-of-0001.json"))
    merge([path.with_name("0001-of-0001.json")], path)


def mask_content(path: Path):
    records, found = read_masks(path)
    return records, found.info, [found.annotations(name) for name in found]


def write_results_list(path: Path) -> None:
    write_mask_shard(path.with_name("0001-of-0001.json"))
    write_predictions([path.with_name("0001-of-0001.json")], path)


def results_content(path: Path):
    """What is scored: masks as they are, and all that the annotations say."""
    found = ResultFile(path, RECORDS)
    known = ("area", "bbox", "image_id", "score", "segmentation")
    said = [[a[key] for key in known] for name in found for a in found.annotations(name)]
    return said, [m.masks.tolist() for m in found.values()]


def write_scores(path: Path) -> None:
    scores = {"mask_AP50": 1.25, "box_AP50": 30.5, "mask_AR100": 40.0}
    write_json(path, {"of": "maskcut", "scores": scores, "version": 1}, indent=1, seal=True)


def write_state(path: Path) -> None:
    import torch

    save_state(path, {"weight": torch.arange(40.0)}, spec={"kind": "x"})


def state_content(path: Path):
    state, attributes = load_state(path)
    return {name: value.tolist() for name, value in state.items()}, attributes


SEALED = {
    "images": (lambda path: write_image_shard(path, SHARD, 1), read_image_shard, 1),
    "masks": (write_mask_shard, mask_content, 1),
    "joined": (write_joined, mask_content, 1),
    "predictions": (write_results_list, results_content, 1),
    "scores": (write_scores, lambda path: read_json(path)["scores"], 1),
    "checkpoint": (write_state, state_content, 17),  # every so many bytes: torch takes its time
}


@pytest.mark.parametrize("kind", SEALED)
def test_a_flipped_bit_is_noticed_or_harmless(tmp_path, kind):
    """One bit of each byte in turn: what is read is what was written, or the file is named."""
    write, read, step = SEALED[kind]
    path, rng, errors = tmp_path / kind, np.random.default_rng(0), []
    write(path)
    whole, expected = path.read_bytes(), read(path)
    places = range(0, len(whole), step)
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            assert read(path) == expected
        except DataError as error:
            errors.append(str(error))
    assert len(errors) > len(places) / 2
    assert all(str(path) in error for error in errors)


@pytest.mark.parametrize("kind", SEALED)
def test_a_file_cut_short_is_noticed(tmp_path, kind):
    write, read, _ = SEALED[kind]
    path = tmp_path / kind
    write(path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, max(1, len(whole) // 20)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=kind):
            read(path)


def test_a_sealed_file_is_still_json_and_coco(tmp_path):
    write_mask_shard(tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert set(content) == {"annotations", "categories", "crc32", "images", "info"}
    truth = COCO(tmp_path / "a.json")
    assert len(truth.getAnnIds()) == 4
    write_predictions([tmp_path / "a.json"], tmp_path / "results.json")
    assert len(truth.loadRes(str(tmp_path / "results.json")).getAnnIds()) == 4
    *others, last = json.loads((tmp_path / "results.json").read_text())
    assert last.keys() - {"crc32"} == others[0].keys()
    write_json(tmp_path / "b.json", content | {"crc32": 0})  # of a person or an earlier version
    assert read_masks(tmp_path / "b.json")[0] == RECORDS


def test_a_checkpoint_in_which_a_bit_flipped_is_not_gone_on_from(tmp_path):
    """torch does not compare the checksums that it writes, and would train on other weights."""
    import torch
    from training_toys import Toy, ToyBatches, settings

    from cleave.training.loop import train

    chosen = settings()
    train(Toy(), ToyBatches(chosen), chosen, tmp_path, seconds=0)
    path = tmp_path / "checkpoint.pt"
    weights = torch.load(path, weights_only=True)["network"].values()
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(max(weights, key=torch.Tensor.numel).numpy().tobytes())] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"checkpoint\.pt: damaged \(.*delete it to redo it"):
        train(Toy(), ToyBatches(chosen), chosen, tmp_path, seconds=0)


class Touch:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_of_ours_is_not_run(tmp_path):
    """Neither where its weights are read nor where a killed training goes on from it."""
    import torch
    from training_toys import Toy, ToyBatches, settings

    from cleave.training.loop import train

    path, chosen = tmp_path / "checkpoint.pt", settings()
    torch.save({"cleave": "{}", "model": Touch(tmp_path / "made")}, path)
    with pytest.raises(DataError, match="hold code are refused"):
        load_state(path)
    with pytest.raises(DataError, match="hold code are refused"):
        train(Toy(), ToyBatches(chosen), chosen, tmp_path, seconds=0)
    assert not (tmp_path / "made").exists()
    with contextlib.suppress(AttributeError):  # it has power: torch itself would run it
        torch.load(path, weights_only=False)
    assert (tmp_path / "made").exists()


# ---- full disks


LIMITED = """
import resource, sys, numpy, pathlib
from cleave.io.atomic import write_json
from cleave.io.checkpoints import save_state
from cleave.io.store import write_shard
from cleave.types import DataError
limit, kind, path = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
def shard():
    with write_shard(path, spec={}, version=1) as writer:
        for i in range(20):
            writer.add(str(i), {"v": numpy.full((30, 30), i / 7)})
def state():
    import torch
    save_state(path, {"w": torch.zeros(10000)})
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    {"shard": shard, "json": lambda: write_json(path, list(range(20000))), "state": state}[kind]()
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("shard", 0), ("shard", 700), ("shard", 20000), ("json", 20000), ("state", 20000)],
)
def test_a_limit_on_the_size_of_files_is_named(tmp_path, kind, limit):
    """In a process of its own: before it was handled, HDF5 ended it with a segmentation fault."""
    path = tmp_path / "0001-of-0001.h5"
    path.write_text("what was there before")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), kind, str(path)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: cannot be written: file too large; nothing of it")
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_text() == "what was there before"


class Full:
    """A file on a disk that takes so many bytes and no more, part of a write included."""

    def __init__(self, raw, room: int):
        self._raw, self._room = raw, room

    def __getattr__(self, name):
        return getattr(self._raw, name)

    def write(self, data) -> int:
        if self._room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self._raw.write(bytes(data)[: self._room])
        self._room -= taken
        return taken


def fill_shard(path: Path, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    with store.write_shard(path, spec={"kind": "x"}, version=1) as writer:
        for name in "abc":
            edges = np.eye(64, dtype=np.uint8)
            arrays = {"values": rng.random((20, 30)), "edges": edges}
            writer.add(name, arrays, {"size": [20, 30]}, frozenset({"edges"}))


def test_a_disk_that_fills_up_anywhere_in_a_shard(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    fill_shard(path)
    whole = path.read_bytes()
    for room in [*range(0, len(whole), 997), len(whole) - 1]:
        monkeypatch.setattr(sink, "Sink", lambda raw, room=room: Sink(Full(raw, room)))
        with pytest.raises(DataError, match=r"a\.h5: cannot be written: no space left on device"):
            fill_shard(path, seed=1)
        assert os.listdir(tmp_path) == ["a.h5"]
        assert path.read_bytes() == whole
    monkeypatch.setattr(sink, "Sink", lambda raw: Sink(Full(raw, 1 << 30)))
    fill_shard(path)
    assert path.read_bytes() == whole


def test_other_refusals_of_the_system_stay_what_they_are(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(atomic.os, "replace", refused)
    with pytest.raises(OSError, match="Input/output"):
        write_json(tmp_path / "a.json", [1])
    assert os.listdir(tmp_path) == []


def test_no_limit_is_left_behind():
    """The limits above are set in other processes only."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
