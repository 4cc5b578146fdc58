"""Copy-paste: equal to its naive twin, and what must hold of its result whatever is pasted."""

from __future__ import annotations

import augment_twins as twins
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from cleave.ops.draws import generator  # noqa: E402
from cleave.training.augment_settings import Augment  # noqa: E402
from cleave.training.copypaste import Paste, paste, plan, ranking  # noqa: E402
from cleave.training.transforms import (  # noqa: E402
    Example,
    area_trust,
    boxes_of,
    spread,
    with_trust,
)
from cleave.types import Size  # noqa: E402

sides = st.integers(1, 13)
counts = st.integers(0, 4)
seeds = st.integers(0, 10_000)
kinds = st.sampled_from(["none", "trust", "area"])


def random_example(rng, size, count, grid=(3, 4), disjoint=True):
    """Blocks and specks; fewer than `count` where a later block hides an earlier one."""
    masks = np.zeros((count, *size), bool)
    for mask in masks:
        top, left = rng.integers(0, size[0]), rng.integers(0, size[1])
        mask[top : top + rng.integers(1, 8), left : left + rng.integers(1, 8)] = True
        mask &= rng.random(size) < 0.9
        mask[top, left] = True
    for k in range(count if disjoint else 0):
        masks[:k] &= ~masks[k]
    masks = masks[masks.any((1, 2))]
    n = len(masks)
    return Example(
        torch.from_numpy(rng.integers(0, 256, (3, *size)).astype(np.float32)),
        torch.from_numpy(masks),
        torch.from_numpy(rng.random(n).astype(np.float32)),
        torch.from_numpy(rng.integers(0, 5, n)),
        torch.from_numpy(rng.random((n, *grid)).astype(np.float32)),
    )


def as_twin(example):
    grids = None if example.trust is None else example.trust.double().numpy()
    return {
        "pixels": example.pixels.double().numpy(),
        "masks": example.masks.numpy(),
        "scores": example.scores.numpy(),
        "labels": example.labels.numpy(),
        "grids": grids,
    }


def full_trust(example, how):
    if example.trust is None:
        return None
    return spread(example.trust, example.masks, how.trust_floor)


def pasted(target, source, how, seed):
    """What `augment` does with one pair."""
    chosen = plan(len(source), target.size, how, generator(seed))
    trust = full_trust(target, how)
    rank = ranking(source, full_trust(source, how), chosen.order, how)
    return chosen, rank, *paste(target, trust, source, how, chosen, rank)


def pair(rng, *, source_masks, target_masks, how, disjoint=True):
    sizes = rng.integers(1, 14, (2, 2)).tolist()
    target = random_example(rng, sizes[0], target_masks, disjoint=disjoint)
    source = random_example(rng, sizes[1], source_masks, (2, 5), disjoint)
    return with_trust(target, how), with_trust(source, how)


@settings(max_examples=60, deadline=None)
@given(
    seeds, st.integers(1, 4), counts, kinds, st.sampled_from(["spatial", "area"]),
    st.sampled_from(["random", "all"]), st.booleans(), st.sampled_from([0.0, 0.3, 0.5, 1.0]),
)  # fmt: skip
def test_paste_equals_its_naive_twin(seed, n, m, blend, trust, copies, disjoint, overlap):
    how = Augment(
        blend=blend, trust=trust, copies=copies, overlap=overlap, trust_floor=0.4, ratio=(0.2, 1)
    )
    rng = np.random.default_rng(seed)
    target, source = pair(rng, source_masks=n, target_masks=m, how=how, disjoint=disjoint)
    chosen, rank, pixels, found = pasted(target, source, how, seed)
    expected = twins.paste(
        as_twin(target),
        as_twin(source),
        window=(chosen.top, chosen.left, *chosen.size),
        chosen=rank[: chosen.count].tolist(),
        settings=how,
    )
    np.testing.assert_allclose(pixels.numpy(), expected["pixels"], atol=2e-3)
    np.testing.assert_array_equal(
        found.masks.numpy(), np.reshape(expected["masks"], found.masks.shape)
    )
    np.testing.assert_array_equal(found.boxes.numpy(), np.reshape(expected["boxes"], (-1, 4)))
    np.testing.assert_array_equal(found.scores.numpy(), expected["scores"])
    np.testing.assert_array_equal(found.labels.numpy(), expected["labels"])
    np.testing.assert_allclose(
        found.trust.numpy(), np.reshape(expected["trust"], found.trust.shape), atol=1e-5
    )


