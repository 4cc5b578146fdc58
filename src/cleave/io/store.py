"""HDF5 shards: one group per image, one chunk per array, and attributes that say what made them.

Every array has a checksum (Fletcher-32, 1 to 2 ms an image), and so has what lies around them (the
file format of libver "latest"), so a flipped bit is an error that names the file, never a number.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import h5py
import numpy as np

from cleave import __version__
from cleave.io.atomic import replacing
from cleave.io.sink import Sink, opened
from cleave.spec import canonical
from cleave.types import DataError


class ShardWriter:
    """Adds images to an open shard; made by `write_shard`."""

    def __init__(self, file: h5py.File, path: Path, sink: Sink):
        self._file, self._path, self._sink = file, path, sink

    def add(
        self,
        image_id: str,
        arrays: Mapping[str, np.ndarray],
        attributes: Mapping[str, Any] | None = None,
        compress: frozenset[str] = frozenset(),
    ) -> None:
        """Stores one image.

        Args:
            image_id: any text; slashes are quoted, so an id is never a path in the file.
            arrays: name to array of at least one axis, stored as they are.
            attributes: plain values, kept as JSON.
            compress: names of arrays worth compressing (features are not: they hardly shrink).

        Raises:
            DataError: the shard holds this image already.
        """
        if _name(image_id) in self._file:
            raise DataError(f"{self._path}: image {image_id!r} twice; ids must differ")
        group = self._file.create_group(_name(image_id))
        group.attrs["attributes"] = _text(canonical(dict(attributes or {})))
        for name, array in sorted(arrays.items()):
            options: dict[str, Any] = {}
            if array.size:
                options |= {"chunks": array.shape, "fletcher32": True}
                if name in compress:
                    options |= {"compression": "gzip", "compression_opts": 1}
            group.create_dataset(name, data=array, **options)
        self._sink.check()


class ShardReader:
    """Reads images from an open shard; made by `read_shard`."""

    def __init__(self, file: h5py.File, path: Path):
        self._file, self._path = file, path

    @property
    def spec(self) -> dict[str, Any]:
        """The spec of the section that made this shard."""
        with _readable(self._path):
            return json.loads(self._file.attrs["spec"])

    def ids(self) -> list[str]:
        """The images, in the order of their quoted ids."""
        with _readable(self._path):
            return [unquote(name) for name in self._file]

    def get(
        self, image_id: str, names: set[str] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays (all, or the named ones that exist) and attributes of one image.

        Raises:
            DataError: the shard lacks this image, or the file is damaged.
        """
        with _readable(self._path):
            group = self._file.get(_name(image_id))
            if group is not None:
                arrays = {k: v[()] for k, v in group.items() if names is None or k in names}
                return arrays, json.loads(group.attrs["attributes"])
        raise DataError(f"{self._path}: holds no image {image_id!r}; delete it to redo it")


def _name(image_id: str) -> str:
    """The group of an image: "/" means something to HDF5, and so does "." where it stands alone."""
    quoted = quote(image_id, safe="")
    return quoted if quoted.strip(".") else quoted.replace(".", "%2E")


def _text(text: str) -> np.bytes_:
    """An attribute of fixed length: the others lie where HDF5 has no checksum, and may loop."""
    return np.bytes_(text.encode("ascii"))


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Names the damaged file; which of these h5py raises depends on where the damage lies."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a readable shard ({error}); delete it to redo it") from None


@contextlib.contextmanager
def write_shard(path: Path, *, spec: Mapping[str, Any], version: int) -> Iterator[ShardWriter]:
    """A shard under a temporary name, renamed to `path` when the block ends without an error.

    The same calls give the same bytes: no time stamps, names in sorted order.

    Raises:
        DataError: the disk is full.
    """
    with (
        replacing(Path(path)) as temporary,
        opened(temporary) as sink,
        h5py.File(sink, "w", driver="fileobj", libver="latest") as file,
    ):
        file.attrs["spec"] = _text(canonical(dict(spec)))
        file.attrs["version"] = version
        file.attrs["cleave"] = _text(__version__)
        yield ShardWriter(file, Path(path), sink)


@contextlib.contextmanager
def read_shard(path: Path) -> Iterator[ShardReader]:
    """Opens a shard.

    Raises:
        DataError: the file is missing, truncated or no HDF5.
    """
    with _readable(path):
        file = h5py.File(path, "r")
    with file:
        yield ShardReader(file, Path(path))
