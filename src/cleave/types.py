"""The types that pass between stages: frozen, and validated when they are made.

Glossary used everywhere: H, W image pixels; h, w patch grid; N = h*w patches in row-major order;
C feature channels; M masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np

Array = np.ndarray


class CleaveError(Exception):
    """Base of every error that is the user's to mend; its text says what, where and how."""


class DataError(CleaveError):
    """An image, annotation or artifact that is not what it must be."""


class TrainingError(CleaveError):
    """A run that cannot go on: a loss that is not finite, say, or a batch that does not fit."""


class Size(NamedTuple):
    """Height and width in pixels, in this order; never pass a bare tuple."""

    height: int
    width: int


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise DataError(what)


def _require_shape(name: str, value: Array | None, shape: tuple[int, ...]) -> None:
    found = None if value is None else value.shape
    _require(found in (None, tuple(shape)), f"{name}: expected {tuple(shape)}, got {found}")


@dataclass(frozen=True)
class Image:
    """One picture; `id`, its path in the data set without suffix, is the key joining artifacts."""

    id: str
    pixels: Array  # (H, W, 3) uint8 RGB

    def __post_init__(self):
        p = self.pixels
        _require(
            p.ndim == 3 and p.shape[2] == 3 and p.dtype == np.uint8 and min(p.shape[:2]) > 0,
            f"image {self.id!r}: expected (H, W, 3) uint8, got {p.shape} {p.dtype}",
        )

    @property
    def size(self) -> Size:
        return Size(*self.pixels.shape[:2])


@dataclass(frozen=True)
class FeatureMap:
    """Dense features of one image on its patch grid.

    `facets` maps a name ("key", "query", "value", "token") to (h, w, C) float32. `cls` is (C,),
    `attention` the CLS-to-patch softmax (heads, h, w), `cls_query` the CLS token's query in the
    same attention, (C,), as the facet "query" has it for the patches. Each is None where a backbone
    has none or was not asked for it.
    """

    facets: Mapping[str, Array]
    size: Size  # of the original image
    input_size: Size  # of what the backbone saw
    stride: int  # pixels of the input an axis that one patch covers
    cls: Array | None = None
    attention: Array | None = None
    heads: int = 1
    cls_query: Array | None = None

    def __post_init__(self):
        _require(bool(self.facets), "a FeatureMap needs at least one facet")
        grids = {f.shape[:2] for f in self.facets.values()}
        _require(len(grids) == 1, f"facets on different grids: {sorted(grids)}")
        for name, facet in self.facets.items():
            _require(facet.ndim == 3, f"facet {name!r}: expected (h, w, C), got {facet.shape}")
            _require(bool(np.isfinite(facet).all()), f"facet {name!r} holds NaN or infinity")
        for name, vector in (("cls", self.cls), ("cls_query", self.cls_query)):
            _require(vector is None or vector.ndim == 1, f"{name}: expected (C,)")
        _require_shape("attention", self.attention, (self.heads, *self.grid))

    @property
    def grid(self) -> Size:
        return Size(*next(iter(self.facets.values())).shape[:2])


@dataclass(frozen=True)
class DepthMap:
    """Distance from the camera; larger is farther, always. May be coarser than the image."""

    values: Array  # (H', W') float32, finite
    unit: Literal["metre", "relative"] = "relative"
    filled: float = 0.0  # share of pixels in [0, 1] that the source lacked and that were filled

    def __post_init__(self):
        v = self.values
        _require(v.ndim == 2 and min(v.shape) > 0, f"depth: expected (H, W), got {v.shape}")
        _require(bool(np.isfinite(v).all()), "depth holds NaN or infinity")
        _require(0 <= self.filled <= 1, f"filled: expected a share in [0, 1], got {self.filled}")