@settings(max_examples=80, deadline=None)
@given(seeds, st.integers(1, 5), st.sampled_from(["random", "trust", "area", "score"]))
def test_selection_equals_its_naive_twin(seed, n, select):
    how = Augment(select=select, trust="spatial", trust_floor=0.3)
    rng = np.random.default_rng(seed)
    source = random_example(rng, rng.integers(1, 14, 2).tolist(), n)
    order = torch.from_numpy(rng.permutation(len(source)))
    maps = full_trust(source, how)
    expected = twins.rank(
        source.masks.numpy(), source.scores.numpy(), maps.double().numpy(), order.tolist(), select
    )
    assert ranking(source, maps, order, how).tolist() == expected


def test_trusted_masks_go_first_and_equal_ones_at_random():
    masks = torch.zeros(3, 6, 6, dtype=torch.bool)
    masks[0, 0], masks[1, 1:3], masks[2, 4] = True, True, True
    trust = torch.ones(3, 6, 6)
    trust[0] = 0.6
    source = Example(torch.zeros(3, 6, 6), masks, torch.tensor([0.9, 0.2, 0.4]), torch.zeros(3))

    def first(select, order):
        how = Augment(select=select, trust="spatial")
        return ranking(source, trust, torch.tensor(order), how).tolist()

    assert first("trust", [0, 1, 2]) == [1, 2, 0]
    assert first("trust", [2, 0, 1]) == [2, 1, 0]
    assert first("area", [0, 1, 2]) == [1, 0, 2]
    assert first("score", [2, 1, 0]) == [0, 2, 1]
    assert first("random", [2, 0, 1]) == [2, 0, 1]


@settings(max_examples=100, deadline=None)
@given(seeds, counts, counts, kinds, st.booleans())
def test_what_holds_of_every_paste(seed, n, m, blend, everything):
    how = Augment(trust="spatial", blend=blend, copies="all" if everything else "random")
    rng = np.random.default_rng(seed)
    target, source = pair(rng, source_masks=n, target_masks=m, how=how)
    if not len(source):
        assert not plan(0, target.size, how, generator(seed)).wanted
        return
    before = target.pixels.clone(), target.masks.clone(), source.pixels.clone()
    _, _, pixels, found = pasted(target, source, how, seed)
    for kept, now in zip(before, (target.pixels, target.masks, source.pixels), strict=True):
        assert torch.equal(kept, now)  # nothing is changed in place: a source is a target too
    assert pixels.shape == target.pixels.shape
    assert found.masks.shape[1:] == target.masks.shape[1:]
    assert found.masks.flatten(1).any(1).all()
    assert int(found.masks.sum(0).max() if len(found) else 0) <= 1  # disjoint, as before
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 255
    assert found.masks.any(0)[target.masks.any(0)].all()  # a covered object gives way to another
    tight = [twins.box(mask) for mask in found.masks.numpy()]
    assert found.boxes.tolist() == tight
    assert found.trust.shape == found.masks.shape
    assert (found.trust[~found.masks] == 1).all()
    if len(found):
        assert how.trust_floor <= float(found.trust.min()) <= float(found.trust.max()) <= 1
    outside = ~found.masks.any(0)
    assert torch.equal(pixels[:, outside], target.pixels[:, outside])


@settings(max_examples=50, deadline=None)
@given(seeds, counts, counts)
def test_a_paste_is_a_function_of_its_seed(seed, n, m):
    how = Augment()
    rng = np.random.default_rng(seed)
    target, source = pair(rng, source_masks=max(n, 1), target_masks=m, how=how)
    *_, one, first = pasted(target, source, how, seed)
    *_, other, second = pasted(target, source, how, seed)
    assert torch.equal(one, other)
    assert torch.equal(first.masks, second.masks)


def block(size, rows, columns, score=1.0, value=0.0):
    masks = torch.zeros(1, *size, dtype=torch.bool)
    masks[0, rows, columns] = True
    pixels = torch.full((3, *size), value)
    return Example(pixels, masks, torch.tensor([score]), torch.zeros(1, dtype=torch.int64))


