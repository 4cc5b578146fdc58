"""Whether a photo that looks new is new: a copied or touched one has the content it had."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from cleave.io.atomic import read_json, write_json
from cleave.io.listing import status
from cleave.types import DataError


class Seen:
    """Remembers between runs what each photo looked like, as git's index does.

    Snakemake runs an images job again when its photos' fingerprint changes, and then all that
    follows, whatever comes out: a new time alone must not change the fingerprint. So a photo that
    looks new is read and compared with its digest in the list of images; if that is the same, the
    photo goes on to be reported as it was before.
    """

    def __init__(self, file: Path, digests: Callable[[], Mapping[str, str]]):
        """Starts with what `file` remembers, which may be nothing.

        Args:
            file: JSON, path to [what the photo looks like, what is reported for it].
            digests: gives path to sha256 of the photos listed so far; called at most once, when the
                first photo that looks new is met.
        """
        self._file, self._ask = file, digests
        self._digests: Mapping[str, str] | None = None
        self._old: dict[str, list[str]] = {}
        self._new: dict[str, list[str]] = {}
        with contextlib.suppress(
            DataError
        ):  # none yet, or damaged: then new times count as changes
            self._old = read_json(file)

    def look(self, path: str) -> str:
        """A text that changes when the photo's content may have changed."""
        now = status(path)
        before, reported = self._old.get(path, (now, now))
        if now != before and not self._has_old_content(path):
            reported = now
        self._new[path] = [now, reported]
        return reported

    def save(self) -> None:
        """Remembers what was looked at, and nothing else."""
        if self._new != self._old:
            write_json(self._file, self._new)

    def _has_old_content(self, path: str) -> bool:
        if self._digests is None:
            self._digests = self._ask()
        try:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return False
        return digest == self._digests.get(path)