@dataclass(frozen=True)
class PatchGraph:
    """The binarised affinity W = floor + (1 - floor) * edges over the N patches of one image.

    `edges` is symmetric and packed along its rows with `np.packbits`: (N, ceil(N / 8)) uint8.
    A node is masked out by clearing its row and column. The first spectrum (of the whole graph) is
    kept so that the first cut of every mask method is free.
    """

    edges: Array  # (N, ceil(N/8)) uint8
    grid: Size
    size: Size  # of the original image
    floor: float = 1e-5
    threshold: float | None = None  # cosine above which two patches are joined
    importance: Array | None = None  # (h, w) float32, Spatial Importance in [beta, 1]
    eigenvalues: Array | None = None  # (E,) float64, ascending, without the trivial first one
    eigenvectors: Array | None = None  # (E, N) float64, in the sign convention of ops.ncut
    residuals: Array | None = None  # (E,) float64, relative residual of each pair

    def __post_init__(self):
        n = self.grid.height * self.grid.width
        _require(
            self.edges.shape == (n, (n + 7) // 8) and self.edges.dtype == np.uint8,
            f"edges: expected ({n}, {(n + 7) // 8}) uint8, got {self.edges.shape} "
            f"{self.edges.dtype}",
        )
        _require_shape("importance", self.importance, self.grid)
        if self.eigenvalues is not None:
            _require_shape("eigenvectors", self.eigenvectors, (len(self.eigenvalues), n))
            _require_shape("residuals", self.residuals, (len(self.eigenvalues),))


@dataclass(frozen=True)
class MaskSet:
    """M instance masks of one image: pseudo-masks, relabelled masks and predictions alike.

    `trust` is a confidence map per mask on the patch grid, in [0, 1] (Spatial Confidence in
    CutS3D, stability in cleave3d); `parents` the index of the mask that contains it, or -1.
    """

    size: Size
    masks: Array  # (M, H, W) bool
    scores: Array  # (M,) float64
    labels: Array | None = None  # (M,) int64
    parents: Array | None = None  # (M,) int64
    trust: Array | None = None  # (M, h, w) float16
    notes: Mapping[str, float] = field(default_factory=dict)  # counters of the method, for the log
    detected: Array | None = None  # (M, 4) float64: boxes a detector gave beside its masks

    def __post_init__(self):
        m = len(self.masks)
        _require(
            self.masks.shape == (m, *self.size) and self.masks.dtype == bool,
            f"masks: expected (M, {self.size.height}, {self.size.width}) bool, "
            f"got {self.masks.shape} {self.masks.dtype}",
        )
        for name in ("scores", "labels", "parents", "trust"):
            value = getattr(self, name)
            _require(
                value is None or len(value) == m,
                f"{name}: expected {m} entries, got {0 if value is None else len(value)}",
            )
        if self.detected is not None:
            _require_shape("detected", self.detected, (m, 4))
        _require(bool(np.isfinite(self.scores).all()), "scores hold NaN or infinity")
        inside = self.parents is None or bool(((self.parents >= -1) & (self.parents < m)).all())
        _require(inside, f"parents: expected indices of {m} masks, or -1, got {self.parents}")

    @classmethod
    def empty(cls, size: Size) -> MaskSet:
        return cls(size, np.zeros((0, *size), bool), np.zeros(0))

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index) -> MaskSet:
        """Pick masks by a slice, an index array or a boolean array.

        A mask whose parent is left out gets the nearest of its ancestors that stays.
        """
        index = np.arange(len(self))[index].reshape(-1)
        picked = {
            name: None if (value := getattr(self, name)) is None else value[index]
            for name in ("masks", "scores", "labels", "trust", "detected")
        }
        parents = None if self.parents is None else _nearest_kept(self.parents, index)
        return replace(self, **picked, parents=parents)

    @property
    def boxes(self) -> Array:
        """(M, 4) float64, x0 y0 x1 y1 with exclusive ends.

        Those of a detector are its own, which box AP scores; others bound their masks, and are
        zeros for an empty mask.
        """
        if self.detected is not None:
            return self.detected
        boxes = np.zeros((len(self), 4))
        for i, mask in enumerate(self.masks):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            if len(rows):
                boxes[i] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        return boxes

    @property
    def areas(self) -> Array:
        """(M,) int64 pixels."""
        return self.masks.sum((1, 2), dtype=np.int64)


def _nearest_kept(parents: Array, kept: Array) -> Array:
    """(K,) int64: where the nearest ancestor of each kept mask that is kept too now stands, or -1.

    Raises:
        DataError: masks that are in each other, in a ring.
    """
    places = np.full(len(parents) + 1, -1, np.int64)  # the last one: of no parent
    places[kept[::-1]] = np.arange(len(kept))[::-1]  # of a mask that is picked twice the first
    above = parents[kept]
    for _ in range(len(parents) + 1):
        lost = (above >= 0) & (places[above] < 0)
        if not lost.any():
            return places[above]
        above = np.where(lost, parents[above], above)
    raise DataError("parents: some masks are in each other, in a ring")


@dataclass(frozen=True)
class Scene:
    """All that a mask method may look at; what it does not name in `needs` is None."""

    image: Image
    features: FeatureMap | None = None
    graph: PatchGraph | None = None
    graphs: tuple[PatchGraph, ...] = ()  # for a method that needs "graphs": one or more
    depth: DepthMap | None = None
    masks: MaskSet | None = None  # what another mask section found


Scores = dict[str, float]  # metric -> value in percent; a table is a concat of these
