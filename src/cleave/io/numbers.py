"""A few numbers for each of millions of texts, in as little memory as the numbers take."""

from __future__ import annotations

import hashlib
import zlib
from array import array
from bisect import bisect_left
from pathlib import Path

from cleave.io.atomic import replacing
from cleave.types import DataError

_MAGIC = b"cleave.numbers/1\n"
_CHECKSUM = 4  # bytes


class NumberTable:
    """Texts to `width` signed 64-bit numbers each: filled, then sorted, then asked.

    8 bytes for a text and 8 for each of its numbers, where a dict takes hundreds. A text is known
    by 64 bits of its hash; that any two of a million texts share theirs happens to one of 30
    million tables.
    """

    def __init__(self, width: int):
        self._keys, self._columns = array("q"), [array("q") for _ in range(width)]

    def add(self, text: str, *numbers: int) -> None:
        self._keys.append(_key(text))
        for column, number in zip(self._columns, numbers, strict=True):
            column.append(number)

    def sort(self) -> None:
        """To be called between the last `add` and the first `get` or `write`."""
        import numpy as np

        order = np.argsort(np.frombuffer(self._keys, np.int64), kind="stable")

        def sorted_(column: array) -> array:
            return array("q", np.frombuffer(column, np.int64)[order].tobytes())

        self._keys = sorted_(self._keys)
        for i in range(len(self._columns)):
            self._columns[i] = sorted_(self._columns[i])

    def get(self, text: str) -> tuple[int, ...] | None:
        key = _key(text)
        place = bisect_left(self._keys, key)
        if place == len(self._keys) or self._keys[place] != key:
            return None
        return tuple(column[place] for column in self._columns)

    def __len__(self) -> int:
        return len(self._keys)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NumberTable):
            return NotImplemented
        return (self._keys, self._columns) == (other._keys, other._columns)

    def write(self, path: Path) -> None:
        checksum = 0
        for column in (self._keys, *self._columns):
            checksum = zlib.crc32(column, checksum)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            file.write(_MAGIC + checksum.to_bytes(_CHECKSUM, "big"))
            for column in (self._keys, *self._columns):
                column.tofile(file)

    @classmethod
    def read(cls, path: Path, width: int) -> NumberTable:
        """What `write` wrote.

        Raises:
            DataError: no such file, or damaged.
        """
        table = cls(width)
        columns, checksum = (table._keys, *table._columns), 0
        try:
            with open(path, "rb") as file:
                head = file.read(len(_MAGIC) + _CHECKSUM)
                size = path.stat().st_size - len(head)
                count, rest = divmod(size, 8 * len(columns))
                if not head.startswith(_MAGIC) or len(head) < len(_MAGIC) + _CHECKSUM or rest:
                    raise ValueError("another format, or cut short")
                for column in columns:
                    column.fromfile(file, count)
                    checksum = zlib.crc32(column, checksum)
            if checksum != int.from_bytes(head[len(_MAGIC) :], "big"):
                raise ValueError("its checksum is of other bytes")
        except (OSError, EOFError, ValueError) as error:
            raise DataError(f"{path}: not readable ({error})") from None
        return table


def _key(text: str) -> int:
    data = text.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big", signed=True)
