"""Photos as they come, turned into (H, W, 3) uint8 RGB; and the list of a data set's images.

This is the only place where photos are decoded and resized. Pillow reads them, imported when the
first photo is: a Snakefile that only plans never pays for it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import io
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cleave import __version__
from cleave.io.atomic import read_json, write_json
from cleave.types import Array, DataError, Image, Size

# What Pillow may try. Not its other decoders: EPS would start Ghostscript on a stranger's file, TGA
# and PCX have no signature and would "recognise" text.
FORMATS = (
    *("JPEG", "MPO", "PNG", "WEBP", "TIFF", "GIF", "BMP", "DIB", "PPM"),
    *("JPEG2000", "AVIF", "HEIF", "QOI"),
)
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff"),
    *(".gif", ".bmp", ".dib", ".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".jpx"),
    *(".avif", ".heic", ".heif", ".hif", ".qoi"),
)
BACKGROUND = (255, 255, 255)  # under transparent pixels: what a viewer shows behind a cut-out
FEW_BROKEN = 10  # a shard of any size may hold this many broken files

_ORIENTATION = 0x0112  # the EXIF tag
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One readable image of a data set."""

    id: str  # its path in the data set without suffix: the key that joins artifacts
    path: str  # relative to the data set's root; "" if rendered
    height: int  # pixels, after EXIF rotation
    width: int
    number: int  # its integer id in COCO files
    digest: str  # sha256 of the file's bytes, or of what it is rendered from

    @property
    def size(self) -> Size:
        return Size(self.height, self.width)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class ImageShard:
    """One shard of a data set: what the `images` stage writes and every other stage starts from."""

    spec: Mapping[str, Any]  # of the data set, with its kind
    records: tuple[ImageRecord, ...]
    broken: tuple[Skipped, ...] = ()  # should be images but cannot be read
    ignored: tuple[Skipped, ...] = ()  # are none


def number_of(image_id: str) -> int:
    """A COCO integer id (52 bits, exact in JSON readers that only know doubles) from any id."""
    return int(hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).hexdigest()[:13], 16)


def write_image_shard(path: Path, shard: ImageShard, version: int) -> None:
    """Writes the shard as JSON; equal shards give equal bytes."""
    value = {
        "spec": dict(shard.spec),
        "version": version,
        "cleave": __version__,
        "images": [asdict(record) for record in shard.records],
        "broken": [asdict(item) for item in shard.broken],
        "ignored": [asdict(item) for item in shard.ignored],
    }
    write_json(Path(path), value, seal=True)


