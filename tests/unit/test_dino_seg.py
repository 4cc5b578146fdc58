import numpy as np
import pytest
from scipy import ndimage

from cleave.masks.dino_seg import DinoSeg
from cleave.ops.attention import keep_mass
from cleave.spec import ConfigError
from cleave.types import FeatureMap, Image, Scene, Size


def scene_of(attention):
    """A Scene of this CLS attention, (heads, h, w), on an image of one pixel a patch."""
    heads, h, w = attention.shape
    size = Size(h, w)
    features = FeatureMap(
        {"key": np.zeros((h, w, 1), np.float32)},
        size,
        size,
        1,
        attention=np.asarray(attention, np.float32),
        heads=heads,
    )
    return Scene(Image("attention", np.zeros((h, w, 3), np.uint8)), features=features)


def keep_mass_naive(attention, mass):
    """Patches from the largest on until they hold `mass`; all of the last one's value."""
    values = sorted(attention.ravel(), reverse=True)
    held = 0.0
    for value in values:
        held += value
        if held >= mass * attention.sum() * (1 - 1e-12):
            return attention >= value
    return np.ones_like(attention, bool)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("mass", [0.1, 0.6, 0.75, 1.0])
def test_mass_is_kept_from_the_largest_on(seed, mass):
    rng = np.random.default_rng(seed)
    maps = rng.random((3, rng.integers(1, 6), rng.integers(1, 6)))
    maps[1] = rng.integers(0, 4, maps[1].shape)  # ties
    expected = [keep_mass_naive(attention, mass) for attention in maps]
    np.testing.assert_array_equal(keep_mass(maps, mass), expected)


@pytest.mark.parametrize(
    ("mass", "kept"), [(0.4, [4]), (0.41, [3, 4]), (0.7, [3, 4]), (0.71, [2, 3, 4])]
)
def test_four_patches_by_hand(mass, kept):
    attention = np.array([[1.0, 4.0], [3.0, 2.0]])
    assert sorted(attention[keep_mass(attention, mass)]) == kept


def test_the_largest_component_of_each_head_is_a_mask():
    maps = np.full((2, 3, 6), 0.01)
    maps[0, 0, :2] = maps[0, 2, 3:6] = 1.0  # two parts, the second larger
    maps[1, :, 0] = 1.0
    found = DinoSeg(mass=0.9)(scene_of(maps))
    assert found.masks[0].astype(int).tolist() == [[1, 0, 0, 0, 0, 0]] * 3
    assert found.masks[1].astype(int).tolist() == [[0] * 6, [0] * 6, [0, 0, 0, 1, 1, 1]]
    np.testing.assert_allclose(found.scores, [3 / 3.15, 3 / 5.13], rtol=1e-6)
    both = DinoSeg(mass=0.9, parts="all", head=0)(scene_of(maps))
    assert both.areas.tolist() == [3, 2]
    whole = DinoSeg(mass=0.9, parts="whole", head=0)(scene_of(maps))
    assert whole.areas.tolist() == [5]
    np.testing.assert_allclose(whole.scores, [5 / 5.13], rtol=1e-6)


def test_the_last_component_counts_too():
    """LOST's code chooses among all components but the last."""
    maps = np.zeros((1, 1, 7))
    maps[0, 0, [0, 3, 4, 5]] = 1.0
    assert ndimage.label(maps[0] > 0)[1] == 2
    assert np.flatnonzero(DinoSeg()(scene_of(maps)).masks).tolist() == [3, 4, 5]


def test_the_mean_of_the_heads_is_one_map():
    maps = np.array([[[3.0, 1.0, 0.0, 0.0]], [[3.0, 0.0, 1.0, 0.0]]])
    found = DinoSeg(heads="mean", mass=0.75)(scene_of(maps))
    assert np.flatnonzero(found.masks).tolist() == [0]
    assert found.scores.tolist() == [0.75]


def test_of_two_heads_that_agree_one_mask_is_left():
    maps = np.zeros((3, 4, 4))
    maps[0, :2, :2], maps[1, :2, :3], maps[2, 3, 3] = 1.0, 1.0, 1.0
    shown = scene_of(maps + 0.001)
    found = DinoSeg(mass=0.9)(shown)
    assert found.areas.tolist() == [6, 1] or found.areas.tolist() == [1, 6]
    assert dict(found.notes)["doubles"] == 1
    assert len(DinoSeg(mass=0.9, overlap=1.0)(shown)) == 3


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_flat_attention_shows_nothing(value):
    assert len(DinoSeg()(scene_of(np.full((2, 3, 3), value)))) == 0


def test_features_without_attention_are_refused():
    features = FeatureMap({"key": np.ones((2, 2, 1), np.float32)}, Size(2, 2), Size(2, 2), 1)
    shown = Scene(Image("none", np.zeros((2, 2, 3), np.uint8)), features=features)
    with pytest.raises(ConfigError, match="dino_seg needs the CLS token's attention"):
        DinoSeg()(shown)


def test_a_head_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="head: 4 of 3; valid are 0 to 2"):
        DinoSeg(head=4)(scene_of(np.ones((3, 2, 2))))
    with pytest.raises(ConfigError, match="head 4 has no effect"):
        DinoSeg(head=4, heads="mean")
