"""Resize, flip, colours and trust of one image, and the augmentation of a whole batch."""

from __future__ import annotations

import warnings
from dataclasses import replace

import augment_twins as twins
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from cleave.ops import resample  # noqa: E402
from cleave.ops.draws import generator  # noqa: E402
from cleave.spec import ConfigError, build, to_mapping  # noqa: E402
from cleave.training import transforms  # noqa: E402
from cleave.training.augment import augment  # noqa: E402
from cleave.training.augment_settings import Augment  # noqa: E402
from cleave.training.samples import Sample  # noqa: E402
from cleave.types import Size  # noqa: E402

sides = st.integers(1, 12)
seeds = st.integers(0, 10_000)
SMALL = Augment(short_sides=(6, 9), max_side=16)


def random_sample(rng, height=8, width=10, count=2, grid=(3, 4)):
    masks = rng.random((count, height, width)) < 0.4
    masks[:, height // 2, width // 2] = True
    return Sample(
        rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
        masks,
        rng.random(count).astype(np.float32),
        rng.integers(0, 3, count),
        rng.random((count, *grid)).astype(np.float16),
    )


def batch(count=4, seed=0, **fields):
    rng = np.random.default_rng(seed)
    return [random_sample(rng, 8 + k, 10, 1 + k % 3, **fields) for k in range(count)]


def example(rng, *args, **fields):
    return transforms.to_device(random_sample(rng, *args, **fields), "cpu")


def run(samples, how, step=0, slots=None, seed=0):
    slots = range(len(samples)) if slots is None else slots
    return augment(samples, how, "cpu", seed=seed, step=step, slots=slots)


def same(one, other):
    images = all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))
    return images and all(
        torch.equal(a.masks, b.masks) and torch.equal(a.boxes, b.boxes) and same_trust(a, b)
        for a, b in zip(one[1], other[1], strict=True)
    )


def same_trust(a, b):
    return a.trust is b.trust is None or torch.equal(a.trust, b.trust)


@settings(max_examples=60, deadline=None)
@given(seeds, sides, sides, sides, sides)
def test_resizes_equal_their_naive_twins(seed, height, width, new_height, new_width):
    rng = np.random.default_rng(seed)
    found = example(rng, height, width)
    size = Size(new_height, new_width)
    masks = transforms.resize_masks(found.masks, size).numpy()
    expected = [twins.nearest(mask, *size) for mask in found.masks.numpy()]
    np.testing.assert_array_equal(masks, expected)
    np.testing.assert_array_equal(masks, resample.upsample_nearest(found.masks.numpy(), size))
    for prefilter, twin in ((False, twins.bilinear), (True, twins.prefiltered)):
        pixels = transforms.resize_pixels(found.pixels, size, prefilter=prefilter)
        expected = [twin(channel, *size) for channel in found.pixels.double().numpy()]
        np.testing.assert_allclose(pixels, expected, atol=2e-3)
    resized = transforms.resize(found, size)
    np.testing.assert_allclose(resized.pixels, expected, atol=2e-3)
    np.testing.assert_array_equal(resized.masks, masks)


def test_the_resize_of_pixels_is_pillows():
    from PIL import Image as pillow

    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    expected = pillow.fromarray(pixels).resize((13, 17), pillow.Resampling.BILINEAR)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    found = transforms.resize_pixels(tensor, Size(17, 13), prefilter=True)
    assert float((found - torch.from_numpy(np.array(expected)).permute(2, 0, 1)).abs().max()) <= 1


