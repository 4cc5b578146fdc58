"""benchmarks.published: every number has a source, and a name of ours only where it is the same."""

import pytest

from cleave.benchmarks import published


def test_every_number_has_its_source_and_status():
    assert len(published.rows()) == 807
    for row in published.rows():
        assert row.source
        assert row.method
        assert row.status in ("published", "inferred", "second-hand")
        assert row.task in ("box", "mask", "semantic")
        assert row.value == pytest.approx(float(row.value))


def test_lookup():
    found = published.lookup("COCO val2017", "mask", "AP50")
    values = {(row.method, row.backbone, row.source): row.value for row in found}
    assert values["CutLER", "DINO", "CutS3D arXiv 2411.16319 Table 1"] == 18.9
    assert {(row.dataset, row.task, row.metric) for row in found} == {
        ("COCO val2017", "mask", "AP50")
    }
    assert published.lookup("no such data set") == ()
    assert len(published.lookup("COCO val2017")) > len(found)


def test_data_sets():
    names = published.datasets()
    assert {"COCO val2017", "COCO20k", "VOC07"} <= set(names)
    assert "-" not in names
    assert all(published.lookup(name) for name in names)


def test_our_name_only_where_the_metric_is_the_same():
    names = {(row.task, row.metric): published.our_name(row) for row in published.rows()}
    assert names["mask", "AP50"] == "mask_AP50"
    assert names["box", "AR100"] == "box_AR100"
    assert names["box", "CorLoc"] == "CorLoc"
    assert names["box", "AR"] is None  # of unknown cap
    assert names["semantic", "mIoU_clustering_21cls"] is None
    assert names["mask", "AP50 (class-aware multi-object)"] is None
    assert names["mask", "AR1000"] == "mask_AR1000"
