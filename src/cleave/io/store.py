"""HDF5 shards: one group per image, one chunk per array, and attributes that say what made them."""

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
from cleave.spec import canonical
from cleave.types import DataError


class ShardWriter:
    """Adds images to an open shard; made by `write_shard`."""

    def __init__(self, file: h5py.File):
        self._file = file

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
            arrays: name to array, stored as they are.
            attributes: plain values, kept as JSON.
            compress: names of arrays worth compressing (features are not: they hardly shrink).
        """
        group = self._file.create_group(quote(image_id, safe=""))
        group.attrs["attributes"] = canonical(dict(attributes or {}))
        for name, array in sorted(arrays.items()):
            options: dict[str, Any] = {}
            if array.size:
                options["chunks"] = array.shape or None
                if name in compress:
                    options |= {"compression": "gzip", "compression_opts": 1}
            group.create_dataset(name, data=array, **options)


class ShardReader:
    """Reads images from an open shard; made by `read_shard`."""

    def __init__(self, file: h5py.File, path: Path):
        self._file, self._path = file, path

    @property
    def spec(self) -> dict[str, Any]:
        """The spec of the section that made this shard."""
        return json.loads(self._file.attrs["spec"])

    def ids(self) -> list[str]:
        return [unquote(name) for name in self._file]

    def get(
        self, image_id: str, names: set[str] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays (all, or the named ones that exist) and attributes of one image.

        Raises:
            DataError: the shard lacks this image.
        """
        group = self._file.get(quote(image_id, safe=""))
        if group is None:
            raise DataError(
                f"{self._path}: holds no image {image_id!r}; delete it to redo it"
            )
        arrays = {k: v[()] for k, v in group.items() if names is None or k in names}
        return arrays, json.loads(group.attrs["attributes"])


@contextlib.contextmanager
def write_shard(path: Path, *, spec: Mapping[str, Any], version: int) -> Iterator[ShardWriter]:
    """A shard under a temporary name, renamed to `path` when the block ends without an error.

    The same calls give the same bytes: no time stamps, names in sorted order.
    """
    with replacing(Path(path)) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        file.attrs["spec"] = canonical(dict(spec))
        file.attrs["version"] = version
        file.attrs["cleave"] = __version__
        yield ShardWriter(file)


@contextlib.contextmanager
def read_shard(path: Path) -> Iterator[ShardReader]:
    """Opens a shard.

    Raises:
        DataError: the file is missing, truncated or no HDF5.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path}: not a readable shard ({error}); delete it to redo it") from None
    with file:
        yield ShardReader(file, Path(path))
