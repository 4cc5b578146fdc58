"""Simulated features of rendered scenes."""

import numpy as np
import pytest

from cleave.backbones.oracle import Oracle
from cleave.ops.points import pool_depth
from cleave.ops.render import parse_id, scene
from cleave.types import Image, Size

SIZE = Size(96, 128)


@pytest.fixture(scope="module")
def image():
    name = "control-000012"
    return Image(name, scene(*parse_id(name), SIZE).pixels)


def test_attention_lies_on_things_and_changes_no_key(image):
    plain, kept = (Oracle(size=96, cls_attention=on)([image])[0] for on in (False, True))
    assert plain.attention is None
    np.testing.assert_array_equal(plain.facets["key"], kept.facets["key"])
    assert kept.attention.shape == (1, *kept.grid)
    assert kept.attention.sum() == pytest.approx(1)
    rendered = scene(*parse_id(image.id), SIZE)
    things = rendered.instances.any(0).astype(np.float32)
    covered = pool_depth(things, kept.grid, "area") > 0.9
    assert covered.any()
    clear = Oracle(size=96, cls_attention=True, noise=0)([image])[0].attention[0]
    assert clear[covered].min() > 4 * np.median(clear[~covered])


def test_keys_of_a_thing_resemble_each_other_more_than_the_ground(image):
    (found,) = Oracle(size=96, noise=0)([image])
    keys = found.facets["key"]
    unit = keys / np.linalg.norm(keys, axis=2, keepdims=True)
    rendered = scene(*parse_id(image.id), SIZE)
    first = pool_depth(rendered.instances[0].astype(np.float32), found.grid, "area") > 0.9
    things = np.concatenate([rendered.instances, rendered.ignored]).any(0).astype(np.float32)
    ground = pool_depth(things, found.grid, "area") == 0
    inside = unit[first] @ unit[first].T
    across = unit[first] @ unit[ground].T
    assert inside.mean() > across.mean() + 0.3
