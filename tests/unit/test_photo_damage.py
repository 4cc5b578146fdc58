"""Photos that are cut off, damaged, too large or hostile: pixels or a reason, nothing else."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from cleave.io import images
from cleave.io.images import inspect, load_pixels
from cleave.types import DataError

COLOUR = np.random.default_rng(0).integers(0, 256, (24, 36, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif", "a.tiff", "a.bmp", "a.ppm"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_cut_off(tmp_path, name, share):
    path = tmp_path / name
    Pillow.fromarray(np.tile(COLOUR, (4, 4, 1))).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=name):
        load_pixels(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "QOI"])
def test_cut_off_anywhere_gives_the_whole_photo_or_none(name):
    """Never a photo whose lower part is grey."""
    buffer = io.BytesIO()
    Pillow.fromarray(COLOUR).save(buffer, name)
    data, refused = buffer.getvalue(), 0
    whole = images._decode(data)
    for length in range(1, len(data), 7):
        try:
            found = images._decode(data[:length])
        except images._UnreadableError:
            refused += 1
        else:
            np.testing.assert_array_equal(found, whole)
    assert refused > 0.9 * len(data) / 7


def test_reasons(tmp_path):
    cases = {
        "empty.jpg": (b"", "the file is empty"),
        "text.jpg": (b"hello, this is no photo", "no image, or damaged at its start"),
        "page.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image, or damaged"),
    }
    for name, (data, reason) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=f"{name}: {reason}"):
            load_pixels(tmp_path / name)
    with pytest.raises(DataError, match="no such file"):
        load_pixels(tmp_path / "nothing.jpg")
    with pytest.raises(DataError, match="is a directory"):
        load_pixels(tmp_path)


def test_reasons_are_the_same_in_every_run(tmp_path):
    """Pillow puts memory addresses into its messages; they must not reach an artifact."""
    (tmp_path / "a.jpg").write_bytes(b"GIF89a")
    _, (first,) = inspect(tmp_path, [("a", "a.jpg")], "decode")
    assert "0x" not in first.reason


def png_header(width, height):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("verify", ["decode", "header"])
def test_decompression_bomb(tmp_path, verify):
    (tmp_path / "a.png").write_bytes(png_header(60000, 50000))
    records, (bomb,) = inspect(tmp_path, [("a", "a.png")], verify)
    assert not records
    assert "3000000000 pixels" in bomb.reason
    assert str(2 * Pillow.MAX_IMAGE_PIXELS) in bomb.reason


def test_text_bomb(tmp_path):
    """A PNG whose comment unpacks to a gigabyte."""
    data = b"note\0\0" + zlib.compress(b"x" * (80 << 20))
    chunk = b"zTXt" + data
    chunk = struct.pack(">I", len(data)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    plain = png_header(10, 10)
    (tmp_path / "a.png").write_bytes(plain[:33] + chunk + plain[33:])
    with pytest.raises(DataError, match=r"(?i)too large"):
        load_pixels(tmp_path / "a.png")


ENCODED = {}
for _name, _options in [("JPEG", {}), ("PNG", {}), ("GIF", {}), ("TIFF", {}), ("WEBP", {})]:
    _buffer = io.BytesIO()
    Pillow.fromarray(COLOUR).save(_buffer, _name, **_options)
    ENCODED[_name] = _buffer.getvalue()


@settings(deadline=None, max_examples=150)
@given(
    name=st.sampled_from(sorted(ENCODED)),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8),
)
@pytest.mark.filterwarnings("ignore")
def test_damage_gives_pixels_or_a_reason(tmp_path_factory, name, changes):
    """Whatever bytes are changed: a valid array or a DataError, no other exception."""
    data = bytearray(ENCODED[name])
    for place, value in changes:
        data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / f"damaged.{name}"
    path.write_bytes(bytes(data))
    try:
        found = load_pixels(path)
    except DataError:
        return
    assert found.dtype == np.uint8
    assert found.shape[2:] == (3,)


def test_memory_shortage_is_no_fault_of_the_photo(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Pillow.fromarray(COLOUR).save(path)

    def exhausted(picture):
        raise MemoryError

    monkeypatch.setattr(images, "_rgb", exhausted)
    with pytest.raises(MemoryError):
        load_pixels(path)
