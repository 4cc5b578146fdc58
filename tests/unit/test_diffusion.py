"""ops.diffusion against MaskDistill's graphs written out in full."""

import numpy as np
import pytest

from cleave.ops.diffusion import class_scores, diffuse


def diffuse_naive(keys, scores, share, heads):
    """Eq. 2 of arXiv 2206.06363 with all N x N affinities, head by head."""
    n = len(keys)
    split = keys.reshape(n, heads, -1).astype(float)
    affinity = np.array(
        [[sum(a @ b for a, b in zip(split[i], split[j], strict=True)) for j in range(n)]
         for i in range(n)]
    )  # fmt: skip
    best = sorted(range(n), key=lambda i: (-scores[i], i))[: max(1, int(share * n))]
    carriers = [i for i in best if affinity[best[0], i] > 0]
    return best[0], carriers, sum((affinity[i] for i in carriers), np.zeros(n))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.01, 0.4, 1.0])
def test_the_field_is_the_naive_twins(seed, share):
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 30)
    keys = rng.integers(-3, 4, (n, 6)).astype(np.float32)
    scores = rng.integers(-4, 5, n) / 2.0  # with ties
    source, carriers, field = diffuse_naive(keys, scores, share, heads=2)
    found = diffuse(keys, scores, share)
    assert found.source == source
    assert found.carriers.tolist() == carriers
    np.testing.assert_allclose(found.field, field, atol=1e-9)


def test_a_source_without_a_key_carries_nothing():
    found = diffuse(np.zeros((3, 2), np.float32), np.array([0.0, 2.0, 1.0]), 1.0)
    assert found.source == 1
    assert len(found.carriers) == 0
    assert not found.field.any()


def test_class_scores_are_the_mean_over_heads():
    rng = np.random.default_rng(0)
    query, keys = rng.normal(size=12), rng.normal(size=(7, 12))
    expected = [
        np.mean([query[h * 4 : h * 4 + 4] @ key[h * 4 : h * 4 + 4] for h in range(3)])
        for key in keys
    ]
    np.testing.assert_allclose(class_scores(query, keys, 3), expected)
