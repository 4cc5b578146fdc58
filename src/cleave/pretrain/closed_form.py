"""The weights file of what is learned without gradients: a dictionary, its axes, an LDA matrix."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from cleave.io.atomic import replacing
from cleave.io.seals import UNSEALED, require_whole, seal
from cleave.io.weights import check_sha256, summarise
from cleave.ops import dictionary
from cleave.ops.texture import CHANNELS, standardised, texture
from cleave.spec import canonical
from cleave.types import Array, DataError

FORMAT = "cleave.neighbour_lda/1"


@dataclass(frozen=True)
class ClosedForm:
    """Texture and dictionary features of an image, and what was learned about them.

    K centroids, C = 30 + K channels, L directions. The first four make the features, the others
    were learned on them.
    """

    mean: Array  # (192,) float32, of patches of normalised contrast
    whitening: Array  # (192, 192) float32
    centroids: Array  # (K, 192) float32
    centre: Array  # (C,) float32: mean of the features
    variances: Array  # (K,) float32, descending: of the dictionary's features, along `axes`
    axes: Array  # (K, K) float32, columns: principal axes of the dictionary's features
    directions: Array  # (C, L) float32: discriminants

    def __post_init__(self):
        count, channels = len(self.centroids), CHANNELS + len(self.centroids)
        expected = {
            "mean": (dictionary.CHANNELS,),
            "whitening": (dictionary.CHANNELS, dictionary.CHANNELS),
            "centroids": (count, dictionary.CHANNELS),
            "centre": (channels,),
            "variances": (count,),
            "axes": (count, count),
            "directions": (channels, self.directions.shape[-1]),
        }
        found = {field.name: getattr(self, field.name).shape for field in fields(self)}
        if wrong := [name for name in expected if found[name] != expected[name]]:
            raise DataError(f"of another shape than its {count} centroids ask for: {wrong}")

    def words(self, pixels: Array) -> Array:
        """(8 h, 8 w, 3) uint8 to (h, w, K) float32: features of the dictionary, centred."""
        found = dictionary.encode(pixels, self.mean, self.whitening, self.centroids)
        return found - self.centre[CHANNELS:]

    def principal(self, pixels: Array, components: int, power: float) -> Array:
        """(h, w, components): the first principal axes of `words`, whitened by `power`."""
        scale = np.maximum(self.variances[:components], np.finfo(np.float32).tiny) ** (-power / 2)
        return self.words(pixels) @ (self.axes[:, :components] * scale)

    def discriminant(self, pixels: Array) -> Array:
        """(h, w, L): texture and `words` along the discriminants."""
        coarse = standardised(texture(pixels, dictionary.PATCH)) - self.centre[:CHANNELS]
        fine = self.words(pixels) @ self.directions[CHANNELS:]
        return coarse.astype(np.float32) @ self.directions[:CHANNELS] + fine


def save(weights: ClosedForm, path: Path, **attributes: Any) -> None:
    """Writes float32 safetensors; equal weights, equal bytes.

    Args:
        attributes: what the header shall say of their making.
    """
    from safetensors.numpy import save_file

    tensors = {f.name: np.ascontiguousarray(getattr(weights, f.name)) for f in fields(weights)}
    header = {"format": FORMAT} | attributes | UNSEALED
    with replacing(Path(path)) as temporary:
        # one key: safetensors keeps its metadata in a hash map, of no fixed order
        save_file(tensors, temporary, metadata={"cleave": canonical(header)})
        seal(temporary)


def load(path: Path, digest: str | None = None) -> ClosedForm:
    """The weights in a file; torch is not needed.

    Args:
        digest: expected sha256 in hexadecimal; None for a file that the workflow itself tracks.

    Raises:
        DataError: another digest, damaged, or not such a file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise DataError(f"weights {path}: no such file")
    if digest is not None:
        check_sha256(path, digest)
    require_whole(path)
    names = {field.name for field in fields(ClosedForm)}
    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {}).get("cleave", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"weights {path}: not readable ({error})") from None
    if header.get("format") != FORMAT:
        raise DataError(f"weights {path}: expected format {FORMAT!r}, got {header.get('format')!r}")
    if tensors.keys() != names:
        wrong = summarise(sorted(tensors.keys() ^ names))
        raise DataError(f"weights {path}: missing or unknown: {wrong}")
    try:
        return ClosedForm(**tensors)
    except DataError as error:
        raise DataError(f"weights {path}: {error}") from None
