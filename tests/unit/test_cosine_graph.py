import dataclasses

import numpy as np
import pytest

from cleave.graphs.cosine import Cosine
from cleave.io.artifacts import pack_graph, unpack_graph
from cleave.io.store import read_shard, write_shard
from cleave.ops import affinity, bits, importance, ncut, points
from cleave.ops.batched.ncut import Solver
from cleave.registry import make
from cleave.spec import ConfigError, to_mapping
from cleave.types import DepthMap, FeatureMap, Size


def feature_map(facet: np.ndarray) -> FeatureMap:
    height, width = facet.shape[:2]
    size = Size(8 * height, 8 * width)
    return FeatureMap({"key": facet.astype(np.float32)}, size, size, 8)


def blocks(height: int = 16, width: int = 18, noise: float = 0.3) -> FeatureMap:
    """A square on a ground, with noise, and an offset that centring removes."""
    rng = np.random.default_rng(0)
    square = np.zeros((height, width), int)
    square[4:10, 5:12] = 1
    facet = np.eye(6)[square] + noise * rng.standard_normal((height, width, 6))
    return feature_map(facet)


def call(graph: Cosine, features: FeatureMap, depth: DepthMap | None = None):
    return graph(features, depth, np.random.default_rng(0))


def test_the_papers_graph():
    features = blocks()
    graph = call(Cosine(), features)
    expected = affinity.cosine(features.facets["key"].reshape(-1, 6)) > 0.15
    assert np.array_equal(bits.unpack(graph.edges, 288), expected)
    assert (graph.threshold, graph.floor) == (0.15, 1e-5)
    cut = ncut.dense_spectrum(graph.edges, 288)
    assert graph.eigenvalues == pytest.approx(cut.values)
    assert graph.eigenvectors == pytest.approx(cut.vectors, abs=1e-9)
    assert graph.residuals.max() <= 1e-10
    assert graph.importance is None


def test_the_first_cut_finds_the_square():
    graph = call(Cosine(rule="near_far", centre=True), blocks(noise=0.15))
    cut = ncut.orient(graph.eigenvectors[0], graph.grid)
    square = np.zeros((16, 18), bool)
    square[4:10, 5:12] = True
    assert (cut.foreground.reshape(16, 18) == square).mean() > 0.97


def test_density_is_the_share_of_pairs():
    graph = call(Cosine(rule="density", density=0.2), blocks())
    edges = bits.unpack(graph.edges, 288)
    assert edges[np.triu_indices(288, 1)].mean() == pytest.approx(0.2, abs=1e-4)


def test_near_far_uses_the_given_generator():
    features = blocks(20, 20, noise=1.0)
    cosine = Cosine(rule="near_far", centre=True)
    first, again, other = (
        cosine(features, None, np.random.default_rng(seed)).threshold for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_importance_sharpens_before_the_threshold():
    features = blocks()
    depth = DepthMap(np.tile(np.linspace(1, 2, 36) ** 4, (32, 1)).astype(np.float32))
    cosine = Cosine(importance=True, sigma=1.0, beta=0.2, indexing="product", threshold=0.3)
    graph = call(cosine, features, depth)
    pooled = points.pool_depth(depth.values, features.grid, "area")
    expected_map = importance.spatial_importance(pooled, 1.0, 0.2)
    raw = affinity.cosine(features.facets["key"].reshape(-1, 6))
    expected = importance.sharpen(raw, expected_map, "product") > 0.3
    assert np.array_equal(graph.importance, expected_map)
    assert np.array_equal(bits.unpack(graph.edges, 288), expected)
    assert expected.sum() > (raw > 0.3).sum()


def test_needs_depth_only_with_importance():
    assert Cosine().needs == {"features"}
    assert Cosine(importance=True).needs == {"features", "depth"}
    with pytest.raises(ConfigError, match="depth"):
        call(Cosine(importance=True), blocks())


def test_patches_without_feature_are_joined_to_none():
    facet = blocks().facets["key"].copy()
    facet[0, :3] = 0
    depth = DepthMap(np.random.default_rng(0).random((16, 18)).astype(np.float32))
    for cosine in (Cosine(threshold=-0.5), Cosine(importance=True, beta=1.0)):
        edges = bits.unpack(call(cosine, feature_map(facet), depth).edges, 288)
        assert not edges[:3].any()
        assert not edges[:, :3].any()
        assert edges[3:].any(1).all()


RULES = [Cosine(), Cosine(rule="density", density=0.1), Cosine(rule="near_far")]
RULES += [dataclasses.replace(cosine, centre=True) for cosine in RULES]


@pytest.mark.parametrize("cosine", RULES)
@pytest.mark.parametrize("shape", [(12, 12), (1, 1), (1, 2), (2, 1)])
def test_a_constant_image_has_no_cut(cosine, shape):
    facet = np.broadcast_to(np.random.default_rng(0).standard_normal(384), (*shape, 384))
    graph = call(cosine, feature_map(facet))
    assert np.array_equal(graph.eigenvalues, [1])
    assert not graph.eigenvectors.any()


@pytest.mark.parametrize("cosine", RULES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 3), (2, 2), (1, 60), (3, 50)])
def test_any_grid(cosine, shape):
    facet = np.random.default_rng(0).standard_normal((*shape, 5))
    graph = call(cosine, feature_map(facet))
    assert np.isfinite(graph.eigenvectors).all()
    assert np.isfinite(graph.threshold)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"rule": "density"}, "density"),
        ({"density": 0.2}, "rule 'density'"),
        ({"rule": "near_far", "threshold": 0.2}, "near_far"),
        ({"beta": 0.0}, "importance: true"),
        ({"threshold": 1.5}, "threshold"),
        ({"indexing": "column"}, "indexing"),
        ({"eigenvectors": 17}, "eigenvectors"),
    ],
)
def test_refused_sections(section, words):
    with pytest.raises(ConfigError, match=words):
        make("graphs", {"kind": "cosine", **section}, "graphs.mine")


