"""Which shard an image belongs to, and what a shard is called.

A shard's number is 0-based in code and 1-based in its name: `name(1, 16)` is "0002-of-0016". The
name carries the total, so that a changed shard count can never mix old files with new ones.
"""

from __future__ import annotations

import hashlib
import re

from cleave.types import DataError

_NAME = re.compile(r"(\d{4,})-of-(\d{4,})")


def shard_of(image_id: str, shards: int) -> int:
    """0-based shard of an image: depends on its id alone, so other files never move it."""
    digest = hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % shards


def name(index: int, total: int) -> str:
    """The name of the 0-based shard `index` of `total`."""
    if not 0 <= index < total:
        raise DataError(f"shard {index} of {total}: expected 0 <= index < total")
    return f"{index + 1:04d}-of-{total:04d}"


def names(total: int) -> list[str]:
    """The names of all shards, in order."""
    return [name(index, total) for index in range(total)]


def parse(text: str) -> tuple[int, int]:
    """(0-based index, total) of a shard's name.

    Raises:
        DataError: not the name of a shard.
    """
    match = _NAME.fullmatch(text)
    index, total = (int(match[1]) - 1, int(match[2])) if match else (-1, 0)
    if not 0 <= index < total or name(index, total) != text:
        raise DataError(f"{text!r} is no shard; expected a name like 0002-of-0016")
    return index, total
