"""Weights and states of training as torch files: atomic, and equal contents give equal bytes."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleave.io.atomic import replacing
from cleave.io.sink import opened
from cleave.io.weights import read_tensors
from cleave.spec import canonical
from cleave.types import DataError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "cleave.state/1"


def write_torch(path: Path, value: Any) -> None:
    """`torch.save`, atomically."""
    import torch

    with replacing(Path(path)) as temporary, opened(temporary) as file:
        torch.save(value, file)  # into an open file: a path's name would become part of the bytes


def save_state(path: Path, state: Mapping[str, Tensor], **attributes: Any) -> None:
    """Writes a state dict and what is to be known of its making.

    Any reader of torch files takes it: the tensors stand under "model", as detectron2 has it, and
    the attributes are one JSON text under "cleave".

    Args:
        attributes: plain values, such as the spec and the version of the stage.
    """
    import torch

    tensors = {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in state.items()
    }
    header = canonical({"format": FORMAT, **attributes})
    write_torch(path, {"cleave": header, "model": tensors})


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_state` wrote: the state dict, on the CPU, and the attributes.

    Raises:
        DataError: not readable as plain tensors, damaged, or written by something else.
    """
    require_whole(path)
    contents = read_tensors(path)
    try:
        header = json.loads(contents["cleave"])
        known = header.pop("format") == FORMAT
        state = dict(contents["model"])
    except (KeyError, TypeError, ValueError, AttributeError):
        known = False
    if not known:
        raise DataError(f"weights {path}: not of the format {FORMAT!r}")
    return state, header


def require_whole(path: Path) -> None:
    """Compares the checksum of every part of a torch file, which torch itself does not look at.

    Raises:
        DataError: a part is not what was written.
    """
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return  # no torch file: its reader knows better what to say
    if damaged is not None:
        raise DataError(f"weights {path}: damaged ({damaged}); delete it to redo it")
