"""Min-cut, dense CRF and COCO evaluation, each beside its naive way in the same run."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from unittest import mock

import numpy as np

from cleave.benchmarks.coco import CocoBenchmark
from cleave.benchmarks.truth import Truth
from cleave.io.coco import encode_annotations
from cleave.ops import native
from cleave.ops.crf import dense_crf
from cleave.ops.mincut import edge_capacities, min_cut
from cleave.ops.points import knn_graph, normalise_depth, pool_depth, unproject
from cleave.ops.render import scene
from cleave.types import MaskSet, Size
from tests.bench.harness import Row, timed

TAU = 0.115


def rows() -> Iterator[Row]:
    yield from minimum_cut()
    yield from crf()
    yield from evaluation()


def minimum_cut() -> Iterator[Row]:
    """3,600 points of a scene's depth, k = 10, as LocalCut has them, beside networkx."""
    import networkx

    depth = pool_depth(scene("crowded", 901, Size(480, 480)).depth, Size(60, 60), "median")
    edges, lengths = knn_graph(unproject(normalise_depth(depth), 1.0), 10)
    edges, lengths = edges[lengths <= TAU], lengths[lengths <= TAU]
    capacities = edge_capacities(lengths, TAU, "hinge")
    ends = np.array([30 * 60 + 30]), np.array([0])

    def ours(solver: str) -> np.ndarray:
        return min_cut(3600, edges, capacities, *ends, solver)

    def naive() -> np.ndarray:
        graph = networkx.Graph()
        graph.add_nodes_from(range(3600))
        whole = np.maximum(np.rint(capacities * 1e4), 1)
        for (a, b), capacity in zip(edges.tolist(), whole, strict=True):
            graph.add_edge(a, b, capacity=capacity)
        reached = networkx.minimum_cut(graph, int(ends[0][0]), int(ends[1][0]))[0]
        return reached

    slow, value = timed(naive)
    for solver in ("boykov_kolmogorov", "dinic"):
        fast, side = timed(lambda solver=solver: ours(solver), 5)
        cut = side[edges[:, 0]] != side[edges[:, 1]]
        flow = np.maximum(np.rint(capacities[cut] * 1e4), 1).sum()
        same = f"cut value {flow:.0f} against {value:.0f}"
        yield Row(f"min-cut, {solver}", "CPU ms", 1e3 * fast, 1e3 * slow, same, "networkx")


def crf() -> Iterator[Row]:
    """Three masks of one image, beside pydensecrf with one lattice for all, or one each (CutLER).

    And the same on noise of 12 levels: a photo has many more colours, so more nodes.
    """
    rendered = scene("crowded", 902, Size(480, 480))
    masks = rendered.instances[:3]
    noise = np.random.default_rng(0).normal(0, 12, rendered.pixels.shape)
    noisy = np.clip(rendered.pixels + noise, 0, 255).astype(np.uint8)
    for pixels, name in ((rendered.pixels, "480 px"), (noisy, "480 px with noise")):
        ours, one = timed(lambda pixels=pixels: dense_crf(pixels)(masks), 3)
        for shared, twin in ((False, "a lattice a mask"), (True, "a lattice an image")):
            naive, other = timed(
                lambda pixels=pixels, shared=shared: _others(pixels, masks, shared)
            )
            apart = f"pixels that differ: {np.count_nonzero(one != other)} of {one.size}"
            stage = f"dense CRF, 3 masks at {name}"
            yield Row(stage, "CPU s", ours, naive, apart, f"pydensecrf, {twin}")


def _others(pixels: np.ndarray, masks: np.ndarray, shared: bool) -> np.ndarray:
    """The masks from pydensecrf."""
    with mock.patch.object(native, "library", return_value=None):
        if shared:
            return dense_crf(pixels)(masks)
        return np.stack([dense_crf(pixels)(mask) for mask in masks])


def evaluation() -> Iterator[Row]:
    """AP and AR of 200 images with 20 masks each, without intervals."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(0)
    size = Size(120, 160)
    truths, found = {}, {}
    for index in range(200):
        key = f"{index:04d}"
        truths[key] = Truth.of_masks(size, _boxes(rng, 7, size), ["thing"] * 7)
        found[key] = MaskSet(size, _boxes(rng, 20, size), rng.random(20))
    benchmark = CocoBenchmark(bootstrap=0, max_dets=(1, 10, 100))
    ours, scores = timed(lambda: benchmark(truths, found), 3)
    data, results = _coco(truths, found)

    def naive() -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            reference = COCO()
            reference.dataset = data
            reference.createIndex()
            for kind in ("bbox", "segm"):
                evaluator = COCOeval(reference, reference.loadRes(results), kind)
                evaluator.evaluate()
                evaluator.accumulate()
                evaluator.summarize()
        return 100 * evaluator.stats[0]

    slow, precision = timed(naive, 3)
    difference = f"mask AP differs by {abs(scores['mask_AP'] - precision):.1e}"
    yield Row(
        "COCO scores, 200 images, boxes and masks", "CPU s", ours, slow, difference, "pycocotools"
    )


def _boxes(rng: np.random.Generator, count: int, size: Size) -> np.ndarray:
    masks = np.zeros((count, *size), bool)
    for mask in masks:
        top, left = rng.integers(0, size.height - 20), rng.integers(0, size.width - 20)
        height, width = rng.integers(10, 60, 2)
        mask[top : top + height, left : left + width] = True
    return masks


def _coco(truths: dict[str, Truth], found: dict[str, MaskSet]) -> tuple[dict, list]:
    images, annotations, results = [], [], []
    for number, key in enumerate(truths, 1):
        truth = truths[key]
        images.append({"id": number, "height": truth.size.height, "width": truth.size.width})
        labelled = MaskSet(truth.size, truth.masks, np.ones(len(truth)))
        for annotation in encode_annotations(labelled):
            annotations.append(annotation | {"id": len(annotations) + 1, "image_id": number})
        results += [a | {"image_id": number} for a in encode_annotations(found[key])]
    categories = [{"id": 1, "name": "fg"}]
    return {"images": images, "annotations": annotations, "categories": categories}, results
