import numpy as np
import pytest
from scipy import ndimage

from cleave.masks.lost import Lost
from cleave.ops.seed_expansion import degrees, expand_seed
from cleave.spec import ConfigError
from cleave.types import FeatureMap, Image, Scene, Size


def scene_of(features):
    """A Scene of these keys, (h, w, C), on an image of one pixel a patch."""
    h, w, _ = features.shape
    size = Size(h, w)
    keys = FeatureMap({"key": features.astype(np.float32)}, size, size, 1)
    return Scene(Image("lost", np.zeros((h, w, 3), np.uint8)), features=keys)


def lost_naive(features, k=100, threshold=0.0):
    """LOST, Sec. 3, one patch after the other: the mask, or None without a seed."""
    h, w, channels = features.shape
    f = features.reshape(-1, channels).astype(float)
    n = len(f)
    degree = [sum(f[p] @ f[q] > threshold for q in range(n) if q != p) for p in range(n)]
    if min(degree) == n - 1:
        return None
    order = sorted(range(n), key=lambda p: (degree[p], p))
    seed = order[0]
    similar = [p for p in order[:k] if f[p] @ f[seed] > threshold]
    inside = [sum(f[q] @ f[s] - threshold for s in similar) > 0 for q in range(n)]
    labels, _ = ndimage.label(np.reshape(inside, (h, w)))
    number = labels.flat[seed]
    return labels == number if number else None


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize(("k", "threshold"), [(100, 0.0), (4, 0.0), (6, 0.7)])
def test_the_mask_is_the_naive_twins(seed, k, threshold):
    rng = np.random.default_rng(seed)
    features = rng.integers(-3, 4, (rng.integers(2, 8), rng.integers(2, 8), 3)) + 0.0
    found = Lost(candidates=k, threshold=threshold)(scene_of(features)).masks
    expected = lost_naive(features, k, threshold)
    np.testing.assert_array_equal(found, np.zeros_like(found) if expected is None else [expected])
    assert len(found) == (expected is not None)


def test_six_patches_by_hand():
    """A ground of three that are alike, a pair that is alike, and a patch like the pair's second.

    In a row: g g g a b c with a.b > 0, b.c > 0, a.c < 0; and g.c > 0.
    """
    ground, a, b, c = [0, 0, 2], [2, 1, 0], [0, 2, -1], [-2, 3, 1]
    row = np.array([[ground, ground, ground, a, b, c]], float)
    flat = row[0]
    assert degrees(flat).tolist() == [3, 3, 3, 1, 2, 4]
    one = expand_seed(flat, candidates=1)
    assert one.seed == 3
    assert one.similar.tolist() == [3]
    assert one.mask.tolist() == [False, False, False, True, True, False]  # f.a: 0 0 0 5 2 -1
    two = expand_seed(flat, candidates=2)  # f.(a + b): -2 -2 -2 7 7 4
    assert two.similar.tolist() == [3, 4]
    assert two.mask.tolist() == [False, False, False, True, True, True]
    found = Lost(candidates=2)(scene_of(row)).masks
    assert found.tolist() == [[[False, False, False, True, True, True]]]


@pytest.mark.parametrize("n", [1, 5, 511, 512, 513, 1100])
def test_degrees_in_blocks_are_those_of_all_pairs(n):
    features = np.random.default_rng(n).integers(-2, 3, (n, 4)).astype(np.float32)
    alike = features @ features.T > 0
    np.testing.assert_array_equal(degrees(features), alike.sum(1) - np.diag(alike))


def test_a_part_of_the_object_across_a_gap_is_left_out():
    features = np.full((1, 9, 2), (1.0, 0.0))
    features[0, [1, 2, 6]] = -0.1, 1.0
    found = Lost()(scene_of(features)).masks
    assert np.flatnonzero(found[0]).tolist() == [1, 2]


def test_centring_tells_features_of_one_sign_apart():
    features = np.full((4, 5, 3), (5.0, 5.0, 5.0))
    features[1:3, 1:3] = 4.0, 5.0, 6.0
    assert len(Lost()(scene_of(features))) == 0
    found = Lost(centre=True)(scene_of(features)).masks
    expected = np.zeros((1, 4, 5), bool)
    expected[0, 1:3, 1:3] = True
    np.testing.assert_array_equal(found, expected)


def test_normalising_changes_whom_the_expansion_listens_to():
    """One long feature outweighs two short ones unless all have the same length."""
    row = np.array([[[1, 0, 0], [9, -9, 2], [1, 1.5, 0], [0, 3, 0], [0, 3, 0], [0, 3, 0]]], float)
    raw = Lost(candidates=2)(scene_of(row)).masks
    unit = Lost(candidates=2, normalise=True)(scene_of(row)).masks
    assert np.flatnonzero(raw).tolist() == [0, 1]
    assert np.flatnonzero(unit).tolist() == [0, 1, 2]


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_patches_that_are_all_alike_have_no_seed(value):
    assert len(Lost()(scene_of(np.full((4, 4, 3), value)))) == 0


def test_a_facet_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"no 'value'.*key"):
        Lost(facet="value")(scene_of(np.ones((2, 2, 1))))
