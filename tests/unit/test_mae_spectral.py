import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_twins import FOUR, flood

from cleave.masks.mae_spectral import MaeSpectral
from cleave.ops import segments
from cleave.ops.cluster import kmeans
from cleave.spec import ConfigError
from cleave.types import FeatureMap, Image, MaskSet, Scene, Size

PATCH = 4


def scene_of(classes, salient, noise=0.15, seed=0):
    """Noisy features of these classes, and saliency (h, w) as one mask at the image's size."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(classes.max() + 1, 12)) + 0.5
    features = (means[classes] + noise * rng.normal(size=(*classes.shape, 12))).astype(np.float32)
    size = Size(classes.shape[0] * PATCH, classes.shape[1] * PATCH)
    pixels = np.zeros((*size, 3), np.uint8)
    full = np.kron(salient, np.ones((PATCH, PATCH), bool))[None]
    return Scene(
        Image("mae", pixels),
        features=FeatureMap({"key": features}, size, size, PATCH),
        masks=MaskSet(size, full, np.ones(1)),
    )


def two_squares_and_a_bar():
    classes = np.zeros((14, 16), int)
    classes[2:6, 2:6] = classes[8:12, 3:7] = 1
    classes[3:11, 11:14] = 2
    return classes


def components_naive(mask):
    left = set(zip(*np.nonzero(mask), strict=True))
    while left:
        part = flood(min(left), lambda _, patch: patch in left, FOUR)  # noqa: B023
        found = np.zeros_like(mask)
        found[tuple(zip(*part, strict=True))] = True
        yield found
        left -= part


def labels_naive(features, k):
    """By LAPACK: the vectors of (D - W) v = lambda D v, then the same k-means."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    weights = np.maximum(unit @ unit.T, 0).astype(np.float64)
    degree = np.diag(weights.sum(1))
    vectors = scipy.linalg.eigh(degree - weights, degree)[1][:, 1:k]
    return kmeans(vectors, k)


def iou_naive(a, b):
    return (a & b).sum() / (a | b).sum()


def mae_spectral_naive(scene, clusters, bound, nms, most):
    """Pixel by pixel and mask by mask: [(score, patch mask)]."""
    rows = scene.features.facets["key"].reshape(-1, 12)
    grid = scene.features.grid
    saliency = scene.masks.masks[0]
    found = []
    for k in clusters:
        labels = labels_naive(rows, k).reshape(grid)
        for number in range(labels.max() + 1):
            for part in components_naive(labels == number):
                if not max(4, 0.001 * part.size) <= part.sum() <= 0.9 * part.size:
                    continue
                full = np.kron(part, np.ones((PATCH, PATCH), bool))
                share = (full & saliency).sum() / full.sum()
                if share >= bound and share > 0:
                    found.append((share, part))
    found.sort(key=lambda pair: (-pair[0], -pair[1].sum()))
    kept = []
    for share, part in found:
        if all(iou_naive(part, other) <= nms for _, other in kept) and len(kept) < most:
            kept.append((share, part))
    return kept


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("bound", [0.3, 0.5])
def test_masks_are_the_naive_twins(seed, bound):
    classes = two_squares_and_a_bar()
    rng = np.random.default_rng(seed)
    salient = (classes > 0) & (rng.random(classes.shape) < 0.8)
    scene = scene_of(classes, salient, noise=0.4, seed=seed)
    method = MaeSpectral(
        clusters=(2, 3, 4, 5), minimum_overlap=bound, nms=0.6, max_masks=5, upsample="nearest"
    )
    expected = mae_spectral_naive(scene, (2, 3, 4, 5), bound, 0.6, 5)
    found = method(scene)
    assert len(expected) > 0
    np.testing.assert_allclose(found.scores, [share for share, _ in expected])
    parts = np.array([part for _, part in expected])
    np.testing.assert_array_equal(found.masks, np.kron(parts, np.ones((1, PATCH, PATCH), bool)))


def test_each_object_is_a_mask_of_its_own():
    classes = two_squares_and_a_bar()
    found = MaeSpectral(upsample="nearest")(scene_of(classes, classes > 0))
    squares = [
        (slice(2, 6), slice(2, 6)),
        (slice(8, 12), slice(3, 7)),
        (slice(3, 11), slice(11, 14)),
    ]
    for square in squares:
        wanted = np.zeros(classes.shape, bool)
        wanted[square] = True
        full = np.kron(wanted, np.ones((PATCH, PATCH), bool))
        assert (found.masks == full).all((1, 2)).any()


