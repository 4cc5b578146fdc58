import colorsys
import math

import numpy as np
import pytest
import scipy.linalg

from cleave.masks.deep_spectral import DeepSpectral
from cleave.ops import laplacian as module
from cleave.ops.components import border_label
from cleave.ops.knn_colour import colour_neighbours
from cleave.ops.laplacian import clipped_cosine, cohesion, eigengap, laplacian_pairs
from cleave.ops.ncut import with_sign
from cleave.spec import ConfigError
from cleave.types import FeatureMap, Image, Scene, Size


def scene_of(features, pixels=None):
    """A Scene of these keys, (h, w, C), on an image of one pixel a patch."""
    h, w, _ = features.shape
    pixels = np.zeros((h, w, 3), np.uint8) if pixels is None else pixels
    keys = FeatureMap({"key": features.astype(np.float32)}, Size(h, w), Size(h, w), 1)
    return Scene(Image("spectral", pixels), features=keys)


def pairs_naive(weights, count):
    """The generalised problem as the paper writes it, by LAPACK, without the constant vector."""
    degree = np.diag(weights.sum(1).astype(float))
    values, vectors = scipy.linalg.eigh(degree - weights, degree)
    return values[1 : count + 1], np.array([with_sign(x) for x in vectors.T[1 : count + 1]])


