"""What a person calls by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from cleave import cli
from cleave.ops.render import scene
from cleave.registry import PLUGINS
from cleave.types import Size

METHODS = (
    *("tokencut", "maskcut", "cuts3d", "cleave3d", "lost", "deep_spectral", "promerge", "freesolo"),
    *("divide_conquer", "votecut"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A photo whose sides differ and are no multiple of a patch, and its depth in millimetres."""
    folder = tmp_path_factory.mktemp("photo")
    rendered = scene("crowded", 3, Size(190, 250))
    Image.fromarray(rendered.pixels).save(folder / "my photo é.png")
    depth = np.clip(rendered.depth * 1000, 0, 65535).astype(np.uint16)
    Image.fromarray(depth).save(folder / "depth.png")
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_segment_writes_an_overlay_and_coco(folder, tmp_path, method, capsys):
    arguments = ["segment", str(folder / "my photo é.png"), "--method", method]
    arguments += ["--out", str(tmp_path / "overlay.png")]
    if method in ("cuts3d", "cleave3d"):
        arguments += ["--depth", str(folder / "depth.png")]
    assert cli.main(arguments) == 0
    assert Image.open(tmp_path / "overlay.png").size == (250, 190)
    coco = COCO(tmp_path / "overlay.json")
    (image,) = coco.loadImgs(coco.getImgIds())
    assert (image["height"], image["width"]) == (190, 250)
    assert image["file_name"] == "my photo é.png"
    annotations = coco.loadAnns(coco.getAnnIds())
    assert annotations
    for annotation in annotations:
        mask = coco.annToMask(annotation)
        assert mask.shape == (190, 250)
        assert mask.sum() == annotation["area"] > 0


def test_features_are_exchanged_in_all_that_a_method_is_made_of(folder, tmp_path):
    """divide_conquer reads features itself, and the masks of a method that reads a graph."""
    out = tmp_path / "o.png"
    arguments = ["segment", str(folder / "my photo é.png"), "--method", "divide_conquer"]
    assert cli.main([*arguments, "--features", "texture", "--out", str(out)]) == 0
    info = json.loads(out.with_suffix(".json").read_text())["info"]
    used = json.loads(info["spec"]["sections"])
    assert set(used["masks"]) == {"divide_conquer", "maskcut"}
    assert set(used["features"]) == set(used["graphs"]) == {"texture"}


@pytest.fixture
def checkpoint(tmp_path):
    """An untrained detector in cleave's format, and the same weights in detectron2's."""
    torch = pytest.importorskip("torch")
    from cleave.io.checkpoints import save_state
    from cleave.rcnn.checkpoints import write_detectron2
    from cleave.rcnn.settings import Losses
    from cleave.registry import make

    spec = {"kind": "mask_rcnn", "trunk": "resnet18", "norm": "batch", "fpn_norm": "none"}
    spec |= {"fpn_channels": 8, "box_width": 16, "mask_channels": 8, "min_side": 64}
    torch.manual_seed(0)
    network = make("detectors", spec).network(Losses())
    save_state(tmp_path / "ours.pt", network.state_dict(), spec={"detector": spec})
    write_detectron2(network, tmp_path / "theirs.pth")
    (tmp_path / "my.yaml").write_text(f"detectors:\n  small: {spec}\n")
    return tmp_path


def test_segment_with_a_trained_detector(folder, checkpoint, tmp_path):
    photo, found = str(folder / "my photo é.png"), []
    for options in (
        ["--checkpoint", "ours.pt"],
        ["--checkpoint", "theirs.pth", "--config", "my.yaml", "--detector", "small"],
    ):
        paths = [str(tmp_path / o) if "." in o else o for o in options]
        out = str(tmp_path / f"{len(found)}.png")
        assert cli.main(["segment", photo, "--out", out, "--score", "0.3", *paths]) == 0
        coco = COCO(tmp_path / f"{len(found)}.json")
        found.append([a["segmentation"] for a in coco.loadAnns(coco.getAnnIds())])
    assert found[0] == found[1] != []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--checkpoint", "theirs.pth"], "name one with --detector"),
        (["--checkpoint", "none.pt"], "no such file"),
        (["--checkpoint", "ours.pt", "--detector", "cutlr"], "did you mean 'cutler'?"),
        (["--checkpoint", "ours.pt", "--detector", "cutler"], "missing"),
    ],
)
def test_segment_refuses_a_checkpoint(folder, checkpoint, options, expected, capsys):
    paths = [str(checkpoint / o) if "." in o else o for o in options]
    assert cli.main(["segment", str(folder / "my photo é.png"), *paths]) == 2
    assert expected in capsys.readouterr().err


def test_segment_says_that_flat_depth_is_two_dimensional(folder, tmp_path, capsys):
    arguments = ["segment", str(folder / "my photo é.png"), "--out", str(tmp_path / "o.png")]
    assert cli.main(arguments) == 0
    assert "flat depth" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--method", "maskcat"], "did you mean 'maskcut'"),
        (["--features", "dion"], "did you mean 'dino'"),
        (["--depth", "nowhere.png"], "neither a file nor a section"),
        (["--method", "maskcut", "--depth", "flat"], "uses no depth"),
        (["--method", "lost", "--features", "txture"], "no features section 'txture'"),
        (["--method", "dino_seg", "--features", "colour"], "attention"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_segment_refuses(folder, capsys, arguments, expected):
    assert cli.main(["segment", str(folder / "my photo é.png"), *arguments]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n1234"])
def test_segment_refuses_what_is_no_photo(tmp_path, capsys, content):
    (tmp_path / "broken.png").write_bytes(content)
    assert (
        cli.main(["segment", str(tmp_path / "broken.png"), "--out", str(tmp_path / "o.png")]) == 2
    )
    assert "broken.png" in capsys.readouterr().err
    assert not (tmp_path / "o.png").exists()


def test_segment_never_overwrites_the_photo(folder, capsys):
    photo = folder / "my photo é.png"
    before = photo.read_bytes()
    assert cli.main(["segment", str(photo), "--out", str(photo)]) == 2
    assert photo.read_bytes() == before


def test_list_names_every_plugin(capsys):
    assert cli.main(["list"]) == 0
    printed = capsys.readouterr().out
    for kinds in PLUGINS.values():
        for kind in kinds:
            assert f"  {kind} " in printed
    for setting in ("  training ", "  relabel ", "drop_loss=True", "copies=random"):
        assert setting in printed


def test_check_accepts_and_refuses(tmp_path, capsys):
    good = {"datasets": {"s": {"kind": "scenes", "flavour": "control", "count": 2}}}
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(good))
    assert cli.main(["check", str(path)]) == 0
    assert "valid" in capsys.readouterr().out
    good["datasets"]["s"]["count"] = 0
    path.write_text(yaml.safe_dump(good))
    assert cli.main(["check", str(path)]) == 2
    assert "datasets.s.count" in capsys.readouterr().err
    path.write_text("a: [")
    assert cli.main(["check", str(path)]) == 2
    assert "not YAML" in capsys.readouterr().err


def test_doctor_names_what_is_required(capsys):
    assert cli.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for name in ("torch", "PyMaxflow", "pydensecrf2", "weights in", "GPUs"):
        assert name in printed


def test_a_stage_refuses_a_wrong_spec(tmp_path, capsys):
    output = tmp_path / "0001-of-0001.json"
    spec = json.dumps({"kind": "scenes", "flavour": "crowdy", "count": 1})
    assert cli.main(["images", "--spec", spec, "--output", str(output)]) == 2
    assert "flavour" in capsys.readouterr().err
    assert not output.exists()
