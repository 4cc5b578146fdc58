"""The stages that work on many images at a time where they are given a GPU; the CPU stands in.

Their files hold what those of a job without a GPU hold, but for round-off of the eigenvectors.
"""

import logging
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from cleave.graphs.cosine import Cosine
from cleave.io.artifacts import unpack_graph
from cleave.io.coco import read_masks
from cleave.io.images import read_image_shard
from cleave.io.store import read_shard
from cleave.masks.maskcut import MaskCut
from cleave.ops import ncut
from cleave.ops.batched.ncut import Solver
from cleave.spec import ConfigError
from cleave.stages import depth, features, graphs, images, masks, together
from cleave.stages.job import Job
from cleave.types import DataError

SCENES = {"kind": "scenes", "flavour": "crowded", "count": 7, "first_seed": 7100}
SCENES |= {"height": 120, "width": 136}
COSINE = {"kind": "cosine", "rule": "near_far", "centre": True}
SHARPENED = COSINE | {"importance": True, "beta": 0.3}
CUTS = [
    {"kind": "maskcut", "refine": "none"},
    {"kind": "maskcut", "refine": "none", "max_masks": 5, "all_components": True},
    {"kind": "cuts3d", "refine": "none"},
    {"kind": "cleave3d", "refine": "none"},
    {"kind": "tokencut", "refine": "none"},
]


def job(stage, spec, output, gpus=0, **inputs):
    return Job(stage, spec, 1, {k: (v,) for k, v in inputs.items()}, output, gpus)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Images, features and depth of seven scenes, and their graphs as a CPU makes them."""
    root = tmp_path_factory.mktemp("gpu")
    files = {name: root / name / "0001-of-0001.json" for name in ("images",)}
    files |= {name: root / name / "0001-of-0001.h5" for name in ("features", "depth")}
    images.run(job("images", SCENES, files["images"]))
    depth.run(job("depth", {"kind": "rendered"}, files["depth"], images=files["images"]))
    features.run(job("features", {"kind": "colour", "size": 128}, files["features"],
                     images=files["images"]))  # fmt: skip
    for name, spec in (("plain", COSINE), ("sharpened", SHARPENED)):
        graphs.run(job("graphs", spec, root / f"{name}.h5", **files))
    return root


@pytest.fixture
def gpu(monkeypatch) -> None:
    """The CPU is a GPU, of which four images' problems are solved together."""
    for stage in (graphs, masks):
        monkeypatch.setattr(stage, "given_gpu", lambda job: True)
        monkeypatch.setattr(stage, "TOGETHER", 4)


def inputs(made: Path) -> dict[str, Path]:
    return {
        "images": made / "images/0001-of-0001.json",
        "features": made / "features/0001-of-0001.h5",
        "depth": made / "depth/0001-of-0001.h5",
    }


def ids(made: Path) -> list[str]:
    return [r.id for r in read_image_shard(made / "images/0001-of-0001.json").records]


@pytest.mark.parametrize(("name", "spec"), [("plain", COSINE), ("sharpened", SHARPENED)])
def test_graphs_are_those_of_a_cpu(made, tmp_path, gpu, caplog, name, spec):
    with caplog.at_level(logging.INFO):
        graphs.run(job("graphs", spec, tmp_path / "a.h5", **inputs(made)))
    assert "eigenproblems: 7 solved, on cpu" in caplog.text
    with read_shard(made / f"{name}.h5") as expected, read_shard(tmp_path / "a.h5") as found:
        assert found.ids() == expected.ids()
        assert found.spec == expected.spec
        for image in ids(made):
            theirs = unpack_graph(*expected.get(image))
            ours = unpack_graph(*found.get(image))
            assert np.bitwise_count(ours.edges ^ theirs.edges).sum() <= 2
            for one, other in zip(ours.eigenvectors, theirs.eigenvectors, strict=True):
                assert np.array_equal(ncut.bipartition(one), ncut.bipartition(other))


def test_the_same_job_gives_the_same_bytes(made, tmp_path, gpu):
    for name in ("a.h5", "b.h5"):
        graphs.run(job("graphs", COSINE, tmp_path / name, **inputs(made)))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("spec", CUTS, ids=lambda spec: spec["kind"])
def test_masks_are_those_of_a_cpu(made, tmp_path, gpu, monkeypatch, spec):
    given = inputs(made) | {"graphs": made / "plain.h5"}
    solved = []
    plain = Solver._solve
    monkeypatch.setattr(
        Solver,
        "_solve",
        lambda self, edges, *a: solved.append(len(edges)) or plain(self, edges, *a),
    )
    masks.run(job("masks", spec, tmp_path / "gpu.json", **given))
    monkeypatch.undo()
    masks.run(job("masks", spec, tmp_path / "cpu.json", **given))
    (_, ours), (_, theirs) = (read_masks(tmp_path / f"{name}.json") for name in ("gpu", "cpu"))
    assert sum(len(ours[image]) for image in ids(made)) >= 7
    for image in ids(made):
        assert np.array_equal(ours[image].masks, theirs[image].masks)
        assert ours[image].scores == pytest.approx(theirs[image].scores)
    if spec["kind"] != "tokencut":  # whose one cut the graph brings
        assert max(solved) >= 3


