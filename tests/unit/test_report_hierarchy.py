"""Masks that lie in masks, level by level on the page."""

from pathlib import Path

import numpy as np
import pytest
from report_page import Page
from report_project import make_report, make_results

from cleave import paths
from cleave.io.coco import read_masks, write_masks
from cleave.report.gallery import LEVELS, by_level
from cleave.types import MaskSet, Size

CONFIG = {
    "datasets": {
        "crowded": {"kind": "scenes", "flavour": "crowded", "count": 2, "first_seed": 7300}
        | {"height": 48, "width": 64},
    },
    "features": {"colour": {"size": 64}},
    "graphs": {"colour": {"kind": "cosine", "features": "colour", "rule": "near_far"}},
    "masks": {
        "flat": {"kind": "maskcut", "graphs": "colour", "refine": "none"},
        "deep": {"kind": "tokencut", "graphs": "colour", "refine": "none"},
    },
    "benchmarks": {
        "crowded": {"dataset": "crowded", "masks": ["flat", "deep"], "bootstrap": 5}
        | {"baselines": []}
    },
}


def nested(size):
    """Two roots, two masks in the first, and one in one of these."""
    masks = np.zeros((5, *size), bool)
    for mask, (top, left, height, width) in zip(
        masks,
        ((4, 4, 40, 30), (6, 40, 20, 20), (6, 6, 16, 24), (26, 6, 16, 24), (8, 8, 8, 10)),
        strict=True,
    ):
        mask[top : top + height, left : left + width] = True
    return MaskSet(size, masks, np.ones(5), parents=np.array([-1, -1, 0, 0, 2]))


def with_parents(path):
    """The masks of a section, made a hierarchy in the first image alone."""
    records, found = read_masks(path)
    masks = {r.id: found[r.id] for r in records}
    masks[records[0].id] = nested(Size(48, 64))
    info = found.info
    write_masks(
        path, records, masks, spec=info["spec"], version=info["version"], dataset=info["dataset"]
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The report without a hierarchy, and with one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("levels"))
        summary = make_results(CONFIG).summary()
        plain = Page(make_report(summary).absolute())
        (path,) = Path().glob(paths.MASKS.format(dataset="crowded", masks="deep", shard="*"))
        with_parents(path)
        yield plain, Page(make_report(summary).absolute())


def test_a_row_shows_the_levels_of_a_hierarchy(pages):
    captions = [text for text in pages[1].text("figcaption") if text.startswith("deep:")]
    assert captions == ["deep: roots 2 masks", "deep: level 1 2 masks", "deep: level 2 1 mask"]
    assert "level by level" in " ".join(pages[1].text("p"))


def test_without_a_hierarchy_there_is_no_row(pages):
    assert not any(":" in text for text in pages[0].text("figcaption"))
    assert "level by level" not in " ".join(pages[0].text("p"))


def test_deep_levels_share_the_last_picture():
    found = [{"parent": number - 1, "number": number} for number in range(6)]
    levels = by_level(found)
    assert [[a["number"] for a in level] for level in levels] == [[0], [1], [2], [3, 4, 5]]
    assert len(levels) == len(LEVELS)
    assert [len(level) for level in by_level([{}, {}])] == [2]
    assert by_level([]) == []
