"""Photos named by a COCO annotation file; only benchmarks read the annotations themselves."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Interval, MinLen

from cleave.io.images import (
    ImageRecord,
    ImageShard,
    Skipped,
    inspect,
    printable,
    read_image,
    refuse_many_broken,
)
from cleave.io.listing import expanded, folder, identify, key_of, read_list, status
from cleave.io.shards import shard_of
from cleave.spec import ConfigError, to_mapping
from cleave.types import DataError, Image

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"(?:.*_)?0*(\d+)")  # 42, 000000000042, COCO_train2014_000000000042


@dataclass(frozen=True, kw_only=True)
class Coco:
    """A folder of images with a COCO annotation file, or the part that a list file names.

    COCO val2017, COCO20K (its list of train2014 names, on train2014 or train2017), LVIS (on the
    folder that holds train2017 and val2017), Objects365, UVO and whatever else is in this format.
    """

    images: Annotated[str, MinLen(1)]  # folder to which file names are relative
    annotations: Annotated[str, MinLen(1)]  # instances_*.json
    list_file: str | None = None  # text file: one file name, id or number of an image per line
    # Of a file name only so many parts at its end: 2 for Objects365 in folders patch0, patch1, ...
    name_parts: Annotated[int, Gt(0)] | None = None
    truth: Literal["masks", "boxes"] = "masks"  # what is annotated; Objects365 has boxes only
    shards: Annotated[int, Gt(0)] = 1
    verify: Literal["decode", "header"] = "decode"
    max_broken: Annotated[float, Interval(ge=0, le=1)] = 0.01  # share of a shard; ten always pass

    def fingerprints(self) -> list[str]:
        """One text per shard, all alike: they change with the annotation file and the list.

        Of the folder only its own time of change is looked at, which tells of files that came or
        went directly in it. A photo whose content changed is refused when it is read.

        Raises:
            ConfigError: a file or the folder is not there.
        """
        images = folder(self.images, "images")
        if not self._annotations.is_file():
            place = printable(self._annotations.absolute())
            raise ConfigError(f"annotations: there is no file {place}; check the spelling")
        parts = [status(self._annotations), status(images)]
        if self.list_file is not None:
            parts += read_list(self.list_file)
        text = "\0".join(parts).encode("utf-8", "surrogateescape")
        return [hashlib.sha256(text).hexdigest()] * self.shards

    def list(self, shard: int) -> ImageShard:
        """Looks at every image of the 0-based shard.

        Raises:
            ConfigError: the folder or the list file is not there.
            DataError: annotations that cannot be read, or too many broken images.
        """
        root = folder(self.images, "images")
        entries = {
            path: entry
            for path, entry in self._entries()
            if shard_of(key_of(path), self.shards) == shard
        }
        named, broken = identify(entries)
        records, unreadable = inspect(root, named, self.verify)
        broken += unreadable
        kept = []
        for record in records:
            record = replace(record, number=entries[record.path]["id"])
            if reason := _mismatch(record, entries[record.path]):
                broken.append(Skipped(printable(record.path), reason))
            else:
                kept.append(record)
        refuse_many_broken(broken, len(entries), self.max_broken, printable(root))
        broken.sort(key=lambda item: item.path)
        spec = {"kind": "coco", **to_mapping(self)}
        return ImageShard(spec, tuple(kept), tuple(broken))

    def read(self, record: ImageRecord) -> Image:
        """The image of a record; DataError if its file is no longer the one that was listed."""
        return read_image(expanded(self.images), record)

    @property
    def _annotations(self) -> Path:
        return expanded(self.annotations)

    def _entries(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(file name, entry of the annotation file) of each image of the data set."""
        where = printable(self._annotations)
        entries: dict[str, Mapping[str, Any]] = {}
        for entry in read_images(self._annotations):
            if type(entry.get("id")) is not int:
                raise DataError(f"{where}: image id {entry.get('id')!r}; expected an integer")
            path = _file_name(entry, self.name_parts)
            if path is None or path in entries:
                what = "has no file_name" if path is None else f"repeats the file {path!r}"
                raise DataError(f"{where}: image {entry['id']} {what}")
            entries[path] = entry
        if len({entry["id"] for entry in entries.values()}) < len(entries):
            raise DataError(f"{where}: two images have the same id")
        if not entries:
            raise DataError(f"{where}: names no image")
        if self.list_file is None:
            yield from entries.items()
        else:
            yield from _subset(entries, read_list(self.list_file), self.list_file)


def read_images(path: Path) -> list[dict[str, Any]]:
    """The value of "images" in a COCO file, without parsing what follows it.

    instances_train2017.json is 450 MB, of which "images" is the first 40.

    Raises:
        DataError: the file is missing, is no JSON, or has no such list.
    """
    try:
        value = _top_level(Path(path).read_text(encoding="utf-8-sig"), "images")
    except (OSError, ValueError) as error:
        raise DataError(f"{printable(path)}: not a readable COCO file ({error})") from None
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise DataError(f"{printable(path)}: expected a list of mappings under 'images'")
    return value


def _top_level(text: str, wanted: str) -> Any:
    """The value under a key of the outermost object, or None; values before it are parsed too."""
    decoder = json.JSONDecoder()

    def skip(position: int, expected: str) -> int:
        position = _SPACE.match(text, position).end()
        if text[position : position + 1] not in tuple(expected):
            raise ValueError(f"expected one of {expected!r} at character {position}")
        return _SPACE.match(text, position + 1).end()

    position = skip(0, "{")
    while text[position : position + 1] != "}":
        key, position = decoder.raw_decode(text, position)
        value, position = decoder.raw_decode(text, skip(position, ":"))
        if key == wanted:
            return value
        position = _SPACE.match(text, position).end()
        if text[position : position + 1] != "}":
            position = skip(position, ",")
    return None


def _file_name(entry: Mapping[str, Any], parts: int | None) -> str | None:
    """Path below the image folder; LVIS has none and takes the end of its URL, train2017/x.jpg."""
    if isinstance(name := entry.get("file_name"), str):
        return name if parts is None else "/".join(name.split("/")[-parts:])
    if isinstance(url := entry.get("coco_url"), str):
        return "/".join(url.split("/")[-2:])
    return None


def _subset(
    entries: Mapping[str, Mapping[str, Any]], lines: Iterator[str], list_file: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The images that a list file names by path, by file name, or by number."""
    named: dict[str, list[str]] = defaultdict(list)
    for path in entries:
        named[path.split("/")[-1]].append(path)
    numbers = {entry["id"]: path for path, entry in entries.items()}
    seen, unknown = set(), []
    for line in map(str.strip, lines):
        name = line.split("/")[-1]
        digits = _NUMBER.fullmatch(name.rpartition(".")[0] or name)
        if line in entries:
            path = line
        elif len(named.get(name, ())) == 1:
            path = named[name][0]
        else:
            path = numbers.get(int(digits[1])) if digits else None
        if path is None:
            unknown.append(line)
        elif path not in seen:
            seen.add(path)
            yield path, entries[path]
    if unknown:
        raise DataError(
            f"{printable(list_file)}: {len(unknown)} lines name no image of the annotation file, "
            f"for instance {unknown[0]!r}"
        )


def _mismatch(record: ImageRecord, entry: Mapping[str, Any]) -> str:
    """Why annotations in pixels would not fit this file, or ""."""
    size = (entry.get("height"), entry.get("width"))
    if None in size or size == tuple(record.size):
        return ""
    return (
        f"annotated at {size[0]} x {size[1]} (height x width), the file is "
        f"{record.height} x {record.width} after EXIF rotation"
    )
