"""What every mask method must do, tested from the registry."""

import dataclasses

import numpy as np
import pytest

from cleave.ops import bits
from cleave.ops.resample import upsample_nearest
from cleave.references import NEEDS
from cleave.registry import PLUGINS, lookup, make
from cleave.spec import ConfigError, build, to_mapping
from cleave.types import DepthMap, FeatureMap, Image, MaskSet, PatchGraph, Scene, Size

KINDS = sorted(PLUGINS["masks"])


def unrefined(kind, **fields):
    """The method with its defaults, but without the CRF where it has one: for speed."""
    names = {field.name for field in dataclasses.fields(lookup("masks", kind, kind))}
    return make(
        "masks", {"kind": kind, **({"refine": "none"} if "refine" in names else {}), **fields}
    )


def scene(method, classes, depth, size):
    """What `method` needs, and no more, of patches of these classes at these depths.

    Args:
        classes: (h, w) int.
        depth: (h, w) float.
        size: of the image.
    """
    grid = Size(*classes.shape)
    unit = np.eye(classes.max() + 1, dtype=np.float32)[classes]
    noise = np.random.default_rng(0).normal(0, 0.05, unit.shape)
    flat = (unit + noise).reshape(grid.height * grid.width, -1)
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    shades = np.random.default_rng(1).integers(40, 216, (classes.max() + 1, 3)).astype(np.uint8)
    pixels = np.moveaxis(upsample_nearest(np.moveaxis(shades[classes], -1, 0), size), 0, -1)
    graph = PatchGraph(bits.pack(flat @ flat.T > 0.5), grid, size)
    seen = np.where(classes > 0, 4.0, 1.0)
    things = [classes == label for label in range(1, classes.max() + 1)]
    wholes = upsample_nearest(np.array(things, bool).reshape(-1, *grid), size)
    parts = {
        "features": FeatureMap(
            dict.fromkeys(("key", "query", "value", "token"), unit),
            size,
            size,
            max(size.height // grid.height, 1),
            cls=unit[classes > 0].sum(0),
            attention=(seen / seen.sum()).astype(np.float32)[None],
            cls_query=(np.arange(unit.shape[2]) > 0).astype(np.float32),
        ),
        "graph": graph,
        "graphs": (graph, coarser(classes, size)),
        "depth": DepthMap(upsample_nearest(depth, size).astype(np.float32)),
        "masks": MaskSet(size, wholes, np.ones(len(wholes))),
    }
    return Scene(Image("contract", pixels), **{need: parts[need] for need in method.needs})


def coarser(classes, size):
    """The graph of patches twice as large, as another backbone of an ensemble has them."""
    half = classes[::2, ::2]
    return PatchGraph(
        bits.pack(half.reshape(-1, 1) == half.reshape(1, -1)), Size(*half.shape), size
    )


def objects(h=20, w=24):
    """Two objects of one class, apart in depth, and one of another, on a ground."""
    classes, depth = np.zeros((h, w), int), np.full((h, w), 9.0)
    for (top, left), number, z in (((2, 2), 1, 3.0), ((2, 9), 1, 6.0), ((11, 14), 2, 4.0)):
        block = (slice(top, top + 7), slice(left, left + 7))
        classes[block], depth[block] = number, z
    return classes, depth


def check(found: MaskSet, shown: Scene) -> None:
    """A valid result for this scene."""
    assert isinstance(found, MaskSet)
    assert found.size == shown.image.size
    assert found.masks.any((1, 2)).all()
    assert np.isfinite(found.scores).all()
    assert all(isinstance(key, str) and np.isfinite(value) for key, value in found.notes.items())
    if found.trust is not None and len(found):
        assert found.trust.shape[1:] == tuple((shown.graph or shown.features).grid)
        assert found.trust.min() >= 0
        assert found.trust.max() <= 1


def same(a: MaskSet, b: MaskSet) -> bool:
    return all(
        getattr(a, name) is getattr(b, name) is None
        or np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("masks", "scores", "labels", "parents", "trust")
    ) and dict(a.notes) == dict(b.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_build_and_the_spec_comes_back(kind):
    plugin = make("masks", {"kind": kind})
    fields = to_mapping(plugin)
    assert build(lookup("masks", kind, kind), fields, kind) == plugin
    assert to_mapping(make("masks", {"kind": kind, **fields})) == fields
    assert plugin.needs <= NEEDS.keys() - {"weights"}
    assert type(plugin).__doc__


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_key_is_refused_with_the_nearest(kind):
    name = dataclasses.fields(lookup("masks", kind, kind))[0].name
    with pytest.raises(ConfigError, match=f"masks.{kind}: .*'{name}x'; did you mean '{name}'"):
        make("masks", {"kind": kind, f"{name}x": 1}, f"masks.{kind}")


@pytest.mark.parametrize("kind", KINDS)
def test_objects_are_found_the_same_each_time(kind):
    method = unrefined(kind)
    shown = scene(method, *objects(), Size(160, 192))
    found = method(shown)
    check(found, shown)
    assert len(found) >= 1
    again = unrefined(kind)(scene(method, *objects(), Size(160, 192)))
    assert same(found, again)
    assert found.masks.tobytes() == again.masks.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_run(kind):
    method = make("masks", {"kind": kind})
    if getattr(method, "refine", None) == "crf":
        pytest.importorskip("pydensecrf", reason="an extra: pip install pydensecrf2")
    shown = scene(method, *objects(), Size(150, 210))  # not a multiple of the grid
    check(method(shown), shown)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_image_has_no_objects(kind):
    method = unrefined(kind)
    shown = scene(method, np.zeros((9, 7), int), np.full((9, 7), 2.0), Size(72, 56))
    found = method(shown)
    check(found, shown)
    assert len(found) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 2)])
def test_the_smallest_grids(kind, shape):
    method = unrefined(kind)
    classes = np.arange(shape[0] * shape[1]).reshape(shape) % 2
    shown = scene(method, classes, classes + 1.0, Size(shape[0] * 8, shape[1] * 8))
    check(method(shown), shown)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 60), (60, 1), (3, 80)])
def test_extreme_aspect_ratios(kind, shape):
    method = unrefined(kind)
    classes = np.zeros(shape, int)
    classes.ravel()[20:35] = 1
    shown = scene(method, classes, 3.0 - classes, Size(shape[0] * 8, shape[1] * 8))
    check(method(shown), shown)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_smaller_than_its_grid(kind):
    method = unrefined(kind)
    shown = scene(method, *objects(), Size(6, 5))
    check(method(shown), shown)


def test_without_depth_cleave3d_is_maskcut_with_all_components():
    """Their difference in a table is then the depth's alone."""
    cleave3d = unrefined("cleave3d", connectivity=4)
    classes, depth = objects()
    flat = scene(cleave3d, classes, np.full_like(depth, 5.0), Size(160, 192))
    planar = unrefined("maskcut", all_components=True)(flat)
    assert len(planar) >= 2
    np.testing.assert_array_equal(cleave3d(flat).masks, planar.masks)
