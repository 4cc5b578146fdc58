"""Depth that comes with a data set: formats, holes, units, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as Pillow

from cleave.depth.files import Files, fill, invert_disparity, read_values
from cleave.spec import ConfigError
from cleave.types import DataError, Image

RNG = np.random.default_rng(0)
MILLIMETRES = RNG.integers(300, 9000, (6, 8)).astype(np.uint16)
METRES = (MILLIMETRES / 1000).astype(np.float32)


def image(height=6, width=8, image_id="a/b"):
    return Image(image_id, np.zeros((height, width, 3), np.uint8))


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, values)
    elif path.suffix == ".exr":
        openexr = pytest.importorskip("OpenEXR", reason="needs the extra 'formats'")
        header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
        channels = {"Z": values} if values.ndim == 2 else dict(zip("RGB", values, strict=True))
        openexr.File(header, channels).write(str(path))
    else:
        cv2 = pytest.importorskip("cv2")
        data = cv2.imencode(path.suffix, values)[1].tobytes()
        path.write_bytes(data)


@pytest.mark.parametrize(
    ("suffix", "values"),
    [
        (".png", MILLIMETRES),
        (".png", (MILLIMETRES // 40).astype(np.uint8)),
        (".tiff", MILLIMETRES),
        (".tif", METRES),
        (".tiff", METRES.astype(np.float64)),
        (".pgm", MILLIMETRES),
        (".pfm", METRES),
        (".npy", METRES),
        (".npy", METRES.astype(np.float16)),
        (".npy", METRES[None]),
        (".npy", METRES[..., None].astype(np.float64)),
        (".npz", MILLIMETRES.astype(np.int32)),
        (".exr", METRES),
        (".exr", METRES.astype(np.float16)),
        (".exr", np.stack([METRES] * 3)),
    ],
)
def test_formats(tmp_path, suffix, values):
    write(tmp_path / "a" / f"b{suffix}", values)
    depth = Files(root=str(tmp_path), pattern=f"{{id}}{suffix}")(image())
    expected = values.astype(np.float32)
    if values.ndim == 3:
        expected = expected[..., 0] if values.shape[2] == 1 else expected[0]
    np.testing.assert_array_equal(depth.values, expected)
    assert (depth.unit, depth.filled, depth.values.dtype) == ("relative", 0, np.float32)


def test_scale_makes_metres(tmp_path):
    write(tmp_path / "a" / "b.png", MILLIMETRES)
    depth = Files(root=str(tmp_path), scale=0.001)(image())
    np.testing.assert_allclose(depth.values, METRES, rtol=1e-6)
    assert depth.unit == "metre"


def test_name_is_the_last_part_of_the_id(tmp_path):
    write(tmp_path / "b" / "depth.png", MILLIMETRES)
    depth = Files(root=str(tmp_path), pattern="{name}/depth.png")(image())
    np.testing.assert_array_equal(depth.values, MILLIMETRES)


def test_ids_with_odd_characters(tmp_path):
    odd = "grün {name} 'x'\n"
    write(tmp_path / f"{odd}.png", MILLIMETRES)
    depth = Files(root=str(tmp_path))(image(image_id=odd))
    np.testing.assert_array_equal(depth.values, MILLIMETRES)


def test_npz_with_several_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", depth=METRES, colour=MILLIMETRES)
    np.testing.assert_array_equal(read_values(tmp_path / "a.npz"), METRES)
    np.savez(tmp_path / "a.npz", one=METRES, two=MILLIMETRES)
    with pytest.raises(DataError, match="call one of its arrays 'depth'"):
        read_values(tmp_path / "a.npz")


def test_exr_channels_that_do_not_say_which_is_depth(tmp_path):
    write(tmp_path / "a.exr", np.stack([METRES, METRES, METRES + 1]))
    with pytest.raises(DataError, match="which channel is depth"):
        read_values(tmp_path / "a.exr")


def test_exr_of_blender(tmp_path):
    openexr = pytest.importorskip("OpenEXR", reason="needs the extra 'formats'")
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    channels = {f"ViewLayer.Combined.{c}": METRES * 0 for c in "RGBA"}
    openexr.File(header, channels | {"ViewLayer.Depth.Z": METRES}).write(str(tmp_path / "a.exr"))
    np.testing.assert_array_equal(read_values(tmp_path / "a.exr"), METRES)


def test_exr_without_its_package_is_refused_before_the_run(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install OpenEXR"):
        Files(root="x", pattern="{id}.exr")


def test_holes_are_filled_and_counted(tmp_path):
    values = np.full((6, 8), 2.0)
    values[:, 4:] = 5
    values[0, 0], values[1, 1], values[2, 7], values[3, 7] = 0, np.nan, np.inf, -1
    write(tmp_path / "a" / "b.npy", values)
    fields = {"root": str(tmp_path), "pattern": "{id}.npy", "scale": 0.5}
    depth = Files(missing=(0, -1), **fields)(image())
    assert depth.filled == pytest.approx(4 / 48)
    np.testing.assert_array_equal(
        depth.values, np.where(np.arange(8) < 4, 1, 2.5) + np.zeros((6, 1))
    )
    with pytest.raises(DataError, match=r"b\.npy: holds depth -1; add the value to `missing`"):
        Files(**fields)(image())


def test_zero_is_depth_where_it_is_not_called_missing(tmp_path):
    values = np.arange(48.0).reshape(6, 8)
    write(tmp_path / "a" / "b.npy", values)
    depth = Files(root=str(tmp_path), pattern="{id}.npy", missing=())(image())
    np.testing.assert_array_equal(depth.values, values)
    assert depth.filled == 0


def test_relative_depth_may_be_negative(tmp_path):
    write(tmp_path / "a" / "b.npy", METRES - 5)
    depth = Files(root=str(tmp_path), pattern="{id}.npy")(image())
    np.testing.assert_array_equal(depth.values, METRES - 5)


@pytest.mark.parametrize(("holes", "allowed"), [(48, 0.99), (25, 0.5), (5, 0.1)])
def test_too_many_holes(tmp_path, holes, allowed):
    values = METRES.copy()
    values.flat[:holes] = 0
    write(tmp_path / "a" / "b.npy", values)
    fields = {"root": str(tmp_path), "pattern": "{id}.npy"}
    with pytest.raises(DataError, match=rf"{holes / 48:.1%} of the depth is missing"):
        Files(max_missing=allowed, **fields)(image())
    if holes < 48:
        assert Files(max_missing=holes / 48, **fields)(image()).filled == pytest.approx(holes / 48)


@settings(deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_fill_against_a_search_of_all_pixels(valid):
    """Each hole takes the value of one of its nearest neighbours; the rest stays."""
    valid.flat[0] = True
    values = np.arange(valid.size, dtype=float).reshape(valid.shape)
    filled = fill(np.where(valid, values, np.nan), valid)
    rows, columns = np.nonzero(valid)
    for r, c in np.ndindex(valid.shape):
        distance = (rows - r) ** 2 + (columns - c) ** 2
        assert filled[r, c] in values[rows, columns][distance == distance.min()]


def test_disparity_becomes_depth(tmp_path):
    disparity = RNG.uniform(1, 50, (20, 30)).astype(np.float32)
    disparity[0, :5] = 0
    write(tmp_path / "a" / "b.npy", disparity)
    fields = {"root": str(tmp_path), "pattern": "{id}.npy", "what": "disparity"}
    depth = Files(scale=60.0, **fields)(image(20, 30))
    assert depth.filled == pytest.approx(5 / 600)
    assert depth.unit == "metre"
    floor = np.percentile(disparity[disparity > 0], 1)
    seen = disparity > 0
    np.testing.assert_allclose(
        depth.values[seen], 60 / np.maximum(disparity[seen], floor), rtol=1e-6
    )
    order = np.argsort(disparity[seen])
    assert (np.diff(depth.values[seen][order]) <= 0).all()


def test_disparity_zero_is_far_where_it_is_not_called_missing():
    disparity = np.array([[0.0, 1, 2, 4, -1]])
    depth = invert_disparity(disparity, np.ones((1, 5), bool))
    assert np.isfinite(depth).all()
    assert depth[0, 0] == depth[0, 4] == depth.max()
    np.testing.assert_allclose(depth[0, 2:4], [0.5, 0.25])


def test_no_disparity_at_all(tmp_path):
    write(tmp_path / "a" / "b.npy", np.full((6, 8), -1.0))
    dataset = Files(root=str(tmp_path), pattern="{id}.npy", what="disparity")
    with pytest.raises(DataError, match="holds no disparity above zero"):
        dataset(image())


@pytest.mark.parametrize("size", [(12, 16), (3, 4), (60, 80), (480, 640), (481, 640)])
def test_another_size_of_the_same_aspect_is_kept(tmp_path, size):
    write(tmp_path / "a" / "b.png", MILLIMETRES)
    depth = Files(root=str(tmp_path))(image(*size))
    assert depth.values.shape == (6, 8)


@pytest.mark.parametrize("size", [(240, 426), (384, 512), (120, 160)])
def test_a_rounded_side_is_the_same_aspect(tmp_path, size):
    photo = image(*(2 * side + 1 for side in size))
    write(tmp_path / "a" / "b.npy", np.ones(size))
    assert Files(root=str(tmp_path), pattern="{id}.npy")(photo).values.shape == size


@pytest.mark.parametrize("size", [(80, 60), (60, 60), (60, 85), (1, 1)])
def test_another_aspect_is_refused(tmp_path, size):
    write(tmp_path / "a" / "b.npy", np.ones((60, 80)))
    with pytest.raises(DataError, match=r"60 x 80 \(height x width\) does not fit"):
        Files(root=str(tmp_path), pattern="{id}.npy")(image(*size))


def test_rotated_photo_gets_a_hint(tmp_path):
    write(tmp_path / "a" / "b.png", MILLIMETRES)
    with pytest.raises(DataError, match="rotated by its EXIF tag"):
        Files(root=str(tmp_path))(image(8, 6))


def test_a_colour_picture_is_no_depth(tmp_path):
    Pillow.new("RGB", (8, 6)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="expected one channel"):
        read_values(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pfm", ".npy", ".npz", ".exr"])
@pytest.mark.parametrize("share", [0, 0.4, 0.8])
def test_damaged_files(tmp_path, suffix, share):
    path = tmp_path / f"a{suffix}"
    write(path, np.tile(METRES if suffix != ".png" else MILLIMETRES, (8, 8)))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match="not a readable"):
        read_values(path)


def test_missing_files_and_pickles(tmp_path):
    with pytest.raises(DataError, match=r"b\.png: there is no such file; check root and pattern"):
        Files(root=str(tmp_path))(image())
    np.save(tmp_path / "a.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(DataError, match="not a readable NumPy file"):
        read_values(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", METRES.astype(complex))
    with pytest.raises(DataError, match="real numbers"):
        read_values(tmp_path / "b.npy")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [("depth.png", "neither {id} nor {name}"), ("{id}", "no reader for ''"),
     ("{id}.jpg", r"no reader for '\.jpg'; .*\.png")],
)  # fmt: skip
def test_patterns_that_cannot_be(pattern, reason):
    with pytest.raises(ConfigError, match=reason):
        Files(root="x", pattern=pattern)


def test_fingerprint_changes_with_the_files(tmp_path):
    source = Files(root=str(tmp_path))
    write(tmp_path / "a" / "b.png", MILLIMETRES)
    (tmp_path / "notes.txt").write_text("x")
    first = source.fingerprint()
    (tmp_path / "notes.txt").write_text("xy")
    assert source.fingerprint() == first
    write(tmp_path / "a" / "b.png", MILLIMETRES // 2)
    assert source.fingerprint() != first
    with pytest.raises(ConfigError, match="there is no folder"):
        Files(root=str(tmp_path / "missing")).fingerprint()
