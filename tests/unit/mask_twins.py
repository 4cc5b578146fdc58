"""Small random scenes, and the steps that mask methods share, written slowly and plainly."""

import numpy as np
import scipy.linalg

from cleave.ops import bits
from cleave.types import DepthMap, Image, PatchGraph, Scene, Size

PATCH = 4  # pixels


def random_scene(seed, h=7, w=7, noise=0.25, depth_noise=0.01, likeness=0.0):
    """Rectangles of two classes at several depths on a background; features are noisy classes.

    `likeness` is how much the second class resembles the background: above 0 it is often left for
    the second cut.
    """
    rng = np.random.default_rng(seed)
    classes, z = np.zeros((h, w), int), np.full((h, w), 1.0)
    for _ in range(4):
        top, left = rng.integers(0, h - 2), rng.integers(0, w - 2)
        block = (slice(top, top + rng.integers(2, 5)), slice(left, left + rng.integers(2, 5)))
        classes[block], z[block] = rng.integers(1, 3), rng.random() * 0.8
    embeddings = np.eye(3)
    embeddings[2, 0] = likeness
    features = embeddings[classes] + rng.normal(0, noise, (h, w, 3))
    z += rng.normal(0, depth_noise, (h, w))
    return scene_of(features, z)


def two_blocks(gap=0.5, h=12, w=20):
    """Two blocks of one class that touch in 2D, `gap` of the depth range apart; and the classes."""
    classes, z = np.zeros((h, w), int), np.full((h, w), 1.0)
    classes[3:9, 4:16] = 1
    z[3:9, 4:10], z[3:9, 10:16] = 0.0, gap
    features = np.eye(2)[classes] + np.random.default_rng(0).normal(0, 0.05, (h, w, 2))
    return scene_of(features, z), classes


def scene_of(features, z, threshold=0.3):
    """A Scene with the graph cos > threshold and a depth map of PATCH pixels a patch."""
    h, w, channels = features.shape
    unit = features.reshape(h * w, channels)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    size = Size(h * PATCH, w * PATCH)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    graph = PatchGraph(bits.pack(unit @ unit.T > threshold), Size(h, w), size)
    depth = np.kron(z, np.ones((PATCH, PATCH))).astype(np.float32)
    return Scene(Image("twin", pixels), graph=graph, depth=DepthMap(depth))


def bipartition_naive(scene, painted):
    """MaskCut (maskcut.py:40-124): x and B on the grid, or None."""
    h, w = scene.graph.grid
    edges = bits.unpack(scene.graph.edges, h * w).copy()
    for node in np.flatnonzero(painted):
        edges[node, :] = edges[:, node] = False
    weights = np.where(edges, 1.0, scene.graph.floor)
    degree = np.diag(weights.sum(1))
    _, vectors = scipy.linalg.eigh(degree - weights, degree)
    x = exact_ties(vectors[:, 1])
    if x[peak_naive(np.abs(x))] < 0:
        x = -x
    b = above_mean(x)
    corners = b.reshape(h, w)[[0, 0, -1, -1], [0, -1, 0, -1]]
    if corners.sum() >= 3 or not b[peak_naive(np.abs(x))]:
        x, b = -x, ~b
    return x.reshape(h, w), b.reshape(h, w)


def exact_ties(vector):
    """Peak 1, rounded: where patches share the peak the first is the seed, not LAPACK's luck."""
    return np.round(vector / np.abs(vector).max(), 8)


def peak_naive(values):
    """The first place of the largest value, of a vector of peak 1.

    Patches alike in the graph but for edges of the floor's weight tie, as in `ops.ncut`.
    """
    return np.argmax(values >= values.max() - 1e-6)


def above_mean(x):
    """Of a vector with exact ties: where mirrored patches cancel out, those at the mean are not."""
    return x - x.mean() > 1e-7


def patches_of(maskset, grid):
    """Unrefined masks back on the patch grid: (M, h, w) bool."""
    masks = maskset.masks.reshape(len(maskset), grid[0], PATCH, grid[1], PATCH)
    assert (masks.all((2, 4)) == masks.any((2, 4))).all()
    return masks.any((2, 4))


def flood(start, inside, steps):
    """The patches reachable from `start` by `steps` over patches for which inside(p, q)."""
    seen, stack = {start}, [start]
    while stack:
        p = stack.pop()
        for step in steps:
            q = (p[0] + step[0], p[1] + step[1])
            if q not in seen and inside(p, q):
                seen.add(q)
                stack.append(q)
    return seen


FOUR = [(0, 1), (1, 0), (0, -1), (-1, 0)]
EIGHT = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if r or c]
