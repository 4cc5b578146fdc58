"""The rotary ViT: its positions against a naive twin, its facets against its own definition."""

from __future__ import annotations

import cmath
import math

import pytest

torch = pytest.importorskip("torch")

from cleave.pretrain.config import Architecture  # noqa: E402
from cleave.pretrain.model import RotaryVit, attend, patchify, rotate, rotation  # noqa: E402
from cleave.spec import ConfigError  # noqa: E402
from cleave.types import DataError, Size  # noqa: E402

SMALL = Architecture(patch=4, dim=24, depth=3, heads=2)


@pytest.fixture(scope="module")
def vit() -> RotaryVit:
    torch.manual_seed(0)
    return RotaryVit(SMALL).eval()


def noise(*shape: int, seed: int = 0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def naive_rotate(x, grid: Size, period: float, scale: float):
    """Complex multiplication, one number at a time."""
    out, pairs = x.clone(), x.shape[-1] // 2
    for token in range(1, x.shape[2]):
        row, column = divmod(token - 1, grid.width)
        centres = (2 * row + 1) / grid.height - 1, (2 * column + 1) / grid.width - 1
        for pair in range(pairs):
            axis, k = divmod(pair, pairs // 2)
            turn = cmath.exp(2j * math.pi * scale * centres[axis] / period ** (k / (pairs // 2)))
            for b in range(x.shape[0]):
                for head in range(x.shape[1]):
                    u, v = x[b, head, token, pair], x[b, head, token, pair + pairs]
                    z = complex(u, v) * turn
                    out[b, head, token, pair], out[b, head, token, pair + pairs] = z.real, z.imag
    return out


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_rotation_equals_its_naive_twin(scale):
    grid = Size(3, 2)
    x = noise(2, 2, 1 + 6, 8) - 0.5
    expected = naive_rotate(x, grid, 100.0, scale)
    assert torch.allclose(rotate(x, rotation(grid, 8, 100.0, scale)), expected, atol=1e-5)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_attention_equals_its_naive_twin(dtype, near):
    query, key, value = (noise(2, 3, 5, 8, seed=s) * 4 - 2 for s in range(3))
    expected = torch.empty(2, 3, 5, 8)
    for b, head, token in ((b, h, t) for b in range(2) for h in range(3) for t in range(5)):
        scores = [float(query[b, head, token] @ key[b, head, k]) / math.sqrt(8) for k in range(5)]
        weights = torch.tensor(scores).softmax(0)
        expected[b, head, token] = sum(weights[k] * value[b, head, k] for k in range(5))
    found = attend(query.to(dtype), key.to(dtype), value.to(dtype))
    assert found.dtype == dtype
    assert torch.allclose(found.float(), expected, atol=near)


def test_scores_depend_on_the_offset_alone():
    by = rotation(Size(4, 5), 8, 100.0)
    query, key = (noise(1, 1, 1, 8, seed=s).expand(1, 1, 21, 8) for s in (1, 2))
    scores = (rotate(query, by) @ rotate(key, by).transpose(2, 3))[0, 0, 1:, 1:]
    scores = scores.reshape(4, 5, 4, 5)
    assert torch.allclose(scores[0, 0, 1, 2], scores[2, 2, 3, 4], atol=1e-5)
    assert not torch.allclose(scores[0, 0, 1, 2], scores[0, 0, 2, 2], atol=1e-3)


def test_default_architecture_has_the_promised_size():
    assert sum(p.numel() for p in RotaryVit(Architecture()).parameters()) == 5_380_800


def test_patchify_is_row_major():
    pixels = torch.arange(3 * 4 * 6, dtype=torch.float32).reshape(1, 3, 4, 6)
    patches = patchify(pixels, 2)
    assert patches.shape == (1, 6, 12)
    assert torch.equal(patches[0, 4], pixels[0, :, 2:4, 2:4].reshape(-1))


def test_facets_of_the_last_block_agree_with_encode(vit):
    pixels = noise(2, 3, 12, 20)
    facets = vit(pixels)
    encoded = vit.encode(pixels, vit.positions(Size(3, 5)))
    last = facets[2]
    assert sorted(facets) == [0, 1, 2]
    assert last.key.shape == last.token.shape == (2, 15, 24)
    assert torch.allclose(last.token, encoded[:, 1:], atol=1e-5)
    assert torch.allclose(last.cls, encoded[:, 0], atol=1e-5)
    assert torch.equal(vit(pixels, blocks=[1])[1].key, facets[1].key)


def test_attention_is_the_softmax_over_all_tokens(vit):
    pixels, by = noise(1, 3, 8, 8), vit.positions(Size(2, 2))
    x = vit.embed_patches(pixels, None)
    query, key, _ = vit.blocks[0].project(x)
    query, key = rotate(query, by), rotate(key, by)
    scores = torch.einsum("hc,htc->ht", query[0, :, 0], key[0]) / math.sqrt(12)
    expected = scores.softmax(1)[:, 1:]
    assert torch.allclose(vit(pixels, blocks=[0])[0].attention[0], expected, atol=1e-6)


def test_all_patches_kept_is_no_masking_and_order_does_not_matter(vit):
    pixels, by = noise(2, 3, 8, 12), vit.positions(Size(2, 3))
    order = torch.stack(
        [torch.randperm(6, generator=torch.Generator().manual_seed(s)) for s in (1, 2)]
    )
    full = vit.encode(pixels, by)
    kept = vit.encode(pixels, by, kept=order)
    expected = full[:, 1:].gather(1, order[..., None].expand(-1, -1, 24))
    assert torch.allclose(kept[:, 1:], expected, atol=1e-5)


def test_masked_patches_cannot_be_seen(vit):
    pixels, by = noise(1, 3, 8, 8), vit.positions(Size(2, 2))
    masked = torch.tensor([[True, False, False, False]])
    changed = pixels.clone()
    changed[..., :4, :4] = 0
    outputs = [vit.encode(p, by, masked=masked) for p in (pixels, changed)]
    assert torch.equal(*outputs)
    assert not torch.allclose(vit.encode(pixels, by), vit.encode(changed, by), atol=1e-4)


def test_bad_input_is_refused(vit):
    with pytest.raises(DataError, match="multiples of 4, got 9x8"):
        vit(noise(1, 3, 9, 8))
    with pytest.raises(DataError, match="some of 0 to 2"):
        vit(noise(1, 3, 8, 8), blocks=[3])
    with pytest.raises(ConfigError, match="multiple of 4"):
        Architecture(dim=20, heads=2)
