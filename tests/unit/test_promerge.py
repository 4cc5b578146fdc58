import numpy as np
import pytest
from test_merge import components_naive, keep_naive, merge_naive, patches, split_naive

from cleave.masks.promerge import ProMerge
from cleave.spec import ConfigError
from cleave.types import FeatureMap, Image, Scene, Size


def scene_of(features):
    """A Scene of these keys, (h, w, C), on an image of one pixel a patch."""
    size = Size(*features.shape[:2])
    keys = FeatureMap({"key": features.astype(np.float32)}, size, size, 1)
    return Scene(Image("promerge", np.zeros((*size, 3), np.uint8)), features=keys)


def noisy_objects(seed, h=13, w=15, noise=0.5):
    """(h, w, C): rectangles of three classes on a ground, with noise."""
    rng = np.random.default_rng(seed)
    classes = np.zeros((h, w), int)
    for _ in range(5):
        top, left = rng.integers(0, h - 3), rng.integers(0, w - 3)
        classes[top : top + rng.integers(2, 7), left : left + rng.integers(2, 7)] = rng.integers(
            1, 4
        )
    directions = np.eye(6)[:4]
    directions[2, 1] = 0.5  # two of the classes are alike
    return directions[classes] + rng.normal(0, noise, (h, w, 6))


def promerge_naive(features, m):
    """The steps of ProMerge, seed by seed and patch by patch: a list of sets of patches."""
    h, w, _ = features.shape
    unit = features.astype(np.float32).astype(float).reshape(h * w, -1)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    grounds, parts = [], []
    for r in range(0, h, m.stride):
        for c in range(0, w, m.stride):
            mask = (unit @ unit[r * w + c] > m.affinity).reshape(h, w)
            sides = [mask[0], mask[:, -1], mask[-1], mask[:, 0]]
            if sum(2 * int(side.sum()) > len(side) for side in sides) > m.most_sides:
                grounds.append(mask)
            else:
                found = split_naive(mask, (r, c), m.component)
                parts += [part for part in found if len(part) / (h * w) >= m.small]
    if not grounds:
        return []
    ground = patches(np.mean(grounds, axis=0) > m.vote)
    if not ground or len(ground) / (h * w) < m.least_background:
        return []
    kept = keep_naive(parts, unit, ground, w, m.inside_background, m.like_background)
    kept = [parts[i] for i in kept]
    return merge_naive(kept, unit, w, m.overlap, m.similar_overlap, m.similarity)


METHODS = (
    ProMerge(refine="none"),
    ProMerge(refine="none", stride=2, affinity=0.6, like_background=0.4),
    ProMerge(refine="none", stride=3, most_sides=0, component=1.0, least_background=0.3),
    ProMerge(refine="none", stride=1, inside_background=0.3, overlap=0.8, similarity=0.9),
    ProMerge(refine="none", stride=2, small=0.05),
)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("method", METHODS, ids=range(len(METHODS)))
def test_the_masks_are_the_naive_twins(seed, method):
    features = noisy_objects(seed)
    found = method(scene_of(features))
    assert [patches(mask) for mask in found.masks] == promerge_naive(features, method)


def test_the_twins_found_enough_to_compare():
    found = [METHODS[0](scene_of(noisy_objects(seed))) for seed in range(25)]
    assert sum(len(masks) for masks in found) > 25
    assert sum(masks.notes["foreground"] > masks.notes["merged"] for masks in found) > 5


def test_objects_of_one_class_are_told_apart_and_occluders_merged():
    classes = np.zeros((20, 24), int)
    classes[2:8, 2:8] = classes[11:17, 12:18] = 1
    found = ProMerge(refine="none")(scene_of(np.eye(3)[classes]))
    assert sorted(patches(mask) for mask in found.masks) == sorted(components_naive(classes == 1))
    assert (found.scores == 1).all()


def test_without_a_background_there_are_no_masks():
    classes = np.zeros((16, 16), int)
    classes[:8, :8], classes[:8, 8:], classes[8:, :8] = 1, 2, 3  # each holds half of two sides
    scene = scene_of(np.eye(4)[classes])
    found = ProMerge(refine="none")(scene)
    assert len(found) == found.notes["background_seeds"] == 0
    assert found.notes["parts"] == 16


def test_a_small_background_counts_as_none():
    tile = np.arange(16) // 4
    classes = 1 + 4 * tile[:, None] + tile  # sixteen squares
    classes[0, :9] = classes[:9, 0] = 0  # 17 of 256 patches, along two sides
    scene = scene_of(np.eye(17)[classes])
    for least, expected in ((0.06, 11), (0.07, 0)):
        found = ProMerge(refine="none", least_background=least)(scene)
        assert found.notes["background_seeds"] == 5
        assert len(found) == expected


def test_centring_tells_apart_what_is_alike():
    classes = np.zeros((12, 12), int)
    classes[4:9, 3:8] = 1
    features = np.eye(2)[classes] + 3.0  # all cosines near 1
    assert len(ProMerge(refine="none")(scene_of(features))) == 0
    found = ProMerge(refine="none", centre=True)(scene_of(features))
    np.testing.assert_array_equal(found.masks, [classes == 1])


def test_a_missing_facet_is_named():
    with pytest.raises(ConfigError, match="no 'query'"):
        ProMerge(facet="query")(scene_of(np.ones((2, 2, 3))))