@settings(max_examples=60, deadline=None)
@given(seeds, sides, sides, st.floats(0, 1))
def test_trust_of_pixels_equals_its_naive_twin(seed, height, width, floor):
    found = example(np.random.default_rng(seed), height, width, 3)
    spread = transforms.spread(found.trust, found.masks, floor)
    grids = found.trust.double().numpy()
    pairs = zip(grids, found.masks.numpy(), strict=True)
    np.testing.assert_allclose(spread, [twins.spread(g, m, floor) for g, m in pairs], atol=1e-5)
    assert floor - 1e-6 <= float(spread.min()) <= float(spread.max()) <= 1
    assert (spread[~found.masks] == 1).all()
    areas = transforms.area_trust(found.masks, floor).flatten()
    np.testing.assert_allclose(areas, twins.area_trust(found.masks.numpy(), floor), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(seeds, sides, sides)
def test_a_flip_is_its_own_inverse_and_trust_follows(seed, height, width):
    found = example(np.random.default_rng(seed), height, width)
    once = transforms.flip(found)
    twice = transforms.flip(once)
    for name in ("pixels", "masks", "scores", "labels", "trust"):
        assert torch.equal(getattr(twice, name), getattr(found, name))
    before = transforms.spread(found.trust, found.masks, 0.2)
    after = transforms.spread(once.trust, once.masks, 0.2)
    np.testing.assert_allclose(after, before.flip(2), atol=1e-6)
    left, right = transforms.boxes_of(found.masks)[:, 0], transforms.boxes_of(once.masks)[:, 2]
    assert torch.equal(left, width - right)


@pytest.mark.parametrize("size", [(480, 640), (333, 500), (100, 1000), (1, 7), (7, 1)])
@pytest.mark.parametrize("short", [240, 800, 1024])
def test_sizes_are_those_of_resize_shortest_edge(size, short):
    how = Augment(short_sides=(short,))
    found = transforms.target_size(Size(*size), how, 0.99)
    assert found == twins.short_side(size, short, 1333)
    assert max(found) <= 1333


def test_every_short_side_is_drawn_from_list_and_from_range():
    size, places = Size(100, 150), np.linspace(0, 1, 1000, endpoint=False)
    listed = Augment(short_sides=(50, 60, 70))
    found = [transforms.target_size(size, listed, place).height for place in places]
    assert {side: found.count(side) for side in found} == {50: 334, 60: 333, 70: 333}
    ranged = Augment(short_sides=(50, 53), sampling="range")
    found = {transforms.target_size(size, ranged, place).height for place in places}
    assert found == {50, 51, 52, 53}
    assert transforms.target_size(size, Augment(short_sides=()), 0.5) == size


def test_colours_of_neutral_factors_change_nothing_and_each_factor_does_its_own():
    pixels = torch.rand(3, 5, 6, generator=generator(0)) * 255
    assert torch.allclose(transforms.colours(pixels, 1, 1, 1), pixels, atol=1e-3)
    half = transforms.colours(pixels, 0.5, 1, 1)
    assert torch.allclose(half, pixels / 2, atol=1e-3)
    weights = torch.tensor(transforms.GREY)[:, None, None]
    luma = (pixels * weights).sum(0)
    flat = transforms.colours(pixels, 1, 0, 1)
    assert torch.allclose(flat, luma.mean().expand(3, 5, 6), atol=1e-3)
    grey = transforms.colours(pixels, 1, 1, 0)
    assert torch.allclose(grey, luma.expand(3, 5, 6), atol=1e-3)
    bright = transforms.colours(pixels, 2, 2, 2)
    assert 0 <= float(bright.min()) < float(bright.max()) <= 255


@settings(max_examples=60, deadline=None)
@given(seeds, sides, sides, st.sampled_from(["none", "spatial", "area"]))
def test_what_holds_of_every_batch(seed, height, width, trust):
    how = replace(SMALL, trust=trust, jitter=0.4)
    rng = np.random.default_rng(seed)
    samples = [random_sample(rng, height, width), random_sample(rng), random_sample(rng, 3, 1, 1)]
    images, targets = run(samples, how, seed=seed)
    for sample, image, found in zip(samples, images, targets, strict=True):
        size = tuple(image.shape[1:])
        valid = {twins.short_side(sample.pixels.shape[:2], side, 16) for side in (6, 9)}
        assert size in valid
        assert image.dtype == torch.float32
        assert 0 <= float(image.min()) <= float(image.max()) <= 255
        assert found.masks.shape == (len(found), *size)
        assert found.masks.dtype == torch.bool
        assert found.masks.flatten(1).any(1).all()
        assert found.boxes.tolist() == [twins.box(mask) for mask in found.masks.numpy()]
        assert (found.scores.dtype, found.labels.dtype) == (torch.float32, torch.int64)
        assert (found.trust is None) == (trust == "none")
        if trust != "none" and len(found):
            assert 0.5 <= float(found.trust.min()) <= float(found.trust.max()) <= 1


def test_a_batch_is_a_function_of_seed_step_and_slots():
    how = replace(SMALL, trust="spatial", blend="trust", select="trust", jitter=0.3)
    samples = batch()
    first = run(samples, how)
    assert same(first, run(samples, how))
    assert not same(first, run(samples, how, step=1))
    assert not same(first, run(samples, how, seed=1))
    assert not same(first, run(samples, how, slots=range(4, 8)))


def test_without_pasting_micro_batches_see_what_the_whole_batch_sees():
    how = replace(SMALL, copy_paste=0.0, jitter=0.3)
    samples = batch(8)
    whole = run(samples, how)
    halves = [run(samples[s : s + 4], how, slots=range(s, s + 4)) for s in (0, 4)]
    assert same(whole, (halves[0][0] + halves[1][0], halves[0][1] + halves[1][1]))


def test_sizes_flips_and_colours_are_the_same_with_and_without_pasting():
    plain = replace(SMALL, copy_paste=0.0, jitter=0.3)
    bare, pasted = run(batch(), plain), run(batch(), replace(plain, copy_paste=1.0))
    for image, found, other, more in zip(*bare, *pasted, strict=True):
        assert image.shape == other.shape
        new = more.masks[len(more) - 2 :].any(0)  # no image has more than two pasted masks
        assert torch.equal(image[:, ~new], other[:, ~new])
        assert torch.equal(found.masks.any(0) | new, more.masks.any(0))
    assert any(len(a) != len(b) for a, b in zip(bare[1], pasted[1], strict=True))


def test_the_source_is_the_image_at_the_mirrored_place():
    samples = batch(4)
    marked = [replace(s, labels=np.full(len(s.masks), k)) for k, s in enumerate(samples)]
    how = Augment(short_sides=(), flip=0.0, overlap=1.0, ratio=(0.9, 1.0))
    labels = [set(found.labels.tolist()) for found in run(marked, how)[1]]
    for place, found in enumerate(labels):
        assert found <= {place, 3 - place}
    assert any(len(found) == 2 for found in labels)
    alone = run(marked[:1], how)[1][0]
    assert set(alone.labels.tolist()) == {0}


def test_flip_and_jitter_come_as_often_as_asked():
    rng = np.random.default_rng(0)
    samples = [replace(random_sample(rng, 2, 2, 1), trust=None)] * 400
    how = Augment(short_sides=(), copy_paste=0.0, flip=0.3, jitter=0.5, jitter_probability=0.6)
    plain = torch.from_numpy(samples[0].pixels).permute(2, 0, 1).float()
    images, _ = run(samples, replace(how, jitter=0.0))
    assert np.mean([torch.equal(i, plain.flip(2)) for i in images]) == pytest.approx(0.3, abs=0.06)
    images, _ = run(samples, replace(how, flip=0.0))
    assert np.mean([torch.equal(i, plain) for i in images]) == pytest.approx(0.4, abs=0.06)


def test_masks_without_maps_are_trusted_everywhere():
    samples = [replace(sample, trust=None) for sample in batch()]
    _, targets = run(samples, replace(SMALL, trust="spatial", blend="trust", select="trust"))
    assert all(torch.allclose(found.trust, torch.ones(())) for found in targets)


def test_masks_that_the_resize_makes_vanish_are_dropped():
    sample = random_sample(np.random.default_rng(0), 40, 40, 2)
    sample.masks[1] = False
    sample.masks[1, 1, 1] = True
    _, (found,) = run([sample], Augment(short_sides=(4,), copy_paste=0.0, trust="spatial"))
    assert len(found) == 1
    gone = replace(sample, masks=sample.masks[1:], scores=sample.scores[1:],
                   labels=sample.labels[1:], trust=sample.trust[1:])  # fmt: skip
    _, targets = run([gone, gone], Augment(short_sides=(4,), trust="area"))
    assert [len(found) for found in targets] == [0, 0]


def test_pixels_that_may_not_be_written_to_are_taken_silently():
    sample = random_sample(np.random.default_rng(0))
    sample.pixels.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run([sample], SMALL)


def test_autocast_changes_nothing():
    how = replace(SMALL, trust="spatial", blend="trust", select="trust")
    plain = run(batch(), how)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert same(plain, run(batch(), how))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_the_cpu_gives():
    how = replace(SMALL, trust="spatial", blend="trust", select="trust", jitter=0.3)
    plain = run(batch(), how)
    images, targets = augment(batch(), how, "cuda", seed=0, step=0, slots=range(4))
    for image, other, found, expected in zip(images, plain[0], targets, plain[1], strict=True):
        assert torch.allclose(image.cpu(), other, atol=0.01)
        assert torch.equal(found.masks.cpu(), expected.masks)
        assert torch.allclose(found.trust.cpu(), expected.trust, atol=1e-5)
        assert torch.equal(found.boxes.cpu(), expected.boxes)


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"select": "trust"}, "select: trust needs a source"),
        ({"blend": "trust"}, "blend: trust needs a source"),
        ({"ratio": [0.0, 1.0]}, "ratio: expected 0 < first"),
        ({"ratio": [0.9, 0.3]}, "ratio: expected 0 < first"),
        ({"sampling": "range"}, "short_sides: sampling range needs two"),
        ({"sampling": "range", "short_sides": [9, 3]}, "the smaller first"),
        ({"short_sides": [0]}, "short_sides"),
        ({"flip": 1.5}, "flip"),
        ({"flips": 1.0}, "did you mean 'flip'"),
    ],
)
def test_bad_settings_are_refused(section, text):
    with pytest.raises(ConfigError, match=text):
        build(Augment, section, "augment")


def test_defaults_are_cutlers_and_survive_a_round_trip():
    how = build(Augment, {}, "augment")
    assert how == Augment()
    assert build(Augment, to_mapping(how), "augment") == how
    assert (how.copy_paste, how.ratio, how.copies, how.max_side) == (
        1.0,
        (0.3, 1.0),
        "random",
        1333,
    )


def test_scalar_trust_is_the_mean_of_the_map_over_the_mask():
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, :4], masks[1, 6:, 2:5] = True, True
    maps = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
    found = transforms.scalar_trust(maps, masks, 0.5)
    pixels = transforms.spread(maps, masks, 0.5)
    for k in range(2):
        values = [pixels[k, y, x] for y in range(8) for x in range(8) if masks[k, y, x]]
        assert found[k].item() == pytest.approx(float(sum(values) / len(values)))
    assert found.shape == (2, 1, 1)
