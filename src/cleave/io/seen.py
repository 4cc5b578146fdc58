"""Whether a photo that looks new is new: a copied or touched one has the content it had."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from cleave.io.listing import status
from cleave.io.numbers import NumberTable
from cleave.types import DataError

Look = tuple[int, int]  # bytes, time of change in ns
_MISSING: Look = (-1, -1)


class Seen:
    """Remembers between runs what each photo looked like, as git's index does.

    Snakemake runs an images job again when its photos' fingerprint changes, and then all that
    follows, whatever comes out: a new time alone must not change the fingerprint. So a photo that
    looks new is read and compared with its digest in the list of images; if that is the same, the
    photo goes on to be reported as it was before.
    """

    def __init__(self, file: Path, digests: Callable[[], Iterable[tuple[str, str]]]):
        """Starts with what `file` remembers, which may be nothing.

        Args:
            file: for each photo what it looks like and what is reported for it.
            digests: gives (path, sha256) of the photos listed so far; called at most once, when the
                first photo that looks new is met.
        """
        self._file, self._ask = file, digests
        self._digests: NumberTable | None = None
        self._old, self._new = NumberTable(4), NumberTable(4)
        with contextlib.suppress(
            DataError
        ):  # none yet, or damaged: then new times count as changes
            self._old = NumberTable.read(file, 4)

    def look(self, path: str) -> str:
        """A text that changes when the photo's content may have changed."""
        now = reported = _look(status(path))
        known = self._old.get(path)
        if known is not None and (now == known[:2] or self._has_old_content(path)):
            reported = known[2:]
        self._new.add(path, *now, *reported)
        return _text(reported)

    def save(self) -> None:
        """Remembers what was looked at, and nothing else."""
        self._new.sort()
        if self._new != self._old:
            self._new.write(self._file)

    def _has_old_content(self, path: str) -> bool:
        if self._digests is None:
            self._digests = NumberTable(1)
            for name, digest in self._ask():
                self._digests.add(name, _number(digest))
            self._digests.sort()
        try:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return False
        return self._digests.get(path) == (_number(digest),)


def _look(text: str) -> Look:
    """What `status` says, in numbers."""
    size, _, time = text.partition("\0")
    return (int(size), int(time)) if time else _MISSING


def _text(look: Look) -> str:
    """What `status` said."""
    return "missing" if look == _MISSING else f"{look[0]}\0{look[1]}"


def _number(digest: str) -> int:
    """The first 64 bits of a sha256: enough to tell one photo from its next version."""
    return int.from_bytes(bytes.fromhex(digest[:16]), "big", signed=True)