def random_graph(seed, n):
    """Positive weights, so that the graph is connected and its eigenvalues are apart."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 3)) + 3 * rng.integers(0, 3, (n, 1))
    squares = np.square(points[:, None] - points[None]).sum(2)
    return np.float32(np.exp(-squares / 2) + 0.01)


@pytest.mark.parametrize("n", [2, 3, 9, 40, 300, 420])
@pytest.mark.parametrize("count", [1, 4, 14])
def test_pairs_are_those_of_the_dense_problem(n, count):
    weights = random_graph(n, n)
    found = laplacian_pairs(weights, count)
    values, vectors = pairs_naive(weights, count)
    np.testing.assert_allclose(found.values[: n - 1], values, atol=1e-5)
    assert (found.values[n - 1 :] == 1).all()
    assert not found.vectors[n - 1 :].any()
    gaps = np.diff(np.concatenate([[0], values, [values[-1]]]))
    for k in np.flatnonzero(np.minimum(gaps[:-1], np.append(gaps[1:-1], 1)) > 0.02):
        scale = np.abs(vectors[k]).max()
        np.testing.assert_allclose(found.vectors[k], vectors[k], atol=2e-3 * scale)


def test_the_search_condenses_and_still_finds_them(monkeypatch):
    monkeypatch.setattr(module, "CAPACITY", 40)
    weights = random_graph(5, 400)
    found = laplacian_pairs(weights, 6)
    np.testing.assert_allclose(found.values, pairs_naive(weights, 6)[0], atol=1e-5)


def test_where_the_search_gives_up_lapack_answers(monkeypatch):
    monkeypatch.setattr(module, "ROUNDS", 1)
    weights = random_graph(5, 400)
    found = laplacian_pairs(weights, 3)
    np.testing.assert_allclose(found.values, pairs_naive(weights, 3)[0], atol=1e-6)


@pytest.mark.parametrize("n", [12, 300])
def test_components_of_a_disconnected_graph_have_value_zero(n):
    """Three cliques: two non-trivial zeros, constant on each clique, and no other cut."""
    clique = np.arange(n) * 3 // n
    found = laplacian_pairs((clique[:, None] == clique[None]).astype(np.float32), 5)
    np.testing.assert_allclose(found.values, [0, 0, 1, 1, 1], atol=1e-6)
    assert not found.vectors[2:].any()
    for vector in found.vectors[:2]:
        assert vector.any()
        for number in range(3):
            assert np.ptp(vector[clique == number]) < 1e-4 * np.abs(vector).max()


@pytest.mark.parametrize("n", [1, 5, 300])
def test_equal_weights_have_no_cut(n):
    for weight in (0, 1):
        found = laplacian_pairs(np.full((n, n), weight, np.float32), 3)
        assert found.values.tolist() == [1, 1, 1]
        assert not found.vectors.any()


def test_six_nodes_by_hand():
    """Two triangles joined by one edge of weight 1/2; x and lambda from a 2 x 2 problem.

    By symmetry x = (a, a, b, -b, -a, -a), and (D - W) x = lambda D x reads
    (2 - 1) a - b = 2 lambda a and -2 a + (2.5 + .5) b = 2.5 lambda b.
    """
    weights = np.zeros((6, 6), np.float32)
    for i, j, weight in ((0, 1, 1), (0, 2, 1), (1, 2, 1), (3, 4, 1), (3, 5, 1), (4, 5, 1)):
        weights[i, j] = weights[j, i] = weight
    weights[2, 3] = weights[3, 2] = 0.5
    found = laplacian_pairs(weights, 1)
    value = (1.7 - math.sqrt(1.7**2 - 4 * 0.2)) / 2  # lambda^2 - 1.7 lambda + .2 = 0
    np.testing.assert_allclose(found.values, [value], atol=1e-7)
    vector = found.vectors[0]
    np.testing.assert_allclose(vector / vector[0], [1, 1, 1 - 2 * value, *[-1 + 2 * value, -1, -1]])
    triangle = np.arange(6)[None] < 3
    np.testing.assert_allclose(cohesion(weights, triangle), [6 / 6.5 - 0.5])


def test_cohesion_is_that_of_the_sums():
    rng = np.random.default_rng(0)
    weights = random_graph(0, 30)
    masks = rng.random((4, 30)) < 0.4
    masks[3] = False
    expected = []
    for mask in masks[:3]:
        own = sum(float(weights[i, j]) for i in range(30) for j in range(30) if mask[i] and mask[j])
        volume = sum(float(weights[i].sum()) for i in range(30) if mask[i])
        expected.append(own / volume - volume / float(weights.sum()))
    np.testing.assert_allclose(cohesion(weights, masks), [*expected, 0.0], atol=1e-5)


@pytest.mark.parametrize(
    ("values", "clusters"),
    [([0.1], 2), ([0.1, 0.5, 0.6], 2), ([0.1, 0.2, 0.9, 1.0], 3), ([0.1, 0.2, 0.3, 1.0], 4)],
)
def test_clusters_lie_before_the_largest_gap(values, clusters):
    assert eigengap(np.array(values)) == clusters


def test_the_border_is_the_grounds():
    labels = np.array([[2, 2, 2, 1], [0, 0, 0, 1], [0, 0, 0, 1], [1, 1, 1, 1]])
    assert border_label(labels) == 1


def neighbours_naive(pixels, neighbours, position):
    """The dense matrix, each node's neighbours by sorting all distances."""
    h, w, _ = pixels.shape
    weights = np.zeros((h * w, h * w))
    for k, weight in zip(neighbours, position, strict=True):
        nodes = []
        for row, column in np.ndindex(h, w):
            y, x = row / max(h - 1, 1), column / max(w - 1, 1)
            nodes.append([*(pixels[row, column] / 255.0), weight * x, weight * y])
        nodes = np.float32(nodes).astype(float)
        for i, node in enumerate(nodes):
            for j in np.argsort(np.linalg.norm(nodes - node, axis=1), kind="stable")[:k]:
                weights[i, j] += 1
                weights[j, i] += 1
    return weights


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 2), (6, 5), (1, 40)])
@pytest.mark.parametrize("neighbours", [(20, 10), (1, 2), (3, 1)])
def test_neighbours_are_the_naive_twins(shape, neighbours):
    rng = np.random.default_rng(sum(shape))
    pixels = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)  # random: no two distances equal
    row, column, count = colour_neighbours(pixels, neighbours)
    n = shape[0] * shape[1]
    dense = np.zeros((n, n))
    dense[row, column] = count
    assert len(set(zip(row.tolist(), column.tolist(), strict=True))) == len(row)
    np.testing.assert_array_equal(dense, neighbours_naive(pixels, neighbours, (2.0, 0.1)))