@pytest.mark.parametrize("name", ["graphs", "masks"])
@pytest.mark.parametrize("place", [0, 2, 5])
def test_an_error_names_its_image_and_leaves_no_file(
    made, tmp_path, gpu, monkeypatch, caplog, name, place
):
    """Though others of its window have begun, or are done."""
    bad = ids(made)[place]
    if name == "graphs":
        plain = graphs._arguments

        def arguments(image_id, *parts):
            if image_id == bad:
                raise ConfigError("no such facet")
            return plain(image_id, *parts)

        monkeypatch.setattr(graphs, "_arguments", arguments)
        stage, spec, given = graphs, COSINE, inputs(made)
    else:
        plain = MaskCut._candidates

        def candidates(self, cut, painted):
            if painted.any() and threading.current_thread().name == bad:
                raise ConfigError("no such facet")
            return plain(self, cut, painted)

        call = MaskCut.__call__

        def named(self, scene):
            threading.current_thread().name = scene.image.id
            return call(self, scene)

        monkeypatch.setattr(MaskCut, "__call__", named)
        monkeypatch.setattr(MaskCut, "_candidates", candidates)
        stage, spec = masks, CUTS[0]
        given = inputs(made) | {"graphs": made / "plain.h5"}
    with pytest.raises(ConfigError, match="no such facet"):
        stage.run(job(name, spec, tmp_path / "a", **given))
    assert f"{name}: failed at image {bad!r}" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_input_names_its_image(made, tmp_path, gpu, monkeypatch, caplog):
    """Though a thread reads ahead of those that work."""
    bad = ids(made)[5]

    def unpack(arrays, attributes, plain=graphs.unpack_features):
        read.append(1)
        if len(read) == 6:
            raise DataError("checksum")
        return plain(arrays, attributes)

    read = []
    monkeypatch.setattr(graphs, "unpack_features", unpack)
    with pytest.raises(DataError, match="checksum"):
        graphs.run(job("graphs", COSINE, tmp_path / "a.h5", **inputs(made)))
    assert f"failed at image {bad!r}" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_images_of_other_grids_share_a_window(made, monkeypatch):
    """Each grid is solved by itself, and the graphs come in the order of the images."""
    with read_shard(inputs(made)["features"]) as reader:
        whole = [graphs.unpack_features(*reader.get(image)) for image in ids(made)[:5]]
    cut = [
        type(f)({"key": f.facets["key"][: 16 - 2 * (k % 2)]}, f.size, f.input_size, f.stride)
        for k, f in enumerate(whole)
    ]
    sizes = []
    plain = Cosine.batch
    monkeypatch.setattr(
        Cosine,
        "batch",
        lambda self, given, solver: sizes.append(len(given)) or plain(self, given, solver),
    )
    given = [(image, f, None) for image, f in zip(ids(made), cut, strict=False)]
    found = list(graphs._on_gpu(Cosine(**{k: v for k, v in COSINE.items() if k != "kind"}), given))
    assert [graph.grid for graph in found] == [f.grid for f in cut]
    assert sorted(sizes) == [2, 3]


def test_without_a_gpu_nothing_imports_torch(made, tmp_path):
    """It costs four seconds a job. No nvidia-smi is on this PATH."""
    program = "import sys; from cleave.cli import main; sys.exit(main() or 'torch' in sys.modules)"
    files = {"images": inputs(made)["images"], "features": inputs(made)["features"]}
    commands = (
        ("graphs", '{"kind": "cosine"}', files),
        ("masks", '{"kind": "maskcut", "refine": "none"}', files | {"graphs": made / "plain.h5"}),
    )
    for stage, spec, given in commands:
        command = [sys.executable, "-c", program, stage, "--spec", spec, "--gpus", "1"]
        for name, path in given.items():
            command += [f"--{name}", str(path)]
        command += ["--output", str(tmp_path / stage)]
        environment = {"PATH": "/nowhere", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("gpus", "seen", "device", "expected"),
    [(1, ["0"], "cuda", True), (0, ["0"], "cuda", False), (1, [], "cuda", False),
     (1, ["0"], "cpu", False)],
)  # fmt: skip
def test_a_gpu_is_used_if_given_and_there(tmp_path, monkeypatch, gpus, seen, device, expected):
    monkeypatch.setattr(together, "visible", lambda: seen)
    monkeypatch.setattr(together, "device", lambda: device)
    assert together.given_gpu(job("graphs", {}, tmp_path / "a", gpus)) is expected
