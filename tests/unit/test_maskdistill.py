import numpy as np
import pytest
from mask_twins import FOUR, flood
from test_diffusion import diffuse_naive

from cleave.masks.maskdistill import MaskDistill
from cleave.spec import ConfigError
from cleave.types import FeatureMap, Image, Scene, Size

HEADS, WIDTH = 3, 4


def scene_of(keys, query=None, heads=HEADS, attention=None, facet="key"):
    """A Scene of these keys, (h, w, C), on an image of one pixel a patch."""
    size = Size(*keys.shape[:2])
    features = FeatureMap(
        {facet: keys.astype(np.float32)},
        size,
        size,
        1,
        heads=heads,
        attention=attention,
        cls_query=None if query is None else query.astype(np.float32),
    )
    return Scene(Image("maskdistill", np.zeros((*size, 3), np.uint8)), features=features)


def random_case(seed, h=6, w=7):
    """Keys (h, w, C) and the query of CLS, whole numbers: nothing hangs on round-off."""
    rng = np.random.default_rng(seed)
    keys = rng.integers(-3, 4, (h, w, HEADS * WIDTH)) + 0.0
    top, left = rng.integers(0, h - 2), rng.integers(0, w - 2)
    keys[top : top + 3, left : left + 4] += rng.integers(-3, 4, HEADS * WIDTH)
    return keys, rng.integers(-3, 4, HEADS * WIDTH) + 0.0


def mass_naive(scores, mass):
    """util.py:234-247 in words: from the smallest up, what lies in the last `mass` of the sum."""
    ascending = sorted(range(len(scores)), key=lambda i: scores[i])
    kept, so_far = set(), 0.0
    for i in ascending:
        so_far += scores[i]
        if so_far > (1 - mass) * sum(scores):
            kept |= {j for j in range(len(scores)) if scores[j] >= scores[i]}
    return np.array([s if i in kept else 0.0 for i, s in enumerate(scores)])


def maskdistill_naive(keys, query, m):
    h, w, _ = keys.shape
    flat = keys.reshape(h * w, HEADS, WIDTH)
    heads = m.heads or HEADS
    scores = np.array(
        [np.mean([k[i] @ query.reshape(HEADS, WIDTH)[i] for i in range(heads)]) for k in flat]
    )
    if m.mass is not None and scores.sum() > 0:
        scores = mass_naive(scores, m.mass)
    source, _, field = diffuse_naive(keys.reshape(h * w, -1), scores, m.share, HEADS)
    mask = (field > 0).reshape(h, w)
    start = divmod(source, w)
    if not mask[start]:
        mask = np.zeros_like(mask)
        mask[start] = True
    if m.component:
        part = flood(start, lambda _, q: 0 <= q[0] < h and 0 <= q[1] < w and mask[q], FOUR)
        mask = np.array([[(r, c) in part for c in range(w)] for r in range(h)])
    return mask


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "method",
    [
        MaskDistill(),
        MaskDistill(heads=2, mass=0.5, share=0.2),
        MaskDistill(component=False, mass=0.9, share=1.0),
    ],
    ids=["paper", "code", "whole"],
)
def test_the_mask_is_the_naive_twins(seed, method):
    keys, query = random_case(seed)
    found = method(scene_of(keys, query))
    np.testing.assert_array_equal(found.masks, [maskdistill_naive(keys, query, method)])
    assert found.scores.tolist() == [1.0]


def attention_of(keys, query):
    """(heads, h, w): softmax of CLS's scaled products with all tokens, itself included."""
    logits = (keys * query).reshape(*keys.shape[:2], HEADS, WIDTH).sum(3) / np.sqrt(WIDTH)
    weights = np.exp(np.moveaxis(logits, 2, 0))
    return (weights / (weights.sum((1, 2), keepdims=True) + 1.5)).astype(np.float32)


@pytest.mark.parametrize("seed", range(10))
def test_the_attention_ranks_the_patches_as_the_logits_do(seed):
    keys, query = random_case(seed)
    keys += np.random.default_rng(seed).normal(0, 0.1, keys.shape)  # no ties
    query /= 6  # the least attention is above what float16 holds
    attention = attention_of(keys, query)
    for heads in (None, 2):
        expected = MaskDistill(heads=heads)(scene_of(keys, query))
        shown = scene_of(keys, attention=attention)
        found = MaskDistill(heads=heads, class_scores="attention")(shown)
        np.testing.assert_array_equal(found.masks, expected.masks)


def test_attention_lost_in_storage_ranks_last():
    keys = np.ones((1, 4, HEADS * WIDTH))
    keys[0, :2] = -1
    attention = np.full((HEADS, 1, 4), 1e-5, np.float32)
    attention[0] = [[0, 0.3, 0.3, 0.4]]
    method = MaskDistill(class_scores="attention", share=0.3)
    found = method(scene_of(keys, attention=attention))
    np.testing.assert_array_equal(found.masks, [[[False, False, True, True]]])


def test_patches_that_score_alike_have_no_source():
    keys = np.ones((4, 5, HEADS * WIDTH))
    found = MaskDistill()(scene_of(keys, np.ones(HEADS * WIDTH)))
    assert len(found) == 0
    assert found.notes["carriers"] == 0


def test_a_source_without_a_key_is_alone():
    keys = -np.ones((2, 3, HEADS * WIDTH))
    keys[1, 1] = 0
    found = MaskDistill()(scene_of(keys, np.ones(HEADS * WIDTH)))
    assert found.notes["carriers"] == 0
    assert np.argwhere(found.masks).tolist() == [[0, 1, 1]]


def test_centring_tells_apart_what_is_alike():
    keys = np.full((4, 5, HEADS * WIDTH), 5.0)
    keys[1:3, 1:4] += 1
    shown = scene_of(keys, np.ones(HEADS * WIDTH))
    assert MaskDistill()(shown).masks.all()
    found = MaskDistill(centre=True)(shown)
    np.testing.assert_array_equal(found.masks[0], keys[..., 0] > 5)


@pytest.mark.parametrize(
    ("fields", "shown", "message"),
    [
        ({}, {}, "cls_query: true"),
        ({"class_scores": "attention"}, {}, "cls_attention: true"),
        ({"heads": 4}, {"query": np.ones(HEADS * WIDTH)}, "these features have 3"),
        ({}, {"query": np.ones(5)}, "5 channels, the keys 12"),
        ({}, {"query": np.ones(HEADS * WIDTH), "facet": "token"}, "no 'key'"),
    ],
)
def test_what_features_lack_is_named(fields, shown, message):
    with pytest.raises(ConfigError, match=message):
        MaskDistill(**fields)(scene_of(random_case(0)[0], **shown))


def test_a_share_of_the_mass_needs_logits():
    with pytest.raises(ConfigError, match="mass"):
        MaskDistill(mass=0.5, class_scores="attention")
