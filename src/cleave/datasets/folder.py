"""A folder of photos, however nested and whatever is in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Interval, MinLen

from cleave.io.images import (
    SUFFIXES,
    ImageRecord,
    ImageShard,
    Skipped,
    inspect,
    printable,
    read_image,
    refuse_many_broken,
)
from cleave.io.listing import (
    Fingerprints,
    Found,
    expanded,
    folder,
    identify,
    judge,
    read_list,
    status,
    walk,
)
from cleave.io.shards import shard_of
from cleave.spec import ConfigError, canonical, to_mapping
from cleave.types import DataError, Image


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Your photos: any folder, recursively; no labels.

    What is not a photo by its suffix is listed as ignored, a photo that cannot be decoded as
    broken, both with the reason. For data sets of millions of photos a `list_file` spares the
    walk, and `watch: false` every look at the photos before the work begins.
    """

    root: Annotated[str, MinLen(1)]  # relative to the working directory; ~ is your home
    shards: Annotated[int, Gt(0)] = 1  # about one per 250 to 2,000 photos
    suffixes: Annotated[tuple[str, ...], MinLen(1)] = SUFFIXES  # of photos, lower case
    list_file: str | None = None  # text file naming the photos, one path below root per line
    watch: bool = True  # notice photos whose size or time changed, not only names
    verify: Literal["decode", "header"] = "decode"  # "header" misses photos cut off in the middle
    max_broken: Annotated[float, Interval(ge=0, le=1)] = 0.01  # share of a shard; ten always pass

    def __post_init__(self):
        for suffix in self.suffixes:
            if not suffix.startswith(".") or suffix != suffix.lower() or len(suffix) < 2:
                raise ConfigError(f"suffixes: {suffix!r}; write it like '.jpg', in lower case")

    def fingerprints(self, look: Callable[[str], str] = status) -> list[str]:
        """One text per shard that changes with its photos; opens none of them.

        Args:
            look: path to a text that changes with the photo; by default its size and time.

        Raises:
            ConfigError: the root or the list file is not there.
            DataError: no photo at all, or a folder that cannot be read.
        """
        prints, example, photos = Fingerprints(self.shards), None, 0
        root = os.path.expanduser(self.root)
        for found in self._files():
            if found.reason:
                example = example or found
                if not found.hidden:
                    prints.add(found, found.reason)
            else:
                photos += 1
                prints.add(found, look(os.path.join(root, found.path)) if self.watch else "")
        self._refuse_none(photos, example)
        return prints.texts()

    def fingerprinted(self) -> str:
        """What `fingerprints` follow from; "" where that is more than a list of names."""
        if self.list_file is None or self.watch:
            return ""
        try:
            with open(expanded(self.list_file), "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError):  # told by `fingerprints`
            return ""
        return canonical({"list": digest, "shards": self.shards, "suffixes": self.suffixes})

    def list(self, shard: int) -> ImageShard:
        """Looks at every photo of the 0-based shard.

        Raises:
            ConfigError, DataError: as `fingerprints`, and where too many photos are broken.
        """
        root = folder(self.root, "root")
        photos, ignored, example, count = [], [], None, 0
        for found in self._files():
            count += not found.reason
            example = example or (found if found.reason else None)
            if shard_of(found.key, self.shards) != shard:
                continue
            if found.reason:
                ignored.append(Skipped(printable(found.path), found.reason))
            else:
                photos.append(found.path)
        self._refuse_none(count, example)
        named, clashing = identify(photos, self.suffixes)
        records, broken = inspect(root, named, self.verify)
        broken += clashing
        refuse_many_broken(broken, len(photos), self.max_broken, printable(root))
        if not records and self.shards == 1:
            reason = f"the first, {broken[0].path}: {broken[0].reason}"
            raise DataError(f"{printable(root)}: no photo can be read; {reason}")
        return ImageShard(
            {"kind": "folder", **to_mapping(self)},
            tuple(records),
            tuple(sorted(broken, key=lambda item: item.path)),
            tuple(sorted(ignored, key=lambda item: item.path)),
        )

    def read(self, record: ImageRecord) -> Image:
        """The photo of a record; DataError if its file is no longer the one that was listed."""
        return read_image(expanded(self.root), record)

    def _files(self) -> Iterator[Found]:
        suffixes = frozenset(self.suffixes)
        if self.list_file is None:
            return walk(folder(self.root, "root"), suffixes)
        return (judge(path, suffixes) for path in read_list(self.list_file))

    def _refuse_none(self, photos: int, example: Found | None) -> None:
        if photos:
            return
        where = expanded(self.list_file or self.root).absolute()
        seen = ""
        if example is not None:
            seen = f" (but {printable(example.path)!r}: {example.reason})"
        raise DataError(
            f"{printable(where)}: names no photo{seen}; photos end in {', '.join(self.suffixes)}"
        )
