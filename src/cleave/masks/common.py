"""What every mask method needs: oriented bipartitions in, a MaskSet at image size out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar

import numpy as np

from cleave.io.images import resize
from cleave.ops import bits, ncut
from cleave.ops.ncut import Bipartition, Spectrum
from cleave.ops.refine import Refinement, refine
from cleave.types import Array, MaskSet, PatchGraph, Scene, Size

Solve = Callable[[Array, int, float], Spectrum]  # edges, N, floor
_SOLVER: ContextVar[Solve | None] = ContextVar("solver", default=None)


@contextlib.contextmanager
def solved_by(solver: Solve) -> Iterator[None]:
    """Within it, and in this thread alone, cuts ask `solver` instead of `ops.ncut.spectrum`.

    For a solver that answers many scenes at once (`stages.masks`).
    """
    token = _SOLVER.set(solver)
    try:
        yield
    finally:
        _SOLVER.reset(token)


def eigenvector(graph: PatchGraph, painted: Array | None = None) -> Array | None:
    """The vector that cuts what is not painted.

    A painted node loses its edges but stays, joined to all others by the floor weight, as in
    CutLER, where its features are zeroed (maskcut.py:71-79). Removing it instead costs half of
    the precision (our study).

    Args:
        painted: (h, w) or (N,) bool, or None for nothing.

    Returns:
        (N,) float64 in the sign convention of `ops.ncut`, taken from the graph where nothing is
        painted; None if there is no cut (all painted, or all nodes alike).
    """
    if painted is None or not painted.any():
        if graph.eigenvectors is not None:
            vector = graph.eigenvectors[0]
        else:
            vector = _spectrum(graph.edges, graph.floor).vectors[0]
    elif painted.all():
        return None
    else:
        edges = bits.clear(graph.edges, painted.reshape(-1))
        vector = _spectrum(edges, graph.floor).vectors[0]
    return vector if vector.any() else None  # zeros: `spectrum` found no cut


def _spectrum(edges: Array, floor: float) -> Spectrum:
    solver = _SOLVER.get() or ncut.spectrum
    return solver(edges, len(edges), floor)


class Bisector:
    """Cuts one graph again and again, with ever more of its nodes painted.

    The same painting gives the same cut without a second eigenproblem.
    """

    def __init__(self, graph: PatchGraph):
        self._graph = graph
        self._known: dict[bytes, Bipartition | None] = {}

    def __call__(self, painted: Array) -> Bipartition | None:
        """The cut of what is not painted, oriented by `ops.ncut.orient`; None if there is none.

        Args:
            painted: (h, w) or (N,) bool.
        """
        key = np.packbits(painted).tobytes()
        if key not in self._known:
            vector = eigenvector(self._graph, painted)
            found = None if vector is None else ncut.orient(vector, self._graph.grid)
            self._known[key] = found
        return self._known[key]


def finish(
    scene: Scene,
    patch_masks: Array | Sequence[Array],
    scores: Array | Sequence[float],
    *,
    trust: Array | Sequence[Array] | None = None,
    refine: Refinement = "crf",
    subtract_earlier: bool = True,
    working_size: int = 480,
    notes: Mapping[str, float] | None = None,
) -> MaskSet:
    """Patch masks to a MaskSet at the size of the image; masks that end up empty are left out.

    Args:
        patch_masks: (M, h, w) bool, in the order in which they were found.
        scores: (M,).
        trust: (M, h, w) in [0, 1], or None.
        refine: see `cleave.ops.refine.refine`; `none` goes straight to the size of the image.
        subtract_earlier: a patch belongs to the first mask that has it (maskcut.py:144-149).
        working_size: side in pixels of the square at which the refinement runs, for images of
            any shape (maskcut.py:321).
        notes: counters of the method, to which `refined_away` is added.
    """
    size = scene.image.size
    if len(patch_masks) == 0:
        return MaskSet(size, np.zeros((0, *size), bool), np.zeros(0), notes=dict(notes or {}))
    masks = np.asarray(patch_masks, bool)
    if subtract_earlier:
        masks = disjoint(masks)
    full, keep = _refined(scene, masks, refine, working_size)
    return MaskSet(
        size,
        full[keep],
        np.asarray(scores, np.float64)[keep],
        trust=None if trust is None else np.asarray(trust, np.float16)[keep],
        notes={**(notes or {}), "refined_away": float(masks.any((1, 2)).sum() - keep.sum())},
    )


def disjoint(masks: Array) -> Array:
    """(M, h, w) bool, each without what the masks before it hold."""
    before = np.logical_or.accumulate(masks, axis=0)
    return masks & ~np.concatenate([np.zeros_like(masks[:1]), before[:-1]])


def _refined(scene: Scene, masks: Array, how: Refinement, work: int) -> tuple[Array, Array]:
    size = scene.image.size
    pixels = scene.image.pixels if how == "none" else resize(scene.image.pixels, Size(work, work))
    return refine(pixels, masks, how, size=size)
