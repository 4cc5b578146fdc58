"""The kernels compiled from src/native/*.c at installation, where there was a compiler."""

from __future__ import annotations

import ctypes
import functools
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np

VERSION = 2  # of the kernels' signatures; src/native/version.c


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where they were not built, or were for another version of cleave.

    Every caller has a portable way to the same result, so nothing depends on it but time. A plain
    library: its functions run without Python's global lock.
    """
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name("_native" + suffix)
        if path.is_file():
            return _open(path)
    return None


def _open(path: Path) -> ctypes.CDLL | None:
    try:
        kernels = ctypes.CDLL(str(path))
        version = kernels.cleave_native_version()
    except (OSError, AttributeError):  # of another machine, or not ours
        return None
    return kernels if version == VERSION else None


def pointer(array: np.ndarray, kind: type) -> ctypes.c_void_p:
    """The address of an array's first entry, for a kernel that expects such entries in a row.

    Raises:
        TypeError: entries of another kind, or not contiguous.
    """
    if array.dtype != kind or not array.flags.c_contiguous:
        raise TypeError(f"{np.dtype(kind)}, contiguous, expected; got {array.dtype}")
    return ctypes.c_void_p(array.ctypes.data)
