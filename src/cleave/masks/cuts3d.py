"""CutS3D's pseudo-masks: semantic bipartitions cut into instances in 3D (arXiv 2411.16319)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from cleave.masks.common import Bisector, finish
from cleave.ops.components import component_of
from cleave.ops.mincut import Capacity, Solver, component, edge_capacities, min_cut
from cleave.ops.points import Pooling, knn_graph, normalise_depth, patch_step, pool_depth, unproject
from cleave.ops.refine import Refinement
from cleave.spec import ConfigError
from cleave.types import Array, MaskSet, Scene, Size

_TRIVIAL = 3  # patches: a side of a cut this small holds no object


class Terminals(NamedTuple):
    """Where a cut runs from and to, as row-major indices of patches."""

    source: int  # s, the most salient patch
    sink: int  # t, the least salient patch
    sources: Array  # patches tied to s, itself included
    sinks: Array  # patches tied to t, itself included; empty where there is no sink


class LocalGraph(NamedTuple):
    """The k-NN graph of the points that take part in one cut."""

    nodes: Array  # (n,) row-major indices of patches, ascending
    edges: Array  # (E, 2) into `nodes`
    lengths: Array  # (E,)
    capacities: Array  # (E,)


@dataclass(frozen=True, kw_only=True)
class CutS3D:
    """Up to `max_masks` objects by normalised cuts, each cut out of its class in 3D.

    The paper (CutS3D, arXiv 2411.16319, LocalCut) publishes tau_knn and the order of the steps;
    no code is public. The defaults are what our study on synthetic scenes recommends for what it
    leaves open, where a field's comment says so ("study"). The literal reading
    is the same class with: coordinate_scale 1, clip_percent 0, pooling area, capacity distance,
    seed_radius 0, keep_2d_component false, fallback false, score one. It loses to MaskCut there.

    The class removes the nodes of a found mask from later cuts, so masks are disjoint and
    CutLER's rejection of a mask that resembles the one before cannot apply. A mask that is
    rejected ends the loop: nothing was painted, so the same cut would come again. (CutLER exempts
    the first mask from the area rule; here a speck is no object whenever it comes.)

    Notes of the result count: bipartitions (eigenproblems; the first comes with the graph), cuts,
    connected (s and t, at tau_knn), source_only and sink_only (degenerate cuts that part no more
    than the terminal's region from the rest), fallbacks, skipped (too few points), rejected, and
    exhausted and rest (which stop rule fired). `tau_steps` is tau_knn in steps of the grid.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"graph", "depth"})

    max_masks: Annotated[int, Gt(0)] = 3  # N, CutLER; 6 gives more on crowded images (study)
    # tau_knn is published, Table 5a, but not its unit. In patch steps it decides nearly all: 2.0
    # to 2.4 is best on crowded scenes, 3 a good compromise, 6.8 (scale 1) loses to MaskCut.
    tau_knn: Annotated[float, Gt(0)] = 0.115
    coordinate_scale: Annotated[float, Gt(0)] | None = 2.3  # x, y, z in [0, this]; 2.95 steps on 60
    tau_steps: Annotated[float, Gt(0)] | None = None  # instead: the scale that makes tau this long
    clip_percent: Annotated[float, Ge(0), Lt(50)] = 1.0  # of depth, at both ends (study)
    pooling: Pooling = "median"  # depth to patches; "min" for monocular depth (study)
    neighbours: Annotated[int, Gt(0)] = 10  # k; 6 to 32 give the same (study)
    capacity: Capacity = "hinge"  # the text says distance; equal once tau is right (study)
    seed_radius: Annotated[int, Ge(0)] = 1  # patches tied to s and t; 0 cuts off s alone (study)
    sink: Literal["least", "none"] = "least"  # t = argmin |x|; none: the 3D component of s
    outside: Literal["drop", "push_back"] = "drop"  # points outside B: paper v1, paper v3
    keep_2d_component: bool = True  # a large tau joins specks across gaps (study)
    fallback: bool = True  # keep the 2D component where the cut is `small` (study)
    small: Annotated[float, Ge(0), Lt(1)] = 0.01  # share of the grid; CutLER maskcut.py:139
    stop_iou: Annotated[float, Gt(0)] | None = 0.9  # of B with "the rest"; the bound is a guess
    confidence_cuts: Annotated[int, Gt(0)] = 6  # T; Table 5c's bounds are sixths
    confidence_range: Annotated[float, Gt(0), Le(1)] = 0.5  # tau_min / tau_knn; flat (study)
    confidence_floor: Annotated[float, Ge(0), Le(1)] = 0.5  # SC_min, Table 5c
    score: Literal["confidence", "one", "area"] = "confidence"  # mean SC ranks (study)
    solver: Solver = "boykov_kolmogorov"  # "dinic" (SciPy) gives the same cuts without GPL code
    refine: Refinement = "crf"  # "like MaskCut" (published)
    working_size: Annotated[int, Gt(0)] = 480  # px, of the refinement (CutLER maskcut.py:321)

    def __post_init__(self):
        if (self.coordinate_scale is None) == (self.tau_steps is None):
            raise ConfigError(
                "give one of coordinate_scale and tau_steps and set the other to null, got "
                f"coordinate_scale {self.coordinate_scale} and tau_steps {self.tau_steps}"
            )

    def __call__(self, scene: Scene) -> MaskSet:
        grid = scene.graph.grid
        notes = Counter(dict.fromkeys(_COUNTERS, 0))
        scale = self._scale(grid)
        cloud = self._cloud(scene, scale)
        bisect = Bisector(scene.graph)
        painted = np.zeros(grid, bool)
        masks, trust = [], []
        while len(masks) < self.max_masks and (cut := bisect(painted)) is not None:
            notes["bipartitions"] += 1
            foreground = cut.foreground.reshape(grid)
            if self._stops(foreground, painted, notes):
                break
            found = self._object(cut.vector, foreground & ~painted, cloud, notes)
            if found is None:
                break
            masks.append(found[0])
            trust.append(found[1])
            painted = painted | found[0]
        notes["tau_steps"] = self.tau_knn / patch_step(grid, scale)
        scores = [self._score(mask, sc) for mask, sc in zip(masks, trust, strict=True)]
        return finish(
            scene,
            masks,
            scores,
            trust=trust,
            refine=self.refine,
            working_size=self.working_size,
            notes=notes,
        )

    def _scale(self, grid: Size) -> float:
        if self.coordinate_scale is not None:
            return self.coordinate_scale
        return self.tau_knn / self.tau_steps / patch_step(grid, 1.0)

    def _cloud(self, scene: Scene, scale: float) -> Array:
        depth = pool_depth(scene.depth.values, scene.graph.grid, self.pooling)
        return unproject(normalise_depth(depth, self.clip_percent), scale)

    def _stops(self, foreground: Array, painted: Array, notes: Counter) -> bool:
        """The implicit rule first: zeroed nodes end up as the best bipartition (study)."""
        rest = ~painted
        if not (foreground & rest).any():
            notes["exhausted"] += 1
            return True
        if self.stop_iou is None or not painted.any():
            return False
        iou = (foreground & rest).sum() / (foreground | rest).sum()
        notes["rest"] += int(iou >= self.stop_iou)
        return bool(iou >= self.stop_iou)

    def _object(
        self, vector: Array, active: Array, cloud: Array, notes: Counter
    ) -> tuple[Array, Array] | None:
        """One instance of the bipartition and its Spatial Confidence, or None if too small."""
        notes["cuts"] += 1
        terminals = _terminals(vector, active, self.seed_radius, self.sink == "least")
        cuts = []
        if active.sum() <= self.neighbours:
            notes["skipped"] += 1
            mask = component_of(active, terminals.source)
        else:
            graph = self._graph(active, cloud)
            self._count_degenerate(graph, terminals, active, notes)
            cuts = [self._cut(graph, tau, terminals, active) for tau in self._thresholds()]
            mask = cuts.pop()
        small = self.small * active.size
        if self.fallback and mask.sum() <= small:
            notes["fallbacks"] += 1
            mask = component_of(active, terminals.source)
        if mask.sum() <= small:
            notes["rejected"] += 1
            return None
        confidence = np.mean([*cuts, mask], axis=0)  # Eq. 4
        return mask, np.where(mask, np.maximum(confidence, self.confidence_floor), 0.0)

    def _thresholds(self) -> Array:
        """tau_t, evenly spaced and ascending; the last is tau_knn itself."""
        shares = np.linspace(1, self.confidence_range, self.confidence_cuts)
        return self.tau_knn * shares[::-1]

    def _graph(self, active: Array, cloud: Array) -> LocalGraph:
        if self.outside == "drop":
            nodes = np.flatnonzero(active)
            points = cloud[nodes]
        else:
            nodes, points = np.arange(active.size), cloud.copy()
            points[~active.ravel(), 2] = self._scale(Size(*active.shape))  # the farthest depth
        edges, lengths = knn_graph(points, self.neighbours)
        # The bandwidth stays the nominal tau while Spatial Confidence varies the threshold.
        capacities = edge_capacities(lengths, self.tau_knn, self.capacity)
        return LocalGraph(nodes, edges, lengths, capacities)

    def _cut(self, graph: LocalGraph, tau: float, terminals: Terminals, active: Array) -> Array:
        """LocalCut at one threshold: (h, w) bool, what stays with the source."""
        mask = np.zeros(active.shape, bool)
        mask.flat[graph.nodes] = self._source_side(graph, tau, terminals)
        mask &= active
        return component_of(mask, terminals.source) if self.keep_2d_component else mask

    def _source_side(self, graph: LocalGraph, tau: float, terminals: Terminals) -> Array:
        kept = graph.lengths <= tau
        n, edges = len(graph.nodes), graph.edges[kept]
        sources, sinks = (np.searchsorted(graph.nodes, ends) for ends in terminals[2:])
        if not len(sinks):
            return component(n, edges, int(np.searchsorted(graph.nodes, terminals.source)))
        return min_cut(n, edges, graph.capacities[kept], sources, sinks, self.solver)

    def _count_degenerate(
        self, graph: LocalGraph, terminals: Terminals, active: Array, notes: Counter
    ) -> None:
        s, t = np.searchsorted(graph.nodes, terminals[:2])
        kept = graph.lengths <= self.tau_knn
        if s == t or not component(len(graph.nodes), graph.edges[kept], int(s))[t]:
            return
        notes["connected"] += 1
        side = self._source_side(graph, self.tau_knn, terminals)
        inside = active.flat[graph.nodes]
        held, left = (side & inside).sum(), (~side & inside).sum()
        notes["source_only"] += int(held <= max(_TRIVIAL, len(terminals.sources)))
        notes["sink_only"] += int(left <= max(_TRIVIAL, len(terminals.sinks)))

    def _score(self, mask: Array, trust: Array) -> float:
        if self.score == "confidence":
            return float(trust[mask].mean())
        return 1.0 if self.score == "one" else float(mask.mean())