def test_an_unknown_facet_names_those_there_are():
    with pytest.raises(ConfigError, match=r"'keys'.*did you mean 'key'"):
        call(Cosine(facet="keys"), blocks())


def test_spec_round_trip():
    cosine = Cosine(rule="density", density=0.2, importance=True, sigma=1.0)
    assert make("graphs", {"kind": "cosine", **to_mapping(cosine)}) == cosine


def photo_like(side: int, channels: int = 384) -> FeatureMap:
    """Smooth random fields through a random tanh layer, with noise: dense affinities as of keys."""
    rng = np.random.default_rng(0)
    step = np.arange(side) / side
    fields = [
        np.cos(2 * np.pi * (a * step[:, None] + b * step) + c)
        for a, b, c in zip(*rng.uniform(-3, 3, (2, 12)), rng.uniform(0, 6, 12), strict=True)
    ]
    hidden = np.tanh(np.stack(fields, 2) @ rng.standard_normal((12, channels)) * 0.3)
    return feature_map(hidden + 0.1 * rng.standard_normal(hidden.shape))


def test_a_stored_graph_is_equal_and_small(tmp_path):
    graph = call(Cosine(eigenvectors=2), photo_like(60))
    density = bits.degrees(graph.edges).mean() / 3600
    assert 0.2 < density < 0.45
    path = tmp_path / "graph.h5"
    with write_shard(path, spec={}, version=1) as writer:
        writer.add("a", *pack_graph(graph), compress=frozenset({"edges"}))
    assert path.stat().st_size < 450_000
    with read_shard(path) as reader:
        stored = unpack_graph(*reader.get("a"))
    for field in dataclasses.fields(graph):
        ours, theirs = getattr(graph, field.name), getattr(stored, field.name)
        assert np.array_equal(ours, theirs), field.name


BATCHED = [*RULES, Cosine(threshold=-0.5), Cosine(eigenvectors=3)]
BATCHED += [
    Cosine(importance=True, beta=0.3, threshold=0.4, indexing=indexing, centre=True)
    for indexing in ("symmetric", "row", "product", "min", "max")
]


def images(shape: tuple[int, int]) -> list[FeatureMap]:
    """Noisy blocks where they fit, a constant image, and one with patches without a feature."""
    noise = np.random.default_rng(0).standard_normal((*shape, 6))
    facet = blocks(*shape, noise=0.5).facets["key"] if min(shape) > 12 else noise
    hollow = facet.copy()
    hollow[0] = 0
    return [feature_map(each) for each in (facet, np.ones((*shape, 6)), hollow)]


@pytest.mark.parametrize("cosine", BATCHED)
@pytest.mark.parametrize("shape", [(16, 18), (1, 1), (1, 3), (2, 2)])
def test_a_batch_is_what_calls_make(cosine, shape):
    """With torch on the CPU in a GPU's place; edges may differ where a cosine is at the limit."""
    solver = Solver("cpu")
    depth = DepthMap(np.random.default_rng(1).random(shape).astype(np.float32))
    depth = depth if cosine.importance else None
    given = [(features, depth) for features in images(shape)]
    found = cosine.batch([(*g, np.random.default_rng(k)) for k, g in enumerate(given)], solver)
    assert sum(solver.counts.values()) == len(given)
    for k, (ours, g) in enumerate(zip(found, given, strict=True)):
        theirs = cosine(*g, np.random.default_rng(k))
        n = len(theirs.edges)
        differ = bits.unpack(ours.edges, n) != bits.unpack(theirs.edges, n)
        assert differ.sum() <= 2e-6 * n * n
        assert ours.threshold == pytest.approx(theirs.threshold, abs=2e-6)
        assert (ours.grid, ours.size, ours.floor) == (theirs.grid, theirs.size, theirs.floor)
        np.testing.assert_array_equal(ours.importance, theirs.importance)
        np.testing.assert_allclose(ours.eigenvalues, theirs.eigenvalues, atol=1e-9)
        for one, other in zip(ours.eigenvectors, theirs.eigenvectors, strict=True):
            assert np.array_equal(ncut.bipartition(one), ncut.bipartition(other))
        assert ours.residuals.max() <= 1e-10


def test_a_batch_refuses_what_a_call_refuses():
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match=r"'keys'.*did you mean 'key'"):
        Cosine(facet="keys").batch([(blocks(), None, rng)], Solver("cpu"))
    with pytest.raises(ConfigError, match="depth"):
        Cosine(importance=True).batch([(blocks(), None, rng)], Solver("cpu"))
