"""What pycocotools says of truths and predictions."""

import contextlib
import io

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cleave.io.coco import encode_annotations


def reference(truths, predicted, kind, caps=(1, 10, 100)):
    """(precision (T, R, A, M), recall (T, A, M)) of pycocotools."""
    images = sorted(truths)
    ground = {
        "info": {},
        "images": [
            {"id": i + 1, "height": truths[image].size.height, "width": truths[image].size.width}
            for i, image in enumerate(images)
        ],
        "categories": [{"id": 1, "name": "fg"}],
        "annotations": [],
    }
    results = []
    for number, image in enumerate(images, 1):
        truth = truths[image]
        for i, segmentation in enumerate(truth.segmentations):
            x0, y0, x1, y1 = truth.boxes[i].tolist()
            ground["annotations"].append(
                {
                    "id": len(ground["annotations"]) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "segmentation": segmentation,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": float(truth.areas[i]),
                    "iscrowd": int(truth.crowd[i]),
                }
            )
        for annotation in encode_annotations(predicted[image]) if image in predicted else []:
            keep = {"box": "bbox", "mask": "segmentation"}[kind]
            results.append(
                {
                    "image_id": number,
                    "category_id": 1,
                    "score": annotation["score"],
                    keep: annotation[keep],
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = ground
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), {"box": "bbox", "mask": "segm"}[kind])
        evaluation.params.maxDets = list(caps)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, 0], evaluation.eval["recall"][:, 0]


def mean(values):
    return 100 * values[values > -1].mean() if (values > -1).any() else None


def expected_scores(truths, predicted, kind):
    caps = (1, 3, 10, 100, 1000)
    precision, recall = reference(truths, predicted, kind, caps)
    at = caps.index(100)
    expected = {
        f"{kind}_AP": mean(precision[:, :, 0, at]),
        f"{kind}_AP50": mean(precision[0, :, 0, at]),
        f"{kind}_AP75": mean(precision[5, :, 0, at]),
    }
    for area, letter in enumerate("SML", 1):
        expected[f"{kind}_AP_{letter}"] = mean(precision[:, :, area, at])
        expected[f"{kind}_AR_{letter}"] = mean(recall[:, area, at])
    return expected | {f"{kind}_AR{cap}": mean(recall[:, 0, m]) for m, cap in enumerate(caps)}
