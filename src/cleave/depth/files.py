"""Depth that comes with the data set: from a sensor, a renderer or another program."""

from __future__ import annotations

import importlib.util
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Gt, Interval, MinLen

from cleave.depth.common import files_fingerprint
from cleave.io.images import printable
from cleave.io.listing import expanded, folder
from cleave.spec import ConfigError, nearest
from cleave.types import Array, DataError, DepthMap, Image, Size

_PICTURES = (".png", ".tif", ".tiff", ".pgm", ".pfm")


@dataclass(frozen=True, kw_only=True)
class Files:
    """One depth file an image: 16-bit PNG or PGM, float TIFF, PFM, NPY, NPZ, or EXR.

    NaN and infinity count as missing in every format. Missing pixels take the value of the nearest
    one that is not, and their share is kept in `DepthMap.filled`.
    """

    root: Annotated[str, MinLen(1)]  # folder; relative to the working directory
    pattern: str = "{id}.png"  # below root; {id} is the image's id, {name} its last part
    what: Literal["depth", "disparity"] = "depth"  # disparity is inverted: larger is farther
    # Metres a unit of the file (.001 where it counts millimetres), or for disparity focal length
    # in pixels times baseline in metres. Without it the depth is relative.
    scale: Annotated[float, Gt(0)] | None = None
    missing: tuple[float, ...] = (0.0,)  # values that stand for "not measured"
    max_missing: Annotated[float, Interval(ge=0, lt=1)] = 0.5  # share of an image

    saw_labels: ClassVar[str] = "depth that comes with the data set"

    def __post_init__(self):
        if "{id}" not in self.pattern and "{name}" not in self.pattern:
            raise ConfigError(f"pattern: {self.pattern!r} holds neither {{id}} nor {{name}}")
        known = (*_PICTURES, ".npy", ".npz", ".exr")
        suffix = Path(self.pattern).suffix.lower()
        if suffix not in known:
            raise ConfigError(f"pattern: no reader for {suffix!r}; {nearest(suffix, known)}")
        if suffix == ".exr" and importlib.util.find_spec("OpenEXR") is None:
            raise ConfigError("pattern: EXR needs the package OpenEXR; pip install OpenEXR")

    def fingerprint(self) -> str:
        """A text that changes with the depth files; opens none of them.

        Raises:
            ConfigError: the root is not there.
        """
        return files_fingerprint(folder(self.root, "root"), {Path(self.pattern).suffix.lower()})

    def __call__(self, image: Image) -> DepthMap:
        """The depth of one image, at the resolution of its file.

        Raises:
            DataError: no such file, not one channel, of another aspect ratio than the image, or
                too much of it missing.
        """
        name = self.pattern.replace("{name}", image.id.split("/")[-1]).replace("{id}", image.id)
        path = expanded(self.root) / name
        try:
            values = read_values(path)
            _check_aspect(Size(*values.shape), image.size)
            return self._depth(values)
        except DataError as error:
            raise DataError(f"{printable(path)}: {error}") from None

    def _depth(self, values: Array) -> DepthMap:
        valid = np.isfinite(values)
        for value in self.missing:
            valid &= values != value
        missing = 1 - float(valid.mean())
        if not valid.any() or missing > self.max_missing:
            raise DataError(
                f"{missing:.1%} of the depth is missing, more than max_missing = "
                f"{self.max_missing:g}; raise it, or leave the image out"
            )
        values = values.astype(np.float64)
        if self.what == "disparity":
            values = invert_disparity(values, valid)
        elif self.scale is not None and values[valid].min() < 0:
            raise DataError(
                f"holds depth {values[valid].min():g}; add the value to `missing` if it says that "
                "nothing was measured there"
            )
        values = fill(values, valid) * (self.scale or 1.0)
        unit = "relative" if self.scale is None else "metre"
        return DepthMap(values.astype(np.float32), unit, missing)


def read_values(path: Path) -> Array:
    """The numbers of a depth file as they are stored.

    Returns:
        (h, w), of any real dtype.

    Raises:
        DataError: missing, damaged, or not one channel.
    """
    if not path.is_file():
        raise DataError("there is no such file; check root and pattern")
    suffix = path.suffix.lower()
    readers = {".npy": _read_numpy, ".npz": _read_numpy, ".exr": _read_exr}
    values = readers.get(suffix, _read_picture)(path)
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values.squeeze(0 if values.shape[0] == 1 else 2)
    if values.ndim != 2 or values.dtype.kind not in "buif" or 0 in values.shape:
        raise DataError(f"expected one channel (h, w) of real numbers, got {values.shape}")
    return values


def invert_disparity(values: Array, valid: Array) -> Array:
    """1 / disparity, with the farthest percent cut off, for depth is unbounded at disparity zero.

    Only that side is cut (specs clip both for network outputs): a sensor's near end is real.

    Args:
        values: (h, w) disparity, larger is nearer.
        valid: (h, w) bool, where it was measured.
    """
    positive = values[valid & (values > 0)]
    if not len(positive):
        raise DataError("holds no disparity above zero")
    return 1 / np.maximum(np.where(valid, values, np.inf), np.percentile(positive, 1))


def fill(values: Array, valid: Array) -> Array:
    """Each missing pixel takes the value of the nearest valid one.

    Args:
        values: (h, w); what stands where `valid` is false is not looked at.
        valid: (h, w) bool, at least one true.
    """
    if valid.all():
        return values
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return values[rows, columns]


def _check_aspect(depth: Size, image: Size) -> None:
    # A map of lower resolution has its sides rounded, each by less than a pixel.
    error = abs(depth.width * image.height - depth.height * image.width)
    if error > max(image):
        turned = depth.width * image.width == depth.height * image.height
        hint = "; is the image rotated by its EXIF tag and the depth not?" if turned else ""
        raise DataError(
            f"depth of {depth.height} x {depth.width} (height x width) does not fit an image of "
            f"{image.height} x {image.width}{hint}"
        )


def _read_picture(path: Path) -> Array:
    import cv2

    # From memory: OpenCV opens no path that is not UTF-8, and keeps silent about it.
    data = np.frombuffer(path.read_bytes(), np.uint8)
    values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if values is None:
        raise DataError("not a readable picture; is it cut off?")
    return values


def _read_numpy(path: Path) -> Array:
    """The array of a .npy file; of a .npz file the only one, or the one called depth."""
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            name = "depth" if "depth" in found.files else found.files[0]
            if name != "depth" and len(found.files) > 1:
                raise DataError(f"call one of its arrays 'depth'; it holds {found.files}")
            return found[name]
    except (ValueError, OSError, EOFError, IndexError, zipfile.BadZipFile) as error:
        raise DataError(f"not a readable NumPy file ({error})") from None


def _read_exr(path: Path) -> Array:
    """The channel Z, or Y, or the only one, or R of a grey RGB file; layer names are dropped."""
    import OpenEXR

    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: channel.pixels.copy() for name, channel in file.channels().items()}
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(f"not a readable EXR file ({error})") from None
    by_name = {name.rpartition(".")[2].upper(): values for name, values in channels.items()}
    if len(channels) == 1:
        return next(iter(channels.values()))
    for name in ("Z", "Y"):
        if name in by_name:
            return by_name[name]
    grey = [by_name[name] for name in "RGB" if name in by_name]
    if grey and all(np.array_equal(grey[0], other, equal_nan=True) for other in grey):
        return grey[0]
    raise DataError(f"which channel is depth? expected Z or Y, found {', '.join(channels)}")
