"""The weights file of the small backbone: float16 safetensors that say what they fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from cleave.io.atomic import replacing
from cleave.io.seals import UNSEALED, require_whole, seal
from cleave.io.weights import check_sha256, read_tensors, sha256, summarise
from cleave.pretrain.config import Architecture
from cleave.pretrain.model import RotaryVit
from cleave.spec import ConfigError, build, canonical
from cleave.types import DataError

FORMAT = "cleave.rotary_vit/1"


def save(model: RotaryVit, path: Path, **attributes: Any) -> str:
    """Writes the encoder as float16 and returns the file's sha256; equal weights, equal bytes.

    Args:
        attributes: what the header shall say of its making, beside the architecture.

    Raises:
        DataError: a weight that float16 cannot hold.
    """
    from safetensors.torch import save_file

    tensors = {}
    for name, value in model.state_dict().items():
        half = value.detach().to("cpu", torch.float16).contiguous()
        if not bool(half.isfinite().all()):
            raise DataError(f"weights {path}: {name!r} is not finite in float16")
        tensors[name] = half
    adapter = TypeAdapter(Architecture)
    header = {"format": FORMAT, "architecture": adapter.dump_python(model.architecture)}
    header |= attributes | UNSEALED
    with replacing(Path(path)) as temporary:
        # one key: safetensors keeps its metadata in a hash map, of no fixed order
        save_file(tensors, temporary, metadata={"cleave": canonical(header)})
        seal(temporary)
    return sha256(Path(path))


def load(path: Path, digest: str | None = None) -> RotaryVit:
    """The encoder of a weights file, float32, on the CPU, in evaluation mode.

    Args:
        digest: expected sha256 in hexadecimal; None for a file that the workflow itself tracks.

    Raises:
        DataError: another digest, damaged, not such a file, or tensors that do not fit the
            architecture named in it; nothing is ever loaded half.
    """
    path = Path(path)
    if digest is not None:
        check_sha256(path, digest)
    if path.is_file():
        require_whole(path)
    tensors = read_tensors(path)
    model = RotaryVit(_architecture(path)).eval()
    expected = {name: value.shape for name, value in model.state_dict().items()}
    found = {name: value.shape for name, value in tensors.items()}
    if expected != found:
        wrong = {n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)}
        raise DataError(
            f"weights {path}: missing, unknown or of another shape than the architecture in its "
            f"header asks for: {summarise(sorted(wrong))}"
        )
    model.load_state_dict({name: value.float() for name, value in tensors.items()})
    return model.requires_grad_(False)


def untrained() -> RotaryVit:
    """The network of the default architecture before any training, drawn from the seed 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return RotaryVit(Architecture()).eval().requires_grad_(False)


def read_header(path: Path) -> dict[str, Any]:
    """What the file says of itself: `architecture`, and the attributes given to `save`.

    Raises:
        DataError: not such a file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("cleave", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"weights {path}: no readable header ({error})") from None
    if header.get("format") != FORMAT:
        raise DataError(f"weights {path}: expected format {FORMAT!r}, got {header.get('format')!r}")
    return header


def _architecture(path: Path) -> Architecture:
    header = read_header(path)
    try:
        return build(Architecture, header.get("architecture", {}), f"weights {path}")
    except ConfigError as error:
        raise DataError(str(error)) from None
