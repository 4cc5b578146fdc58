import numpy as np
import pytest

from cleave.masks.spectral_clusters import SpectralClusters
from cleave.ops import segments
from cleave.types import FeatureMap, Image, Scene, Size

PATCH = 4
ALIKE = ((slice(2, 6), slice(2, 6)), (slice(8, 12), slice(9, 13)))


def scene():
    """Two squares of one class on a ground."""
    classes = np.zeros((14, 16), int)
    for square in ALIKE:
        classes[square] = 1
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 8))[classes] + 0.05 * rng.normal(size=(14, 16, 8))
    size = Size(14 * PATCH, 16 * PATCH)
    maps = FeatureMap({"key": features.astype(np.float32)}, size, size, PATCH)
    return Scene(Image("squares", np.zeros((*size, 3), np.uint8)), features=maps)


def patches(found):
    return found.masks[:, PATCH // 2 :: PATCH, PATCH // 2 :: PATCH]


def has(found, *squares):
    wanted = np.zeros((14, 16), bool)
    for square in squares:
        wanted[square] = True
    return (patches(found) == wanted).all((1, 2)).any()


def test_each_label_has_the_segments_of_its_k():
    shown = scene()
    found = SpectralClusters(clusters=(2, 3, 7), upsample="nearest")(shown)
    rows = shown.features.facets["key"].reshape(-1, 8)
    for k, labels in segments.spectral_labels(rows, (2, 3, 7)):
        expected = segments.parts(labels.reshape(14, 16), 4, 0.9 * 224)
        np.testing.assert_array_equal(patches(found)[found.labels == k], expected)
    assert set(found.labels.tolist()) <= {2, 3, 7}


def test_the_score_is_the_share_of_the_border_that_the_cluster_leaves():
    found = SpectralClusters(clusters=(2,), upsample="nearest", largest=1.0)(scene())
    squares = [bool(mask[:, 0].any() or mask[0].any()) for mask in found.masks]
    assert found.scores.tolist() == [0.0 if ground else 1.0 for ground in squares]
    assert sorted(squares) == [False, False, True]


def test_shares_of_the_border_count_corners_twice():
    labels = np.zeros((3, 4), int)
    labels[0, 0], labels[1, 1], labels[2, 1] = 1, 2, 2
    np.testing.assert_allclose(segments.border_shares(labels), [11 / 14, 2 / 14, 1 / 14])


def test_components_part_two_objects_that_share_a_cluster():
    method = {"clusters": (2,), "upsample": "nearest"}
    parted = SpectralClusters(**method)(scene())
    whole = SpectralClusters(**method, segments="clusters")(scene())
    assert all(has(parted, square) for square in ALIKE)
    assert not has(parted, *ALIKE)
    assert has(whole, *ALIKE)
    assert not any(has(whole, square) for square in ALIKE)


@pytest.mark.parametrize(
    ("field", "value"), [("smallest_patches", 17), ("smallest", 0.08), ("largest", 0.05)]
)
def test_segments_of_the_wrong_size_are_left_out(field, value):
    found = SpectralClusters(clusters=(2,), upsample="nearest", **{field: value})(scene())
    assert not any(has(found, square) for square in ALIKE)


def test_labels_stay_with_their_masks_where_some_vanish():
    shown = scene()
    small = Scene(
        Image("small", np.zeros((3, 4, 3), np.uint8)),
        features=FeatureMap(shown.features.facets, Size(3, 4), Size(14, 16), 1),
    )
    found = SpectralClusters(clusters=(2, 12))(small)
    assert len(found.labels) == len(found.masks)
    assert found.masks.any((1, 2)).all()
