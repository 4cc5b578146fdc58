"""DESIGN, section 7: equal bytes whatever the number of cores and shards, and after a new start."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Project

from cleave.io.store import read_shard

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def other(finished, tmp_path_factory) -> Project:
    """The same from scratch on one core, with `crowded` in one shard instead of two."""
    made = Project(tmp_path_factory.mktemp("other"))
    made.write(finished.config)
    made.change(lambda config: config["datasets"]["crowded"].update(shards=1))
    made.snakemake(cores=1)
    return made


def test_all_but_shards_and_report_have_equal_bytes(finished, other):
    def joined(project):
        content = project.artifacts()
        return {
            name: content[name]
            for name in content
            if not name.startswith("crowded/") and name != "report/index.html"
        }

    assert joined(other) == joined(finished)
    assert {"recipes/control/annotations.json", "tables/crowded.md"} <= joined(other).keys()
    assert any(name.endswith(".webp") for name in joined(other))


def read(folder: Path) -> dict[str, object]:
    """Image id to all that the shards in a folder hold of it."""
    content = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".h5":
            with read_shard(path) as reader:
                content |= {image_id: reader.get(image_id) for image_id in reader.ids()}
        elif folder.name == "images":
            content |= {image["id"]: image for image in json.loads(path.read_text())["images"]}
        else:
            content |= masks(json.loads(path.read_text()))
    return content


def masks(coco: dict) -> dict[str, object]:
    """Image id to its entry and its annotations, but for their numbers in the file."""
    found = {image["id"]: (image, []) for image in coco["images"]}
    for annotation in coco["annotations"]:
        found[annotation["image_id"]][1].append(annotation | {"id": None})
    return {image["key"]: (image, annotations) for image, annotations in found.values()}


KINDS = ("images", "features/colour", "depth/sensor", "graphs/colour")
KINDS += ("masks/maskcut", "masks/cleave3d")


@pytest.mark.parametrize("kind", KINDS)
def test_images_do_not_depend_on_their_shard(finished, other, kind):
    """Nor on the images that share it: their seeds, their order, their batch."""
    two, one = (read(project.results / "crowded" / kind) for project in (finished, other))
    assert len(one) == 4
    assert one.keys() == two.keys()
    for image_id in one:
        np.testing.assert_equal(one[image_id], two[image_id])
