"""Photos in every odd format, at other sizes, and the list of a shard's images."""

import hashlib
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from cleave.io import images
from cleave.io.images import (
    ImageRecord,
    ImageShard,
    Skipped,
    inspect,
    load_pixels,
    number_of,
    read_image,
    read_image_shard,
    refuse_many_broken,
    resize,
    write_image_shard,
)
from cleave.types import DataError, Size

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (24, 36, 3)).astype(np.uint8)
GREY = COLOUR[..., 0]
SMOOTH = np.stack(np.broadcast_arrays(np.arange(0, 240, 10)[:, None], np.arange(36) * 6, 90), 2)
SMOOTH = SMOOTH.astype(np.uint8)


@pytest.fixture
def save(tmp_path):
    def save(picture, name, **options):
        if isinstance(picture, np.ndarray):
            picture = Pillow.fromarray(picture)
        picture.save(tmp_path / name, **options)
        return tmp_path / name

    return save


def grey(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, 2)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.ppm", "a.qoi", "a.dib", "a.apng"])
def test_lossless_formats(save, name):
    np.testing.assert_array_equal(load_pixels(save(COLOUR, name)), COLOUR)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "group4"])
def test_compressed_tiff(save, compression):
    picture = Pillow.fromarray(COLOUR)
    if compression == "group4":
        picture = picture.convert("1")
    found = load_pixels(save(picture, "a.tif", compression=compression))
    np.testing.assert_array_equal(found, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.webp", {"lossless": True}), ("a.jp2", {"irreversible": False})],
)
def test_other_lossless_encoders(save, name, options):
    np.testing.assert_array_equal(load_pixels(save(COLOUR, name, **options)), COLOUR)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.avif", "a.jp2"])
def test_lossy_formats(save, name):
    found = load_pixels(save(SMOOTH, name, quality=95) if name != "a.jp2" else save(SMOOTH, name))
    assert np.abs(found.astype(int) - SMOOTH).mean() < 5


def test_the_content_decides_not_the_suffix(save):
    path = save(COLOUR, "a.png")
    np.testing.assert_array_equal(load_pixels(path.rename(path.with_suffix(".jpg"))), COLOUR)


def test_result_is_contiguous_and_writable_elsewhere(save):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    found = load_pixels(save(COLOUR, "a.png", exif=exif))
    assert found.flags.c_contiguous
    assert found.dtype == np.uint8


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff", "a.avif"])
def test_rotation_as_pillow_does_it(save, name, orientation):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = save(COLOUR, name, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Pillow.open(path)).convert("RGB"))
    np.testing.assert_array_equal(load_pixels(path), expected)
    (record,), _ = inspect(path.parent, [("a", name)], "header")
    assert record.size == expected.shape[:2]


