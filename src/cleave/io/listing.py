"""Which files a folder or a list file names: found without opening any of them.

Cheap on purpose, for Snakemake asks before every run whether the photos changed: standard library
only, one `os.scandir` walk or one pass over a list file, and memory that does not grow with the
number of files.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cleave.io.atomic import read_json, write_json
from cleave.io.images import SUFFIXES, Skipped, printable
from cleave.io.shards import shard_of
from cleave.spec import ConfigError
from cleave.types import DataError

PHOTOS = frozenset(SUFFIXES)
_HIDDEN = {
    "__MACOSX": "macOS resource forks",
    "@eaDir": "thumbnails of a Synology server",
    "Thumbs.db": "thumbnails of Windows",
    "desktop.ini": "folder settings of Windows",
}


class Found(NamedTuple):
    """One file of a data set, or one thing in its folder that is none of its photos."""

    path: str  # relative to the root, with forward slashes; may hold surrogate escapes
    key: str  # what deals it to its shard, see `key_of`
    reason: str = ""  # why it is not used; "" for a photo
    hidden: bool = False  # comes and goes without anybody noticing


def expanded(path: str | os.PathLike) -> Path:
    """`path` with "~" or "~name" replaced where there is such a home folder, else as it is."""
    return Path(os.path.expanduser(path))


def folder(path: str | os.PathLike, what: str) -> Path:
    """`path`, with a home directory expanded, if it is a folder that can be read.

    Args:
        path: relative paths start at the working directory.
        what: the config key, for error texts.

    Raises:
        ConfigError: it is missing, a file, or not to be read.
    """
    found = expanded(path)
    try:
        with os.scandir(found):
            return found
    except (OSError, ValueError) as error:
        code = getattr(error, "errno", None)
        place = printable(found.absolute())
    if code == errno.ENOENT:
        raise ConfigError(f"{what}: there is no folder {place}; check the spelling, or mount it")
    if code == errno.ENOTDIR:
        raise ConfigError(f"{what}: {place} is a file; name the folder that holds the photos")
    raise ConfigError(f"{what}: the folder {place} cannot be read; check its permissions")


def walk(root: Path, suffixes: Collection[str] = PHOTOS) -> Iterator[Found]:
    """Every file below `root`, in no particular order; links are followed, never in circles.

    Args:
        root: an existing folder.
        suffixes: of photos, lower case with the dot.

    Raises:
        DataError: a folder below that cannot be read; leaving its photos out would be silent.
    """
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            with os.scandir(os.path.join(root, prefix)) as entries:
                for entry in entries:
                    path = prefix + entry.name
                    found = _look(root, path, entry, suffixes)
                    if found is None:
                        pending.append(f"{path}/")
                    else:
                        yield found
        except OSError as error:
            raise DataError(
                f"{printable(os.path.join(root, prefix))}: cannot be read ({error.strerror}); "
                "check its permissions, or move it out of the data set"
            ) from None


def _look(root: Path, path: str, entry: os.DirEntry, suffixes: Collection[str]) -> Found | None:
    """What a directory entry is; None for a folder to walk into."""
    name = entry.name
    if name.startswith("."):
        return Found(path, path, "macOS resource fork" if name.startswith("._") else "hidden", True)
    if name in _HIDDEN:
        return Found(path, path, _HIDDEN[name], True)
    if _is(entry.is_dir):
        if _circular(root, path):
            return Found(path, path, "link to a folder that holds it")
        return None
    # A link to nothing passes: if it is called a photo it is a broken one, not one to ignore.
    if not _is(entry.is_file) and os.path.exists(entry.path):
        return Found(path, path, "neither a file nor a folder")
    return judge(path, suffixes)


def judge(path: str, suffixes: Collection[str] = PHOTOS) -> Found:
    """Whether a path is called a photo."""
    suffix = _suffix(path)
    if suffix in suffixes:
        return Found(path, key_of(path[: -len(suffix)], suffixes))
    reason = f"suffix {printable(suffix)!r} is not a photo's" if suffix else "no suffix"
    return Found(path, path, reason)


def _is(question) -> bool:
    try:
        return question()
    except OSError:  # a link to itself
        return False


def _circular(root: Path, path: str) -> bool:
    """Whether the folder `path` is a link to a folder on the way to it, or above the root."""
    place = os.path.join(root, path)
    if not os.path.islink(place):
        return False
    inside = (os.path.join(root, path[:i]) for i, c in enumerate(path) if c == "/")
    parents = (root, *root.resolve().parents, *inside)
    return any(os.path.samefile(parent, place) for parent in parents)


def read_list(path: str | os.PathLike) -> Iterator[str]:
    """The lines of a list file: one path per line, relative to the data set's root.

    Raises:
        ConfigError: no such file, or a path that leaves the root.
    """
    place = expanded(path)
    try:
        with open(place, encoding="utf-8-sig", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, 1):
                line = line.rstrip("\n").removeprefix("./")
                if line.startswith("/") or (".." in line and ".." in line.split("/")):
                    raise ConfigError(
                        f"list_file: {printable(place)}:{number}: {printable(line)!r} leaves the "
                        "root; write paths relative to it, one per line"
                    )
                if line:
                    yield line
    except (OSError, ValueError) as error:  # no name of a file holds a null byte
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"list_file: {printable(place.absolute())} cannot be read ({reason})"
        ) from None


def key_of(path: str, suffixes: Collection[str] = PHOTOS) -> str:
    """What deals a photo to its shard: its path as text without any photo suffix at its end.

    All suffixes, not just one, so that two files whose ids could clash share a shard: then ids are
    made unique by looking at one shard alone.
    """
    while "." in path and (suffix := _suffix(path)) in suffixes:
        path = path[: -len(suffix)]
    return path if path.isascii() else printable(path)


def _suffix(path: str) -> str:
    """In lower case with its dot, or "" where the last part has none or is nothing else."""
    dot = path.rfind(".")
    return path[dot:].lower() if dot > path.rfind("/") + 1 else ""


def identify(
    paths: Iterable[str], suffixes: Collection[str] = PHOTOS
) -> tuple[list[tuple[str, str]], list[Skipped]]:
    """Gives each photo of one shard its id.

    The id is the path without suffix; photos that differ in nothing but suffixes keep theirs.

    Returns:
        (id, path) in the order of ids, and the files whose name as text is another's.

    Raises:
        DataError: the same path twice.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        groups[key_of(path, suffixes)].append(path)
    named, skipped = {}, []
    for group in groups.values():
        if len(set(group)) < len(group):
            twice = next(path for path in group if group.count(path) > 1)
            raise DataError(f"{printable(twice)}: named twice; keep one")
        for path in sorted(group):
            text, suffix = printable(path), _suffix(path)
            alone = len(group) == 1 and suffix in suffixes
            image_id = text[: -len(suffix)] if alone else text
            if image_id in named:  # "\xff" spelled out, beside a byte that is no UTF-8
                skipped.append(Skipped(text, "has the same name as another file, written as text"))
            else:
                named[image_id] = path
    return sorted(named.items()), skipped


