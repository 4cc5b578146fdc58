"""A file below a library in C that cannot cope with a write that fails."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Sink]:
    """A new file to write to and read from.

    Raises:
        OSError: what the system said when it first refused to write, once the block has ended.
    """
    with open(path, "wb+", buffering=0) as raw:
        sink = Sink(raw)
        try:
            yield sink
        finally:
            sink.check()


class Sink(io.RawIOBase):
    """A file that takes every write; the first that the system refused is kept for `check`.

    What comes after it goes nowhere. Else HDF5, on a full disk, cannot close its file any more and
    takes the process with it (a segmentation fault), and torch speaks of a wrong position.
    """

    def __init__(self, raw: io.FileIO):
        self._raw = raw
        self._error: OSError | None = None

    def check(self) -> None:
        """Raises what the system said when it first refused to write."""
        if self._error is not None:
            raise self._error

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        return self._try(lambda: self._write_all(view), len(view))

    def _write_all(self, view: memoryview) -> int:
        done = 0
        while done < len(view):  # a disk that is nearly full takes a part
            done += self._raw.write(view[done:])
        return done

    def truncate(self, size: int | None = None) -> int:
        return self._try(lambda: self._raw.truncate(size), size or 0)

    def _try(self, action: Callable[[], int], otherwise: int) -> int:
        if self._error is None:
            try:
                return action()
            except OSError as error:
                self._error = error
        return otherwise

    def readinto(self, buffer: Any) -> int:
        return self._raw.readinto(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