def whole(size, top=0, left=0):
    return Paste(True, 1, torch.tensor([0]), size, top, left)


@pytest.mark.parametrize(("width", "dropped"), [(4, False), (5, True), (6, True)])
def test_a_paste_that_covers_half_of_an_object_is_dropped(width, dropped):
    size = Size(10, 10)
    target = block(size, slice(0, 1), slice(0, 10), value=10.0)
    source = block(size, slice(0, 10), slice(0, width), value=200.0)
    pixels, found = paste(target, None, source, Augment(), whole(size), torch.tensor([0]))
    assert len(found) == (1 if dropped else 2)
    assert bool((pixels == target.pixels).all()) == dropped
    if not dropped:
        assert found.boxes.tolist() == [[4, 0, 10, 1], [0, 0, 4, 10]]
        assert pixels[0, 0].tolist() == [200.0] * 4 + [10.0] * 6


def test_two_pastes_may_hide_together_what_neither_hides_alone():
    size = Size(10, 10)
    target = block(size, slice(0, 2), slice(0, 9))
    left, right = block(size, slice(0, 1), slice(0, 10)), block(size, slice(1, 2), slice(0, 10))
    both = Example(
        left.pixels, torch.cat([left.masks, right.masks]), torch.ones(2), torch.zeros(2).long()
    )
    chosen = Paste(True, 2, torch.arange(2), size, 0, 0)
    _, found = paste(target, None, both, Augment(overlap=0.51), chosen, torch.arange(2))
    assert found.boxes.tolist() == [[0, 0, 10, 1], [0, 1, 10, 2]]


def test_the_offset_moves_rows_down_and_columns_right():
    """CutLER adds them the wrong way round to the boxes of an image without objects."""
    target = block(Size(20, 10), slice(0, 0), slice(0, 0))[torch.tensor([], dtype=torch.int64)]
    source = block(Size(4, 4), slice(0, 4), slice(0, 4), value=9.0)
    chosen = whole(Size(4, 4), top=11, left=2)
    pixels, found = paste(target, None, source, Augment(), chosen, torch.tensor([0]))
    assert found.boxes.tolist() == [[2, 11, 6, 15]]
    assert (pixels[0] == 9).nonzero().amin(0).tolist() == [11, 2]


def test_a_mask_does_not_grow_by_the_resize():
    """Bilinear values cast to bool, as CutLER has them, would add a ring of pixels."""
    source = block(Size(16, 16), slice(4, 12), slice(4, 12))
    target = block(Size(32, 32), slice(0, 1), slice(0, 1))
    size = Size(32, 32)
    _, found = paste(target, None, source, Augment(), whole(size), torch.tensor([0]))
    assert found.boxes[1].tolist() == [8, 8, 24, 24]


def test_blending_is_equation_5():
    size = Size(4, 4)
    target = block(size, slice(0, 0), slice(0, 0), value=100.0)
    source = block(size, slice(0, 4), slice(0, 4), value=200.0)
    grid = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    source = Example(source.pixels, source.masks, source.scores, source.labels, grid)
    nothing = target[torch.tensor([], dtype=torch.int64)]
    how = Augment(blend="trust", trust="spatial", trust_floor=0.5)
    pixels, found = paste(nothing, torch.ones(0, 4, 4), source, how, whole(size), torch.tensor([0]))
    # trust by rows: 0, .25, .75, 1 between the centres, raised to .5
    np.testing.assert_allclose(pixels[0, :, 0], [150, 150, 175, 200])
    np.testing.assert_allclose(found.trust[0, :, 0], [0.5, 0.5, 0.75, 1])


def test_trust_by_area_ranks_by_area_between_floor_and_one():
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[0, 0], masks[1, 1:3], masks[2, 3, 0] = True, True, True
    assert area_trust(masks, 0.5).flatten().tolist() == [0.75, 1.0, 0.5625]


@settings(max_examples=100, deadline=None)
@given(seeds, st.integers(0, 9), sides, sides)
def test_a_plan_stays_inside_the_target(seed, masks, height, width):
    how = Augment(ratio=(0.3, 1.0))
    chosen = plan(masks, Size(height, width), how, generator(seed))
    rows, columns = chosen.window
    assert 0 <= rows.start < rows.stop <= height
    assert 0 <= columns.start < columns.stop <= width
    assert sorted(chosen.order.tolist()) == list(range(masks))
    if masks > 1:
        assert 1 <= chosen.count <= masks - 1
    else:
        assert chosen.count == masks


