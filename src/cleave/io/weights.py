"""Weights of networks: what is known about them, and reading them as numbers, never as code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from cleave.io.unpickle import read_pickle
from cleave.types import DataError

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where a network's weights come from, what it expects, and what it ever learned from.

    `labels` is for the report: it names every component that saw labels, however far back.
    """

    name: str
    hub: str = ""  # repository on the Hugging Face hub; empty: on none
    url: str = ""  # of the authors' file, for machines that do not reach the hub
    sha256: str | None = None  # of that file, where it is known
    mean: Triple = IMAGENET_MEAN  # of RGB in [0, 1]
    std: Triple = IMAGENET_STD
    resize: str  # how an image is brought to the input size
    dino_positions: bool = False  # position embeddings interpolated as DINO's code does
    licence: str
    trained_on: str
    labels: str | None = None  # labels seen in training; None: not one


def read_tensors(path: Path) -> Mapping[str, Any]:
    """The contents of a safetensors, torch or detectron2 (`.pkl`) file, on the CPU.

    A torch file is read with `weights_only`: of all that a pickle may name, only tensors, plain
    containers and `argparse.Namespace` are rebuilt. The last holds nothing but attributes, and
    DINO's and MAE's full training checkpoints keep their options in one.

    Raises:
        DataError: no such file, damaged, or it asks for code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"weights {path}: no such file")
    try:
        contents = _reader(path)(path)
    except DataError:
        raise
    except Exception as error:  # a damaged or hostile file fails in any way the reader has
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"weights {path}: not readable as plain tensors ({type(error).__name__}: {reason}). "
            "Files that hold code are refused; save the state dict alone, or as safetensors"
        ) from None
    if not isinstance(contents, Mapping):
        raise DataError(f"weights {path}: holds a {type(contents).__name__}, not a state dict")
    return contents


def _reader(path: Path) -> Callable[[Path], Any]:
    if path.suffix == ".safetensors":
        return _read_safetensors
    return _read_pickle if path.suffix == ".pkl" and not is_zipfile(path) else _read_torch


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors.torch import load_file

    return load_file(path, device="cpu")


def _read_pickle(path: Path) -> Any:
    import numpy as np
    import torch

    def tensors(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tensors(item) for key, item in value.items()}
        if not isinstance(value, np.ndarray):
            return value
        native = value.astype(value.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(np.require(native, requirements="W"))

    return tensors(read_pickle(path))


def _read_torch(path: Path) -> Any:
    import argparse

    import torch

    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True)


def check_sha256(path: Path, expected: str) -> None:
    """Refuses a file that is not the expected one.

    Raises:
        DataError: another digest; the text gives both.
    """
    found = sha256(path)
    if found != expected.lower():
        raise DataError(f"weights {path}: sha256 is {found}, expected {expected}")


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's bytes."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"weights {path}: cannot be read: {error.strerror}") from None


def hub_file(repository: str, names: tuple[str, ...], *, instead: str) -> Path:
    """A file of a Hugging Face repository: from the local cache, else fetched.

    The hub client tries every name five times with pauses, 47 s for two names without a network;
    one question with one short time-out is asked first.

    Args:
        repository: ``owner/name`` or ``owner/name@revision``.
        names: of the file, in order of preference.
        instead: what to do where the hub is out of reach; ends the error text.

    Raises:
        DataError: neither cached nor reachable.
    """
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repo, _, revision = repository.partition("@")
    where = {"repo_id": repo, "revision": revision or None}
    for name in names:
        found = huggingface_hub.try_to_load_from_cache(repo, name, revision=where["revision"])
        if isinstance(found, str):
            return Path(found)
    try:
        for name in names:
            url = huggingface_hub.hf_hub_url(repo, name, revision=where["revision"])
            try:
                huggingface_hub.get_hf_file_metadata(url, timeout=10)
            except EntryNotFoundError as error:
                if isinstance(error, LocalEntryNotFoundError):
                    raise
                continue
            return Path(huggingface_hub.hf_hub_download(filename=name, **where))
    except Exception as error:  # its client raises HTTP, socket and its own kinds of errors
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"weights {repository}: not in the cache, and the hub cannot be reached "
            f"({type(error).__name__}: {reason}). {instead}"
        ) from None
    raise DataError(f"weights {repository}: holds none of {', '.join(names)}. {instead}")


def url_file(url: str, *, instead: str) -> Path:
    """A file of a plain address: from torch's cache of checkpoints, else fetched into it.

    Raises:
        DataError: neither cached nor reachable; ends with `instead`.
    """
    import torch

    path = url_path(url)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), progress=False)  # whole or not there
    except OSError as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"weights {url}: not in {path.parent}, and the address cannot be reached ({reason}). "
            f"{instead}"
        ) from None
    return path


def url_path(url: str) -> Path:
    """Where torch's cache of checkpoints has the file of a plain address, or would have it."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def misfits(
    own: Mapping[str, Any], state: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, list[str]]:
    """What is wrong with the tensors of a file that a network needs; empty lists where it fits.

    Args:
        own: the network's tensors.
        state: the file's.
        names: of each tensor that is needed, in the file.
    """
    common = {name: theirs for name, theirs in names.items() if theirs in state}
    return {
        "missing": sorted(set(names.values()) - state.keys()),
        "of another shape": [
            f"{theirs} {_shape(state[theirs])}, not {_shape(own[name])}"
            for name, theirs in common.items()
            if _shape(state[theirs]) != _shape(own[name])
        ],
        "not finite": [
            theirs
            for theirs in common.values()
            if hasattr(state[theirs], "isfinite") and not bool(state[theirs].isfinite().all())
        ],
    }


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if hasattr(value, "shape") else None


def summarise(names: Iterator[str] | list[str], most: int = 6) -> str:
    """The first few names and how many there are."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