def read_image_shard(path: Path) -> ImageShard:
    """Reads what `write_image_shard` wrote.

    Raises:
        DataError: the file is missing, truncated, damaged or no list of images.
    """
    value = read_json(path)
    try:
        return ImageShard(
            value["spec"],
            tuple(ImageRecord(**item) for item in value["images"]),
            tuple(Skipped(**item) for item in value["broken"]),
            tuple(Skipped(**item) for item in value["ignored"]),
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: no list of images ({error}); delete it to redo it") from None


def load_pixels(path: Path | str) -> Array:
    """Decodes a photo.

    EXIF rotation is applied; of an animation or a multi-page file the first frame is taken.
    Transparent pixels are composited on white. 16-bit values are divided by 257 (all of 0..65535,
    never stretched to the picture's own range, so that brightness stays comparable between
    photos); 32-bit and float values are taken as 0..65535 or 0..1 where they lie in there, else
    stretched from their minimum to their maximum. Embedded colour profiles are not applied.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: missing, empty, truncated, too large, or no image; the text says which.
    """
    try:
        return _decode(_read(path))
    except _UnreadableError as error:
        raise DataError(f"{printable(path)}: {error}") from None


def resize(pixels: Array, size: Size, method: Literal["lanczos", "bilinear"] = "lanczos") -> Array:
    """The one resize of images, with antialiasing.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        size: of the result.
        method: "bilinear" is for detectors, whose published weights expect it.

    Returns:
        (size.height, size.width, 3) uint8 RGB; `pixels` itself if it has this size already.
    """
    if pixels.shape[:2] == tuple(size):
        return pixels
    pillow = _pillow()
    picture = pillow.fromarray(np.ascontiguousarray(pixels))
    how = pillow.Resampling[method.upper()]
    return np.array(picture.resize((size.width, size.height), how))


def read_image(root: Path | str, record: ImageRecord) -> Image:
    """The image of a record, refused if its file is no longer the one that was listed.

    Raises:
        DataError: the file changed, or cannot be read any more.
    """
    path = Path(root, record.path)
    try:
        data = _read(path)
        if hashlib.sha256(data).hexdigest() != record.digest:
            raise _UnreadableError("changed since it was listed; run the workflow again to notice")
        return Image(record.id, _decode(data))
    except _UnreadableError as error:
        raise DataError(f"{printable(path)}: {error}") from None


def inspect(
    root: Path | str,
    files: Sequence[tuple[str, str]],
    verify: Literal["decode", "header"],
) -> tuple[list[ImageRecord], list[Skipped]]:
    """Looks at files once: size after rotation, content digest, and whether they can be read.

    Args:
        root: folder to which the paths are relative.
        files: (image id, path), in the order wanted.
        verify: "decode" finds truncated files too; "header" only what the first bytes tell.

    Returns:
        Records of the readable files, and the others with reasons; both in the order of `files`.
    """
    # Pillow and hashlib work outside the interpreter lock; map keeps the order.
    with ThreadPoolExecutor(min(8, _cores())) as pool:
        results = list(pool.map(lambda file: _inspect(Path(root), *file, verify), files))
    return (
        [item for item in results if isinstance(item, ImageRecord)],
        [item for item in results if isinstance(item, Skipped)],
    )


def refuse_many_broken(broken: Sequence[Skipped], files: int, share: float, where: str) -> None:
    """Stops where more than `share` of a shard's files, and more than a handful, are broken.

    Raises:
        DataError: with the first few reasons.
    """
    if len(broken) > max(FEW_BROKEN, share * files):
        some = "".join(f"\n  {item.path}: {item.reason}" for item in broken[:FEW_BROKEN])
        raise DataError(
            f"{where}: {len(broken)} of {files} photos cannot be read, more than "
            f"max_broken = {share:g} allows; the first:{some}\n"
            "mend or remove them, or raise max_broken"
        )


def printable(path: Path | str) -> str:
    r"""A path as text that can be encoded: bytes that are no UTF-8 become \xff."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class _UnreadableError(Exception):
    """Why a file gives no pixels; becomes a DataError or a line in a shard's list."""


def _cores() -> int:
    """How many cores this process may use; macOS does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _inspect(root: Path, image_id: str, path: str, verify: str) -> ImageRecord | Skipped:
    try:
        data = _read(root / path)
        height, width = _decode(data).shape[:2] if verify == "decode" else _header_size(data)
    except _UnreadableError as error:
        return Skipped(printable(path), str(error))
    digest = hashlib.sha256(data).hexdigest()
    return ImageRecord(image_id, path, height, width, number_of(image_id), digest)


def _read(path: Path | str) -> bytes:
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _UnreadableError(reason.lower()) from None
    if not data:
        raise _UnreadableError("the file is empty")
    return data


@functools.cache
def _pillow():
    """`PIL.Image` with all its decoders known, which must not happen in two threads at once."""
    from PIL import Image as pillow

    pillow.init()
    # Twice as many pixels are refused; a warning between the lines of a log helps nobody.
    warnings.filterwarnings("ignore", category=pillow.DecompressionBombWarning)
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    return pillow


def _decode(data: bytes) -> Array:
    """(H, W, 3) uint8 RGB."""
    with _reasons(data):
        picture = _open(data)
        picture.load()
        pixels = _rgb(picture)
        orientation = _orientation(picture)  # after load, which rotates TIFF by itself
    return np.ascontiguousarray(_rotated(pixels, orientation))


def _header_size(data: bytes) -> Size:
    """Size after rotation, without decoding."""
    with _reasons(data):
        picture = _open(data)
        turned = picture.format != "TIFF" and _orientation(picture) in (5, 6, 7, 8)
        return Size(*picture.size) if turned else Size(*reversed(picture.size))


def _open(data: bytes):
    pillow = _pillow()
    formats = [name for name in FORMATS if name in pillow.OPEN]
    return pillow.open(io.BytesIO(data), formats=formats)


@contextlib.contextmanager
def _reasons(data: bytes):
    """Turns whatever Pillow raises on damaged bytes into one reason.

    Its decoders raise about any exception there is (struct.error, IndexError, zlib.error, ...), so
    all are caught, but memory shortage, which is no fault of the file.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        from PIL import UnidentifiedImageError

        if not isinstance(error, UnidentifiedImageError):
            text = " ".join(str(error).split()) or type(error).__name__
            if "out of memory" in text.lower():  # how decoders in C tell it
                raise MemoryError(text) from None
            raise _UnreadableError(re.sub(r"<[^>]* at 0x[^>]*>", "it", text)) from None
        if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
            text = "HEIC, which needs a decoder: install the package pillow-heif, or save as JPEG"
        else:
            text = "no image, or damaged at its start, or of a kind that Pillow cannot read"
        raise _UnreadableError(text) from None


def _rgb(picture) -> Array:
    """A loaded Pillow image of any mode as (H, W, 3) uint8."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return np.repeat(_eight_bit(np.asarray(picture))[..., None], 3, axis=2)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        ground = _pillow().new("RGBA", picture.size, BACKGROUND)
        picture = _pillow().alpha_composite(ground, picture)
    return np.asarray(picture.convert("RGB"))


def _eight_bit(values: Array) -> Array:
    """Grey values of more than 8 bits to uint8; the rule stands in `load_pixels`."""
    top = 1.0 if values.dtype.kind == "f" else 65535.0
    finite = np.isfinite(values)
    if not finite.all():
        values = np.where(finite, values, values[finite].min(initial=np.inf) if finite.any() else 0)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > top:
        values, top = values.astype(np.float64) - low, high - low or 1.0
    return np.round(values * (255.0 / top)).astype(np.uint8)


def _orientation(picture) -> int:
    """EXIF orientation, 1 to 8; 1 where it is missing or its block is damaged, as viewers do."""
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # any exception there is, as in _reasons; the pixels are sound all the same
        return 1
    return value if value in range(1, 9) else 1


def _rotated(pixels: Array, orientation: int) -> Array:
    """Pixels as they are to be seen; EXIF 2.32, section 4.6.4 A, tag 274."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
