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
    assert names["mask", "AR_S"] is None  # none of them is at 100 detections


def test_references_are_the_networks_that_ours_are_compared_with():
    found = {reference.name: reference for reference in published.references("COCO val2017")}
    cutler = found["CutLER, DINO, IN1K"]
    assert cutler.protocol == "detector"
    assert cutler.values["box_AP"] == 12.3  # of Table 1; Table 2 has 12.5
    assert cutler.values["box_AR100"] == 32.7  # of the model zoo, whose cascade is the same network
    assert found["MaskCut, DINO ViT-B/8 ?"].protocol == "pseudo-masks"
    assert not any("FreeSOLO" in name or "HASSOD" in name for name in found)
    assert published.references("no such data set") == ()


@pytest.mark.parametrize(
    "dataset", ["COCO val2017", "COCO20k", "LVIS", "VOC07", "Objects365", "OpenImages", "KITTI"]
)
def test_every_set_of_the_papers_has_the_three_methods(dataset):
    methods = {reference.name.split(",")[0] for reference in published.references(dataset)}
    assert {"CutLER", "CuVLER", "CutS3D"} <= methods


def test_two_names_of_one_network_have_one_number():
    """Else the first would hide the second."""
    zoo = [row for row in published.rows() if row.method == "CutLER (Cascade Mask R-CNN)"]
    assert zoo
    for row in zoo:
        others = {
            other.value
            for other in published.lookup(row.dataset, row.task, row.metric)
            if (other.method, other.backbone, other.train_data) == ("CutLER", "DINO", "IN1K")
            and other.source.startswith("CutS3D arXiv 2411.16319 Table")
        }
        assert others <= {row.value}