def test_a_phone_photo_stands_upright(save):
    """By hand: the sensor's top row is the right-hand side of the scene when the tag is 6."""
    exif = Pillow.Exif()
    exif[0x0112] = 6
    stored = np.zeros((2, 3, 3), np.uint8)
    stored[0] = 255
    found = load_pixels(save(stored, "a.png", exif=exif))
    np.testing.assert_array_equal(found[..., 0], [[0, 255]] * 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("block", [b"MM\0*\xff\xff\xff\xff", b"nonsense", b""])
def test_damaged_exif_leaves_the_photo_as_it_is(save, block):
    path = save(COLOUR, "a.png", exif=b"Exif\0\0" + block)
    np.testing.assert_array_equal(load_pixels(path), COLOUR)


def test_grey(save):
    np.testing.assert_array_equal(load_pixels(save(GREY, "a.png")), grey(GREY))


def test_one_bit(save):
    found = load_pixels(save(Pillow.fromarray(GREY > 127), "a.png"))
    np.testing.assert_array_equal(found, grey((GREY > 127) * 255))


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.pgm"])
def test_sixteen_bit_grey_is_scaled_not_clipped(save, name):
    values = np.array([[0, 128, 129, 257, 4096, 32768, 65278, 65535]], np.uint16)
    found = load_pixels(save(values, name))
    np.testing.assert_array_equal(found, grey([[0, 0, 1, 1, 16, 128, 254, 255]]))


def test_sixteen_bit_big_endian_tiff(tmp_path):
    values = np.array([[0, 32768, 65535]], ">u2")
    Pillow.frombytes("I;16B", (3, 1), values.tobytes()).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(load_pixels(tmp_path / "a.tif"), grey([[0, 128, 255]]))


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_sixteen_bit_colour(tmp_path, name):
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / name), COLOUR[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(load_pixels(tmp_path / name), COLOUR)


def test_float_between_zero_and_one(save):
    values = np.array([[0, 0.25, 0.5, 1]], np.float32)
    np.testing.assert_array_equal(load_pixels(save(values, "a.tiff")), grey([[0, 64, 128, 255]]))


def test_float_of_another_range_is_stretched_and_nan_is_dark(save):
    values = np.array([[-10, 0, 10, np.nan, np.inf]], np.float32)
    np.testing.assert_array_equal(load_pixels(save(values, "a.tiff")), grey([[0, 128, 255, 0, 0]]))


@pytest.mark.parametrize("value", [np.nan, -3.0, 1e30])
def test_float_without_contrast(save, value):
    assert not load_pixels(save(np.full((3, 4), value, np.float32), "a.tiff")).any()


def test_thirty_two_bit_integers(save):
    small, large = np.array([[0, 65535]], np.int32), np.array([[0, 1 << 20, 1 << 21]], np.int32)
    np.testing.assert_array_equal(load_pixels(save(small, "a.tiff")), grey([[0, 255]]))
    np.testing.assert_array_equal(load_pixels(save(large, "b.tiff")), grey([[0, 128, 255]]))


def over_white(colour, alpha):
    """Naive twin: one pixel after the other."""
    out = np.zeros_like(colour)
    for index in np.ndindex(alpha.shape):
        share = alpha[index] / 255
        out[index] = np.round(share * colour[index] + (1 - share) * 255)
    return out


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.webp"])
def test_alpha_over_white(save, name):
    alpha = RNG.integers(0, 256, GREY.shape).astype(np.uint8)
    options = {"lossless": True, "exact": True} if name == "a.webp" else {}
    path = save(np.dstack([COLOUR, alpha]), name, **options)
    difference = load_pixels(path).astype(int) - over_white(COLOUR, alpha)
    assert np.abs(difference).max() <= 1


def test_grey_with_alpha(save):
    alpha = np.where(GREY > 127, 255, 0).astype(np.uint8)
    path = save(Pillow.merge("LA", [Pillow.fromarray(GREY), Pillow.fromarray(alpha)]), "a.png")
    np.testing.assert_array_equal(load_pixels(path), grey(np.where(alpha > 0, GREY, 255)))


def palette_picture():
    picture = Pillow.fromarray(np.array([[0, 1, 2]], np.uint8), "L").convert("P")
    picture.putpalette([200, 10, 20, 30, 200, 40, 50, 60, 200])
    picture.putdata([0, 1, 2])
    return picture


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.bmp", "a.tiff"])
def test_palette(save, name):
    expected = [[[200, 10, 20], [30, 200, 40], [50, 60, 200]]]
    np.testing.assert_array_equal(load_pixels(save(palette_picture(), name)), expected)


@pytest.mark.parametrize(
    ("name", "transparency"), [("a.png", 1), ("a.gif", 1), ("b.png", b"\xff\0")]
)
def test_palette_with_transparency(save, name, transparency):
    path = save(palette_picture(), name, transparency=transparency)
    expected = [[[200, 10, 20], [255, 255, 255], [50, 60, 200]]]
    np.testing.assert_array_equal(load_pixels(path), expected)


def test_one_transparent_colour(save):
    values = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    path = save(values, "a.png", transparency=(1, 2, 3))
    np.testing.assert_array_equal(load_pixels(path), [[[255, 255, 255], [4, 5, 6]]])


@pytest.mark.parametrize("name", ["a.jpg", "a.tiff"])
def test_cmyk(save, name):
    """Pillow writes CMYK JPEG as Adobe does: inverted, with its marker."""
    options = {"quality": 100, "subsampling": 0} if name == "a.jpg" else {}
    found = load_pixels(save(Pillow.fromarray(SMOOTH).convert("CMYK"), name, **options))
    assert np.abs(found.astype(int) - SMOOTH).max() <= 6
    if name == "a.jpg":
        assert b"Adobe" in (save(Pillow.fromarray(SMOOTH).convert("CMYK"), name)).read_bytes()


def test_ycbcr_tiff(save):
    found = load_pixels(save(Pillow.fromarray(SMOOTH).convert("YCbCr"), "a.tiff"))
    assert np.abs(found.astype(int) - SMOOTH).max() <= 6


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tiff"])
def test_first_frame(save, name):
    frames = [Pillow.new("RGB", (5, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    options = {"lossless": True} if name == "a.webp" else {}
    path = save(frames[0], name, save_all=True, append_images=frames[1:], **options)
    assert Pillow.open(path).n_frames == 2
    np.testing.assert_array_equal(load_pixels(path), np.full((4, 5, 3), (255, 0, 0)))


HEIC = struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic"


def test_heic_without_a_decoder(tmp_path, monkeypatch):
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    images._pillow.cache_clear()
    (tmp_path / "a.heic").write_bytes(HEIC)
    with pytest.raises(DataError, match="pillow-heif"):
        load_pixels(tmp_path / "a.heic")
    images._pillow.cache_clear()


def test_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="needs the extra 'formats'")
    images._pillow.cache_clear()
    heif.from_pillow(Pillow.fromarray(SMOOTH)).save(tmp_path / "a.heic", quality=95)
    found = load_pixels(tmp_path / "a.heic")
    assert np.abs(found.astype(int) - SMOOTH).mean() < 5


def test_resize_to_its_own_size_is_free():
    assert resize(COLOUR, Size(24, 36)) is COLOUR


@pytest.mark.parametrize("size", [Size(10, 50), Size(1, 1), Size(200, 3)])
def test_resize(size):
    found = resize(COLOUR, size)
    expected = Pillow.fromarray(COLOUR).resize((size.width, size.height), Pillow.Resampling.LANCZOS)
    np.testing.assert_array_equal(found, np.asarray(expected))
    assert found.dtype == np.uint8
    assert found.shape == (*size, 3)


def test_resize_of_a_view_and_without_aliasing():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    np.testing.assert_allclose(resize(stripes[:, ::-1], Size(8, 8)).astype(int), 128, atol=12)


def test_inspect_keeps_the_order_and_lists_the_broken(save, tmp_path):
    names = [f"{i}.png" for i in range(20)]
    for i, name in enumerate(names):
        save(COLOUR[: i + 1], name)
    (tmp_path / "7.png").write_bytes(b"")
    records, broken = inspect(tmp_path, [(name[:-4], name) for name in names], "decode")
    assert [record.path for record in records] == [name for name in names if name != "7.png"]
    assert [record.height for record in records] == [i + 1 for i in range(20) if i != 7]
    assert broken == [Skipped("7.png", "the file is empty")]
    record = records[0]
    assert record.digest == hashlib.sha256((tmp_path / "0.png").read_bytes()).hexdigest()
    assert record.number == number_of("0") == int(hashlib.sha256(b"0").hexdigest()[:13], 16)


def test_header_only_misses_a_photo_cut_off_in_the_middle(save, tmp_path):
    path = save(COLOUR, "a.jpg")
    path.write_bytes(path.read_bytes()[:-300])
    assert inspect(tmp_path, [("a", "a.jpg")], "header")[1] == []
    assert "truncated" in inspect(tmp_path, [("a", "a.jpg")], "decode")[1][0].reason


def test_a_photo_that_changed_is_refused(save, tmp_path):
    path = save(COLOUR, "a.png")
    (record,), _ = inspect(tmp_path, [("a", "a.png")], "decode")
    np.testing.assert_array_equal(read_image(tmp_path, record).pixels, COLOUR)
    save(255 - COLOUR, "a.png")
    with pytest.raises(DataError, match=r"a\.png: changed since it was listed"):
        read_image(tmp_path, record)
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path, record)


def test_many_broken():
    broken = [Skipped(f"{i}.jpg", "torn") for i in range(11)]
    refuse_many_broken(broken[:10], 10, 0.01, "photos")
    refuse_many_broken(broken, 1100, 0.01, "photos")
    with pytest.raises(
        DataError, match=r"photos: 11 of 1000 .*max_broken = 0\.01(.|\n)*0\.jpg: torn"
    ):
        refuse_many_broken(broken, 1000, 0.01, "photos")


SHARD = ImageShard(
    {"kind": "folder", "root": "x"},
    (
        ImageRecord('a/b "c"\n', 'a/b "c"\n.jpg', 3, 4, 5, "ab"),
        ImageRecord("é\\xff", "é\udcff.jpg", 1, 2, 3, "cd"),
    ),
    (Skipped("x.jpg", "empty"),),
    (Skipped("y.txt", "no photo"),),
)


def test_shard_round_trip(tmp_path):
    write_image_shard(tmp_path / "a.json", SHARD, 3)
    write_image_shard(tmp_path / "b.json", SHARD, 3)
    assert read_image_shard(tmp_path / "a.json") == SHARD
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json").read_bytes().isascii()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"spec": {}}', '{"spec":{},"images":[{"a":1}]}'])
def test_damaged_shard(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    expected = r"a\.json: (no list of images|not readable as JSON) .*delete it"
    with pytest.raises(DataError, match=expected):
        read_image_shard(tmp_path / "a.json")


def test_import_and_planning_leave_pillow_alone(tmp_path):
    (tmp_path / "a.jpg").touch()
    program = (
        "import sys; from cleave.registry import make; "
        f"make('datasets', {{'kind': 'folder', 'root': {str(tmp_path)!r}}}).fingerprints(); "
        "print(sorted({'PIL', 'cv2', 'h5py', 'scipy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
