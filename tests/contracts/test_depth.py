"""What every depth source must do, tested from the registry."""

import dataclasses
import json

import numpy as np
import pytest

from cleave.io.artifacts import pack_depth, unpack_depth
from cleave.io.store import read_shard, write_shard
from cleave.registry import PLUGINS, lookup, make
from cleave.spec import ConfigError, build, canonical, to_mapping
from cleave.types import DepthMap, Image

KINDS = sorted(PLUGINS["depth"])


def constant(value, height, width, seed):
    return Image(f"crowded-{seed:06d}", np.full((height, width, 3), value, np.uint8))


def noise(height, width, seed):
    """Its id is that of a scene, since `rendered` knows no other images."""
    rng = np.random.default_rng(seed)
    return Image(f"crowded-{seed:06d}", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


PLAIN = noise(48, 64, 1)
IMAGES = [
    PLAIN,
    constant(127, 40, 60, 2),
    constant(0, 33, 21, 3),
    constant(200, 8, 8, 4),
    constant(90, 1, 1, 5),
    noise(5, 400, 6),
    noise(400, 3, 7),
]


def files_section(tmp_path):
    """Depth of each image as NPY, with a few holes."""
    for i, image in enumerate(IMAGES):
        depth = np.random.default_rng(i).uniform(1, 9, image.size)
        depth.flat[1::7] = 0
        np.save(tmp_path / f"{image.id}.npy", depth)
    return {"root": str(tmp_path), "pattern": "{id}.npy"}


# The least that a section of this kind must say; a kind that is not named needs nothing.
SECTIONS = {"files": files_section}


@pytest.fixture(params=KINDS)
def section(request, tmp_path):
    known = SECTIONS.get(request.param, lambda tmp_path: {})
    section = {"kind": request.param, **known(tmp_path)}
    if request.param == "marigold":
        pytest.importorskip("diffusers", reason="needs the extra 'diffusion'")
    return section


@pytest.fixture
def source(section):
    """The plugin, where it can run without weights from the hub."""
    plugin = make("depth", section)
    if hasattr(plugin, "model"):
        pytest.skip("a network: tests/unit/test_depth_networks.py runs it on tiny random weights")
    return plugin


def check(depth: DepthMap, image: Image) -> None:
    height, width = depth.values.shape
    assert depth.values.dtype == np.float32
    assert np.isfinite(depth.values).all()
    assert depth.unit in ("metre", "relative")
    assert 0 <= depth.filled <= 1
    if depth.unit == "metre":
        assert depth.values.min() >= 0
    # The map may be coarser than the image but shows the same rectangle.
    assert abs(width * image.size.height - height * image.size.width) <= max(image.size)


def test_the_spec_comes_back(section):
    kind = section["kind"]
    plugin = make("depth", section)
    fields = json.loads(canonical(to_mapping(plugin)))
    assert build(lookup("depth", kind, kind), fields, kind) == plugin
    assert to_mapping(make("depth", {"kind": kind, **fields})) == fields
    assert type(plugin).__doc__


def test_an_unknown_key_is_refused_with_the_nearest(section):
    kind = section["kind"]
    fields = dataclasses.fields(lookup("depth", kind, kind))
    name = fields[0].name if fields else "something"
    nearest = f"did you mean '{name}'" if fields else "valid: none"
    with pytest.raises(ConfigError, match=f"depth.{kind}: unknown key '{name}x'; {nearest}"):
        make("depth", {**section, f"{name}x": 1}, f"depth.{kind}")


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: "x".join(map(str, image.size)))
def test_any_image_gives_a_sound_map(source, image):
    check(source(image), image)


def test_the_same_image_gives_the_same_bytes(section, source):
    """Also from another instance, and after another image."""
    first = source(PLAIN)
    other = make("depth", section)
    other(IMAGES[1])
    again = other(PLAIN)
    assert again.values.tobytes() == first.values.tobytes()
    assert (again.unit, again.filled) == (first.unit, first.filled)


def test_the_image_is_left_as_it_is(source):
    before = PLAIN.pixels.copy()
    source(PLAIN)
    np.testing.assert_array_equal(PLAIN.pixels, before)


def test_depth_survives_the_shard(source, tmp_path):
    depth = source(PLAIN)
    with write_shard(tmp_path / "shard.h5", spec={}, version=1) as writer:
        writer.add(PLAIN.id, *pack_depth(depth))
    with read_shard(tmp_path / "shard.h5") as reader:
        back = unpack_depth(*reader.get(PLAIN.id))
    assert (back.unit, back.filled) == (depth.unit, depth.filled)
    np.testing.assert_allclose(back.values, depth.values, rtol=1e-3)


def test_labels_that_a_source_saw_are_said_in_words(section):
    assert isinstance(getattr(make("depth", section), "saw_labels", ""), str)