class Fingerprints:
    """One text per shard that changes when an entry of the shard is added, removed or changed.

    Entries are hashed and the hashes added up modulo 2^256, which needs neither an order nor
    memory for the entries (a multiset hash; against accidents, not against attackers).
    """

    def __init__(self, shards: int):
        self._sums = [0] * shards

    def add(self, found: Found, seen: str = "") -> None:
        """Counts a file in for its shard, with what was seen of it."""
        entry = f"{found.path}\0{seen}".encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(entry).digest()
        self._sums[shard_of(found.key, len(self._sums))] += int.from_bytes(digest, "big")

    def texts(self) -> list[str]:
        return [f"{total % 2**256:064x}" for total in self._sums]


def fingerprint(root: Path, files: Iterable[Found]) -> str:
    """A text that changes with the names, sizes and times of these files below a folder."""
    prints = Fingerprints(1)
    for found in files:
        prints.add(found, status(root / found.path))
    return prints.texts()[0]


def remembered(file: Path, source: str, make: Callable[[], list[str]]) -> list[str]:
    """What `make` gave when it was last asked with this source; kept in `file`, and made if not.

    Args:
        source: all that the texts follow from; "": nothing is remembered.
    """
    if not source:
        return make()
    with contextlib.suppress(DataError, KeyError, TypeError):  # none yet, or damaged
        known = read_json(file)
        if known["source"] == source:
            return list(known["texts"])
    texts = make()
    write_json(file, {"source": source, "texts": texts}, seal=True)
    return texts


def status(path: str | os.PathLike) -> str:
    """Size and time of change of a file, links followed; "missing" if there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return "missing"
    return f"{found.st_size}\0{found.st_mtime_ns}"
