"""What the data sets in a layout of their own have in common: photos of one folder, by name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Gt, Interval

from cleave.io.images import (
    ImageRecord,
    ImageShard,
    Skipped,
    inspect,
    printable,
    read_image,
    refuse_many_broken,
)
from cleave.io.listing import Found, fingerprint, folder, identify, key_of, status
from cleave.io.shards import shard_of
from cleave.spec import to_mapping
from cleave.types import DataError, Image


@dataclass(frozen=True, kw_only=True)
class Listed:
    """Photos of `photos`, those that `_files` names; labels are never looked at."""

    shards: Annotated[int, Gt(0)] = 1
    verify: Literal["decode", "header"] = "decode"
    max_broken: Annotated[float, Interval(ge=0, le=1)] = 0.01  # share of a shard; ten always pass

    @property
    def photos(self) -> Path:
        """The folder to which paths are relative."""
        raise NotImplementedError

    def _kind(self) -> str:
        """The name of the kind in a config."""
        raise NotImplementedError

    def _files(self) -> Iterator[Found]:
        """Every file that the data set names, and what lies beside them with the reason."""
        raise NotImplementedError

    def _sources(self) -> list[str]:
        """Texts that change with the names of the photos."""
        raise NotImplementedError

    def fingerprints(self) -> list[str]:
        """One text per shard, all alike: they change with the names of the photos.

        Of the folder only its own time of change is looked at, which tells of files that came or
        went. A photo whose content changed is refused when it is read.

        Raises:
            ConfigError: a folder or file is not there.
        """
        photos = folder(self.photos, "images")
        text = "\0".join([status(photos), *self._sources()])
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        return [digest] * self.shards

    def list(self, shard: int) -> ImageShard:
        """Looks at every photo of the 0-based shard.

        Raises:
            ConfigError: a folder or file is not there.
            DataError: no photo, or too many broken ones.
        """
        root = folder(self.photos, "images")
        found = list(self._files())
        if all(item.reason for item in found):
            raise DataError(f"{printable(root)}: the data set names no photo of this folder")
        here = [item for item in found if shard_of(item.key, self.shards) == shard]
        wanted = [item.path for item in here if not item.reason]
        named, broken = identify(wanted)
        records, unreadable = inspect(root, named, self.verify)
        broken += unreadable
        refuse_many_broken(broken, len(wanted), self.max_broken, printable(root))
        ignored = [Skipped(printable(item.path), item.reason) for item in here if item.reason]
        return ImageShard(
            {"kind": self._kind(), **to_mapping(self)},
            tuple(records),
            tuple(sorted(broken, key=lambda item: item.path)),
            tuple(sorted(ignored, key=lambda item: item.path)),
        )

    def read(self, record: ImageRecord) -> Image:
        """The photo of a record; DataError if its file is no longer the one that was listed."""
        return read_image(self.photos, record)


def folder_fingerprint(path: Path, what: str) -> str:
    """A text that changes with the names, sizes and times of the files of a folder.

    Raises:
        ConfigError: there is no such folder.
    """
    root = folder(path, what)
    return fingerprint(root, (Found(name, name) for name in os.listdir(root)))


def named(names: Iterator[str], suffix: str) -> Iterator[Found]:
    """Photos by name, each once; those without a suffix get this one."""
    seen = set()
    for name in names:
        path = name if Path(name).suffix else name + suffix
        if path not in seen:
            seen.add(path)
            yield Found(path, key_of(path))