_COUNTERS = (
    *("bipartitions", "cuts", "connected", "source_only", "sink_only", "fallbacks"),
    *("skipped", "rejected", "exhausted", "rest"),
)


def _terminals(vector: Array, active: Array, radius: int, with_sink: bool) -> Terminals:
    """s = argmax |x| and t = argmin |x| over the active patches, with those within `radius`.

    The radius shrinks until the two regions are disjoint. Values that differ by round-off are
    ties and go to the first patch; where all tie, s is t and there is no sink.
    """
    nodes = np.flatnonzero(active)
    salience = np.abs(vector[nodes])
    slack = 1e-6 * salience.max()
    s = int(nodes[np.argmax(salience >= salience.max() - slack)])
    t = int(nodes[np.argmax(salience <= salience.min() + slack)])
    places = np.stack(np.divmod(nodes, active.shape[1]), 1)

    def ball(centre: int, r: int) -> Array:
        offset = places - np.divmod(centre, active.shape[1])
        return nodes[(offset**2).sum(1) <= r * r]

    if not with_sink or s == t:
        return Terminals(s, t, ball(s, 0), nodes[:0])
    while radius and np.intersect1d(ball(s, radius), ball(t, radius)).size:
        radius -= 1
    return Terminals(s, t, ball(s, radius), ball(t, radius))