def test_what_is_not_salient_is_dropped():
    classes = two_squares_and_a_bar()
    found = MaeSpectral(upsample="nearest")(scene_of(classes, classes == 2))
    assert len(found) > 0
    bar = np.kron(classes == 2, np.ones((PATCH, PATCH), bool))
    assert ((found.masks & bar).sum((1, 2)) >= 0.5 * found.areas).all()
    assert found.notes["salient"] < found.notes["candidates"]


def test_without_saliency_nothing_is_found():
    classes = two_squares_and_a_bar()
    found = MaeSpectral(minimum_overlap=0.0)(scene_of(classes, np.zeros(classes.shape, bool)))
    assert len(found) == 0
    assert found.notes["saliency"] == 0


def test_by_iou_a_part_of_the_salient_whole_scores_less_than_by_share():
    classes = two_squares_and_a_bar()
    scene = scene_of(classes, classes > 0)
    share, iou = (MaeSpectral(overlap=o, minimum_overlap=0.0)(scene) for o in ("share", "iou"))
    assert share.scores.max() == pytest.approx(1)
    assert iou.scores.max() < 0.8
    assert (np.diff(iou.scores) <= 0).all()


def test_a_saliency_map_that_cuts_patches_is_measured_in_pixels():
    classes = np.zeros((8, 8), int)
    classes[2:6, 2:6] = 1
    scene = scene_of(classes, classes == 1, noise=0.01)
    half = scene.masks.masks.copy()
    half[:, :, 4 * PATCH - 2 :] = False  # 6 of the square's 16 columns of pixels remain
    shown = Scene(
        scene.image, features=scene.features, masks=MaskSet(scene.image.size, half, np.ones(1))
    )
    found = MaeSpectral(clusters=(2,), minimum_overlap=0.3, upsample="nearest")(shown)
    assert found.scores[0] == pytest.approx(6 / 16)


def test_features_without_the_facet_are_refused():
    classes = two_squares_and_a_bar()
    with pytest.raises(ConfigError, match="no 'value'"):
        MaeSpectral(facet="value")(scene_of(classes, classes > 0))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([6, 20, 48]), st.booleans())
def test_parts_are_the_naive_twins(seed, least, most, split):
    labels = np.random.default_rng(seed).integers(0, 3, (6, 8))
    expected = []
    for number in range(3):
        whole = labels == number
        for part in components_naive(whole) if split else [whole]:
            if least <= part.sum() <= most:
                expected.append(part)
    found = segments.parts(labels, least, most, split=split)
    np.testing.assert_array_equal(found, np.reshape(expected, (-1, 6, 8)))


def test_rows_of_unit_length_are_an_option():
    classes = two_squares_and_a_bar()
    rows = scene_of(classes, classes > 0, noise=0.6).features.facets["key"].reshape(-1, 12)
    (_, plain), (_, unit) = (
        next(segments.spectral_labels(rows, (4,), normalise=normalise))
        for normalise in (False, True)
    )
    assert not np.array_equal(plain, unit)


def test_one_eigenproblem_serves_every_k():
    rows = np.random.default_rng(0).normal(size=(60, 5)) + 1
    together = dict(segments.spectral_labels(rows, (2, 3, 6)))
    for k, labels in together.items():
        np.testing.assert_array_equal(next(segments.spectral_labels(rows, (k,)))[1], labels)


def test_alike_patches_stay_together_however_many_clusters_are_asked_for():
    rows = np.eye(3)[np.repeat([0, 1, 2], 20)]
    for k, labels in segments.spectral_labels(rows, (2, 3, 5, 8)):
        np.testing.assert_array_equal(labels.reshape(3, 20).std(1), 0)
        assert len(np.unique(labels)) == min(k, 3)


def test_enlarging_cuts_the_interpolated_mask_at_a_half():
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 1:3, 1:3] = True
    smooth = segments.enlarge(mask, Size(32, 32), "bilinear")
    coarse = segments.enlarge(mask, Size(32, 32), "nearest")
    assert not smooth[0, 8, 8]  # a corner is rounded
    assert coarse[0, 8, 8]
    assert smooth[0, 16, 8]
    assert not (smooth & ~coarse).any()
    np.testing.assert_array_equal(segments.enlarge(mask, Size(4, 4), "bilinear"), mask)