def test_a_plan_reaches_every_count_ratio_and_offset():
    how = Augment(ratio=(0.3, 1.0), copy_paste=0.75)
    plans = [plan(4, Size(40, 20), how, generator(seed)) for seed in range(2000)]
    shares = np.bincount([p.count for p in plans], minlength=5) / len(plans)
    np.testing.assert_allclose(shares, [0, 1 / 3, 1 / 3, 1 / 3, 0], atol=0.04)
    assert {p.size.height for p in plans} == set(range(12, 40))
    assert min(p.top for p in plans) == min(p.left for p in plans) == 0
    assert max(p.top + p.size.height for p in plans) == 40
    assert max(p.left + p.size.width for p in plans) == 20
    assert abs(np.mean([p.wanted for p in plans]) - 0.75) < 0.04
    assert np.mean([p.order[0].item() == 0 for p in plans]) == pytest.approx(0.25, abs=0.04)


def test_offsets_down_and_right_are_independent():
    how = Augment(ratio=(0.5, 0.5))
    plans = [plan(1, Size(200, 200), how, generator(seed)) for seed in range(1000)]
    assert abs(np.corrcoef([p.top for p in plans], [p.left for p in plans])[0, 1]) < 0.12


def test_all_copies_are_all_masks():
    how = Augment(copies="all")
    assert [plan(n, Size(9, 9), how, generator(0)).count for n in (0, 1, 2, 5)] == [0, 1, 2, 5]


def test_masks_of_equal_trust_are_chosen_at_random():
    """Their means differ by the round-off of the resize, which must not decide."""
    how = Augment(select="trust", trust="spatial")
    masks = torch.from_numpy(np.random.default_rng(0).random((5, 67, 91)) < 0.4)
    source = Example(
        torch.zeros(3, 67, 91), masks, torch.zeros(5), torch.zeros(5), torch.full((5, 1, 1), 0.784)
    )
    maps = full_trust(source, how)
    means = torch.where(masks, maps, 0.0).flatten(1).sum(1) / masks.flatten(1).sum(1)
    assert len(set(means.tolist())) > 1
    for seed in range(20):
        order = torch.randperm(5, generator=generator(seed))
        assert torch.equal(ranking(source, maps, order, how), order)


def test_where_pasted_masks_overlap_the_most_opaque_counts():
    size = Size(4, 4)
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :, :3], masks[1, :, 1:] = True, True
    trust = torch.tensor([0.6, 0.9])[:, None, None]
    pixels = torch.full((3, 4, 4), 100.0)
    source = Example(pixels, masks, torch.ones(2), torch.zeros(2).long(), trust)
    nothing = source[torch.tensor([], dtype=torch.int64)]
    nothing = Example(torch.zeros(3, 4, 4), nothing.masks, nothing.scores, nothing.labels)
    how = Augment(blend="trust", trust="spatial")
    chosen = Paste(True, 2, torch.arange(2), size, 0, 0)
    found, _ = paste(nothing, None, source, how, chosen, torch.arange(2))
    np.testing.assert_allclose(found[0, 0], [60, 90, 90, 90], rtol=1e-5)


def test_options_do_not_move_each_others_draws():
    """So two arms of an ablation differ in their option alone."""
    plans = [
        plan(4, Size(40, 20), how, generator(3))
        for how in (Augment(), Augment(copies="all"), Augment(copy_paste=0.0))
    ]
    assert len({(p.size, p.top, p.left, tuple(p.order.tolist())) for p in plans}) == 1


def test_boxes_of_equal_their_twin():
    rng = np.random.default_rng(0)
    masks = rng.random((50, 7, 9)) < 0.06
    masks = masks[masks.any((1, 2))]
    expected = [twins.box(mask) for mask in masks]
    assert boxes_of(torch.from_numpy(masks)).tolist() == expected
    assert boxes_of(torch.zeros(1, 3, 3, dtype=torch.bool)).tolist() == [[0, 0, 0, 0]]
    assert boxes_of(torch.zeros(0, 3, 3, dtype=torch.bool)).shape == (0, 4)
