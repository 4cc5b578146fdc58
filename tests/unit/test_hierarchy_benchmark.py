"""AR@1000 by size and by level against pycocotools, and parents on their way to it."""

import dataclasses

import numpy as np
import pytest
from coco_twins import mean, reference
from test_coco_benchmark import SIZE, random_case, rectangles, shifted, truth_of

from cleave.benchmarks.coco import CocoBenchmark
from cleave.benchmarks.hierarchy import CAP, LEVELS, levels_of
from cleave.benchmarks.table import METRICS, build, markdown
from cleave.io.coco import write_masks, write_predictions
from cleave.io.images import ImageRecord
from cleave.io.results import ResultFile
from cleave.types import MaskSet

BENCHMARK = CocoBenchmark(bootstrap=0, hierarchy=True)
CAPS = (1, 100, CAP)


def with_parents(predicted, seed):
    """Random trees: a parent may come before or after its children."""
    rng = np.random.default_rng(seed)
    grown = {}
    for image, found in predicted.items():
        order, parents = rng.permutation(len(found)), np.full(len(found), -1)
        for i in range(1, len(found)):
            parents[order[i]] = rng.choice([-1, order[i - 1], order[i - 1], order[i // 2]])
        grown[image] = dataclasses.replace(found, parents=parents)
    return grown


def level_naive(parents, mask):
    """Steps up to a root."""
    return 0 if parents[mask] < 0 else 1 + level_naive(parents, parents[mask])


def level_alone(predicted, level):
    """What is left when all masks of other levels are gone."""
    left = {}
    for image, found in predicted.items():
        levels = [level_naive(found.parents, i) for i in range(len(found))]
        own = [i for i, n in enumerate(levels) if min(n, LEVELS - 1) == level]
        left[image] = MaskSet(found.size, found.masks[own], found.scores[own])
    return left


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_sizes_equal_pycocotools(seed, ties):
    truths, predicted = random_case(seed, ties=ties)
    found = BENCHMARK(truths, predicted)
    for kind in ("box", "mask"):
        _, recall = reference(truths, predicted, kind, CAPS)
        assert found[f"{kind}_AR1000"] == pytest.approx(mean(recall[:, 0, -1]), abs=1e-9)
        for area, size in enumerate("SML", 1):
            expected = mean(recall[:, area, -1])
            name = f"{kind}_AR1000_{size}"
            assert found.get(name) == (None if expected is None else pytest.approx(expected))


def test_more_than_a_hundred_masks_an_image():
    """What the first hundred miss counts at 1000, in its size bin too."""
    rng = np.random.default_rng(5)
    objects = rectangles(rng, 12)
    masks = np.concatenate([rectangles(rng, 250), shifted(rng, objects)])
    found = MaskSet(SIZE, masks, np.linspace(1, 0, len(masks)))
    truths, predicted = {"a": truth_of(objects)}, {"a": found}
    scores = BENCHMARK(truths, predicted)
    _, recall = reference(truths, predicted, "mask", CAPS)
    for area, end in enumerate(("", "_S", "_M")):
        assert scores[f"mask_AR1000{end}"] == pytest.approx(mean(recall[:, area, -1]))
    assert scores["mask_AR1000"] > scores["mask_AR100"] + 5
    assert all(scores[f"mask_AR1000_{s}"] > scores[f"mask_AR_{s}"] for s in "SM")


@pytest.mark.parametrize("seed", range(3))
def test_levels_equal_pycocotools_on_the_masks_of_each_alone(seed):
    truths, predicted = random_case(seed)
    predicted = with_parents(predicted, seed)
    found = BENCHMARK(truths, predicted)
    counts = []  # of masks
    for level in range(LEVELS):
        alone = level_alone(predicted, level)
        counts.append(sum(map(len, alone.values())))
        assert found[f"masks_per_image_level{level}"] == counts[-1] / len(truths)
        for kind in ("box", "mask"):
            expected = 0.0
            if counts[-1]:
                _, recall = reference(truths, alone, kind, CAPS)
                expected = mean(recall[:, 0, -1])
            assert found[f"{kind}_AR1000_level{level}"] == pytest.approx(expected, abs=1e-9)
    assert min(counts[:3]) > 0
    assert sum(counts) == found["masks_per_image"] * len(truths)


def test_levels_are_steps_to_a_root():
    parents = [-1, 0, 1, 2, 3, -1, 5]
    assert levels_of([{"parent": parent} for parent in parents]).tolist() == [0, 1, 2, 3, 3, 0, 1]
    assert levels_of([{}, {}]).tolist() == [0, 0]
    assert levels_of([]).tolist() == []


def test_parents_come_through_the_files(tmp_path):
    truths, predicted = random_case(1, images=4)
    predicted = with_parents(predicted, 1)
    records = [
        ImageRecord(image, f"{image}.png", *SIZE, number, "")
        for number, image in enumerate(sorted(truths), 1)
    ]
    masks = {r.id: predicted.get(r.id, MaskSet.empty(SIZE)) for r in records}
    write_masks(tmp_path / "m.json", records, masks, spec={}, version=1, dataset={})
    write_predictions([tmp_path / "m.json"], tmp_path / "p.json")
    assert BENCHMARK(truths, ResultFile(tmp_path / "p.json", records)) == BENCHMARK(
        truths, predicted
    )


def test_only_where_it_is_asked_for_and_levels_only_with_parents():
    truths, predicted = random_case(2, images=4)
    plain = CocoBenchmark(bootstrap=20)(truths, with_parents(predicted, 0))
    flat = CocoBenchmark(bootstrap=20, hierarchy=True)(truths, predicted)
    deep = CocoBenchmark(bootstrap=20, hierarchy=True)(truths, with_parents(predicted, 0))
    new = deep.keys() - plain.keys()
    assert {name: deep[name] for name in plain} == plain
    assert {"mask_AR1000_S", "mask_AR1000_M_low", "mask_AR1000_level3_high"} <= new
    assert all("AR1000_" in name or "_level" in name for name in new)
    assert {name for name in new if "level" not in name} == flat.keys() - plain.keys()


def test_1000_masks_are_looked_at_whatever_the_other_caps_are():
    truths, predicted = random_case(3, images=3)
    few = CocoBenchmark(bootstrap=0, hierarchy=True, max_dets=(1,))(truths, predicted)
    assert few["mask_AR1000"] == BENCHMARK(truths, predicted)["mask_AR1000"]


def test_the_table_shows_them():
    truths, predicted = random_case(2, images=4)
    scores = {"deep": BENCHMARK(truths, with_parents(predicted, 0))}
    frame = build([{"of": "deep", "kind": "divide_conquer", "baseline": False}], scores)
    text = markdown(frame, "t")
    for name in ("mask_AR1000_S", "mask_AR1000_level0", "mask_AR1000_level3"):
        assert name in frame
        assert f" {METRICS[name]} |" in text
