"""All training photos, decoded once into one file that every process of a run maps."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from cleave.io import processes
from cleave.io.images import resize
from cleave.types import DataError, Image, Size

log = logging.getLogger(__name__)

T = TypeVar("T")

DEVICE_SHARE = 0.5  # of a GPU's free memory that photos may take; the rest is for training
DISK_SHARE = 0.9  # of the free disk


@dataclass(frozen=True)
class Bank:
    """P photos as (P, 3, S, S) uint8, on a training device or mapped from a file."""

    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def near(self, device: torch.device) -> Bank:
        """The bank on a GPU if it leaves enough room there; else as it is, a batch at a time."""
        if device.type != "cuda":
            return self
        free, _ = torch.cuda.mem_get_info(device)
        if self.pixels.nbytes <= DEVICE_SHARE * free:
            return Bank(self.pixels.to(device))
        log.info("pretrain: %.1f GB of photos stay off the GPU", self.pixels.nbytes / 1e9)
        return self

    def batch(self, rows: Tensor, device: torch.device) -> Tensor:
        """(B, 3, S, S) uint8 on `device`; rows are (B,) int64."""
        return self.pixels[rows.to(self.pixels.device)].to(device)


def decode(read: Callable[[T], Image], items: Sequence[T], side: int, path: Path) -> Bank:
    """Decodes photos, squeezes each into a square of `side` pixels, and maps them from `path`.

    A whole file that is there is used as it is: its folder must be of these very photos and side.
    It need not fit in memory. What does fit, the system keeps there, once for all processes; 8,208
    photos of 224 px take 1.2 GB. Several processes decode a share each.

    The aspect is given up, as MaskCut gives it up at test time; crops of random aspect undo a part
    of it.

    Args:
        read: gives the photo of an item; called by several threads at once.
        items: in the order wanted; the order is part of what a seed means.

    Raises:
        DataError: no photo at all, a disk too small for them, or whatever `read` raises of one.
    """
    if not items:
        raise DataError("no photo to pre-train on: the data set is empty")
    shape, part = (len(items), 3, side, side), path.with_name(path.name + ".part")
    rank, world = processes.place()
    if not path.is_file():
        if rank == 0:
            _make_room(part, len(items), 3 * side**2)
        processes.wait()
        pixels = np.memmap(part, np.uint8, "r+", shape=shape)
        _fill(pixels, read, items, range(rank, len(items), world))
        processes.wait()
        if rank == 0:
            part.replace(path)
        processes.wait()
    # copy on write: torch takes no array that cannot be written
    return Bank(torch.from_numpy(np.memmap(path, np.uint8, "c", shape=shape)))


def _make_room(path: Path, count: int, size: int) -> None:
    """An empty file for so many photos of `size` bytes.

    Raises:
        DataError: the disk has not enough room; the text says what would fit.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    room = DISK_SHARE * shutil.disk_usage(path.parent).free
    if count * size > room:
        side = int((room / (3 * count)) ** 0.5)
        raise DataError(
            f"{count} decoded photos of {size} bytes take {count * size / 1e9:.3g} GB, but "
            f"{path.parent} has room for {room / 1e9:.3g} GB: {int(room // size)} photos, or all "
            f"of them with side: {side}"
        )
    with open(path, "wb") as file:
        file.truncate(count * size)


def _fill(pixels: np.memmap, read: Callable[[T], Image], items: Sequence[T], rows: range) -> None:
    side = pixels.shape[-1]

    def fill(row: int) -> None:
        photo = resize(read(items[row]).pixels, Size(side, side))
        pixels[row] = photo.transpose(2, 0, 1)

    with ThreadPoolExecutor() as pool:  # Pillow releases the lock
        list(pool.map(fill, rows))
    pixels.flush()
