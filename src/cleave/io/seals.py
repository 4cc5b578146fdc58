"""A checksum inside a safetensors file, which has no room for one behind its data.

It stands in the JSON text that is the file's one piece of metadata, as eight digits of a key
"crc32", and is that of all bytes of the file with these digits at zero: of names, shapes and
places too, for a flipped bit there gives other weights as well.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from cleave.io.atomic import crc32
from cleave.types import DataError

UNSEALED = {"crc32": "00000000"}  # to be part of the metadata that is written
_SEAL = re.compile(rb'\\"crc32\\":\\"([0-9a-f]{8})\\"')  # JSON inside JSON: its quotes are escaped
_LENGTH = 8  # bytes before the header that say how long it is


def seal(path: Path) -> None:
    """Writes the checksum of a file that was written with `UNSEALED`."""
    _, place = _find(path)
    with open(path, "rb+") as file:
        file.seek(place)
        file.write(b"%08x" % _checksum(path, place))


def require_whole(path: Path) -> None:
    """Compares a file's checksum; a file without one, of an earlier version, passes.

    Raises:
        DataError: the file is not what was written.
        OSError: it cannot be read.
    """
    digits, place = _find(path)
    if digits is not None and int(digits, 16) != _checksum(path, place):
        raise DataError(f"weights {path}: damaged: its checksum is of other bytes; delete it")


def _find(path: Path) -> tuple[bytes | None, int]:
    """The digits of a file's checksum, or None, and the first one's place."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        # A damaged length may be anything: no header is longer than its file.
        header = file.read(min(length, path.stat().st_size))
    found = _SEAL.search(header)
    return (found[1], _LENGTH + found.start(1)) if found else (None, 0)


def _checksum(path: Path, place: int) -> int:
    """Of all bytes, those of the checksum itself at zero."""
    with open(path, "rb") as file:
        checksum = zlib.crc32(UNSEALED["crc32"].encode(), crc32(file, place))
        file.seek(place + len(UNSEALED["crc32"]))
        return crc32(file, before=checksum)
