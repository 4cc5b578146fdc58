"""Files that are either whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from cleave.types import DataError

# What the system says where nothing can be written, and what to do about it.
_AGAIN = "and run the same command again"
_ROOM = f"make room, {_AGAIN}"
_RIGHTS = f"check who may write there, {_AGAIN}"
_REFUSED = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _ROOM),
    errno.EFBIG: f"raise the limit on the size of a file (ulimit -f), {_AGAIN}",
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
}
_SEAL = re.compile(rb',\s*"crc32":\s*"([0-9a-f]{8})"(\s*}\s*\]?\s*)\Z')
_SEAL_LENGTH = 64  # bytes at the end of a file among which its seal is looked for
_DAMAGED = "its checksum is of other bytes: it was damaged, or edited"
_BLOCK = 1 << 20  # bytes


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; a clean exit renames it, an error removes it.

    What a killed process left of the same file is removed too.

    Raises:
        DataError: the disk is full, or the folder may not be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _REFUSED or not _is_of(error, path):
            raise
        reason, remedy = os.strerror(error.errno).lower(), _REFUSED[error.errno]
        raise DataError(
            f"{path}: cannot be written: {reason}; nothing of it was kept: {remedy}"
        ) from None
    finally:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            temporary.unlink()


def _is_of(error: OSError, path: Path) -> bool:
    """Whether an error is about writing `path`, and not about what was read for it meanwhile."""
    if error.filename is None:  # of a write; opening names its file
        return True
    where = Path(os.path.abspath(os.fsdecode(error.filename)))
    path = Path(os.path.abspath(path))
    return where.parent == path.parent or where in path.parents


def _remove_stale(path: Path) -> None:
    """Removes temporaries of `path` whose process is gone.

    A process of another machine looks gone too. It can only be one that outlived its workflow,
    for Snakemake's lock admits one writer of a file, so nobody waits for what it writes.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        process = left.name.split(".")[-2]
        if process.isdecimal() and not _alive(int(process)):
            left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_json(path: Path, value: Any, *, indent: int | None = None, seal: bool = False) -> None:
    """Writes JSON with sorted keys, so that equal values give equal bytes.

    Args:
        seal: adds, to a mapping that is not empty, a last key "crc32": the checksum of the bytes
            before it, by which `read_json` knows a file in which a bit has flipped.
    """
    with replacing(path) as temporary:
        separators = (",", ":") if indent is None else None
        text = json.dumps(
            value, sort_keys=True, indent=indent, separators=separators, allow_nan=False
        )
        if seal:
            text = text[:-1].rstrip()
            text += sealing(zlib.crc32(text.encode("utf-8")))
        temporary.write_text(text + "\n", encoding="utf-8")


def sealing(checksum: int) -> str:
    """How a sealed file ends, after all its other keys and values: their checksum.

    The file is a mapping, or a list whose last element is one; then "]" follows.
    """
    return f',"crc32":"{checksum:08x}"}}'


def require_whole(path: Path) -> None:
    """Compares the checksum of a sealed file too large for `read_json`; one without it passes.

    Raises:
        DataError: the file is not what was written.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - _SEAL_LENGTH)
        file.seek(start)
        if not (seal := _SEAL.search(file.read())):
            return
        file.seek(0)
        checksum = crc32(file, start + seal.start())
    if checksum != int(seal[1], 16):
        raise DataError(f"{path}: {_DAMAGED}; delete it to redo it")


def crc32(file: BinaryIO, length: int = sys.maxsize, before: int = 0) -> int:
    """The checksum of the next `length` bytes of a file, or of all it has, a block at a time.

    Args:
        before: the checksum of what comes before them.
    """
    while length and (block := file.read(min(length, _BLOCK))):
        length, before = length - len(block), zlib.crc32(block, before)
    return before


def read_json(path: Path) -> Any:
    """Reads JSON; a checksum that `write_json` added is compared and left out.

    A file without one is read as it is: it is no shard, or a person wrote it.

    Raises:
        DataError: the file is missing, cut short, no JSON, or not what was written.
    """
    try:
        data = Path(path).read_bytes()
        if not (seal := _SEAL.search(data, max(0, len(data) - _SEAL_LENGTH))):
            return json.loads(data)
        if zlib.crc32(memoryview(data)[: seal.start()]) != int(seal[1], 16):
            raise ValueError(_DAMAGED)
        return json.loads(data[: seal.start()] + seal[2])
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); delete it to redo it") from None