def discs(h=20, w=24, seed=0):
    """Noisy features of a ground and three discs of three classes, and the discs."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:h, :w]
    classes = np.zeros((h, w), int)
    for number, (y, x, radius) in enumerate(((5, 5, 3.5), (13, 8, 4.2), (8, 18, 4.5)), 1):
        classes[(row - y) ** 2 + (column - x) ** 2 < radius**2] = number
    means = 0.1 + np.eye(4)
    return means[classes] + rng.normal(0, 0.03, (h, w, 4)), classes


def segments_naive(features, count):
    """The first `count` vectors of the dense problem on clipped cosines."""
    rows = features.reshape(-1, features.shape[2]).astype(float)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return pairs_naive(np.maximum(rows @ rows.T, 0), count)


@pytest.mark.parametrize("seed", range(4))
def test_single_is_the_smaller_side_of_the_first_vector(seed):
    features, _ = discs(seed=seed)
    _, vectors = segments_naive(features, 1)
    side = vectors[0].reshape(20, 24) > 0
    side = ~side if side.mean() > 0.5 else side
    whole = DeepSpectral(parts="whole")(scene_of(features))
    np.testing.assert_array_equal(whole.masks, side[None])
    parts = DeepSpectral(parts="all")(scene_of(features)).masks
    np.testing.assert_array_equal(parts.any(0), side)
    largest = DeepSpectral()(scene_of(features)).masks
    assert largest.sum() == max(part.sum() for part in parts)


def test_multi_finds_each_disc():
    features, classes = discs()
    found = DeepSpectral(regions="multi")(scene_of(features))
    assert dict(found.notes)["clusters"] == 3
    expected = [classes == number for number in (1, 2, 3)]
    for mask in found.masks:
        assert any(np.array_equal(mask, disc) for disc in expected)
    assert len(found) == 3
    assert (np.diff(found.scores) <= 0).all()


def test_the_number_of_clusters_may_be_given():
    features, classes = discs()
    found = DeepSpectral(regions="multi", clusters=2)(scene_of(features))
    assert dict(found.notes)["clusters"] == 1
    assert not (found.masks.any(0) & (classes == 0)).any()


def test_small_parts_go_and_corners_join_eight_neighbours():
    features = np.full((7, 7, 2), (1.0, 0.3))
    for row, column in ((1, 1), (1, 2), (2, 3), (5, 5)):
        features[row, column] = 0.3, 1.0
    shown = scene_of(features)
    areas = {}
    for connectivity in (4, 8):
        found = DeepSpectral(parts="all", connectivity=connectivity)(shown)
        areas[connectivity] = sorted(found.areas.tolist())
    assert areas == {4: [1, 1, 2], 8: [1, 3]}
    assert DeepSpectral(parts="all", small=2 / 49)(shown).areas.tolist() == [3]


def test_colours_join_what_features_leave_open():
    """Two blocks of the features' one class, of two colours, on a ground: colour parts them."""
    rng = np.random.default_rng(0)
    features = np.full((12, 12, 3), (1.0, 0.6, 0.3))
    features = features + rng.normal(0, 0.01, features.shape)
    hue = np.zeros((12, 12, 3))
    hue[:] = colorsys.hsv_to_rgb(0.3, 0.7, 0.6)
    hue[3:8, 3:8] = colorsys.hsv_to_rgb(0.9, 0.9, 0.9)
    pixels = np.clip(hue * 255 + rng.normal(0, 2, hue.shape), 0, 255).astype(np.uint8)
    found = DeepSpectral(colour_weight=10.0, neighbours=(20, 10))(scene_of(features, pixels))
    expected = np.zeros((12, 12), bool)
    expected[3:8, 3:8] = True
    np.testing.assert_array_equal(found.masks, expected[None])
    without = DeepSpectral()(scene_of(features, pixels))
    assert not np.array_equal(without.masks, found.masks)


@pytest.mark.parametrize("colour_weight", [0.0, 10.0])
def test_features_that_are_all_alike_have_no_object(colour_weight):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 5, 3)).astype(np.uint8)
    for regions in ("single", "multi"):
        for value in (0.0, 2.0):
            shown = scene_of(np.full((5, 5, 3), value), pixels)
            method = DeepSpectral(colour_weight=colour_weight, regions=regions)
            assert len(method(shown)) == 0


def test_negative_cosines_are_no_affinity():
    affinity = clipped_cosine(np.array([[1.0, 0], [-1, 0], [1, 1], [0, 0]]))
    half = 1 / math.sqrt(2)
    expected = [[1, 0, half, 0], [0, 1, 0, 0], [half, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(affinity, expected, atol=1e-6)


def test_clusters_need_regions_multi():
    with pytest.raises(ConfigError, match="clusters 3 has no effect"):
        DeepSpectral(clusters=3)


def test_each_graph_of_colours_needs_both_numbers():
    with pytest.raises(ConfigError, match=r"one entry each.*got \(20,\) and \(2\.0, 0\.1\)"):
        DeepSpectral(neighbours=(20,))
