"""Boxes, anchors, matching: numbers by hand, and naive twins that loop."""

import math

import pytest

torch = pytest.importorskip("torch")

from cleave.rcnn.anchors import cell_anchors, grid_anchors  # noqa: E402
from cleave.rcnn.boxes import LARGEST_GROWTH, clip, decode, encode, pairwise_iou  # noqa: E402
from cleave.rcnn.matching import match, subsample  # noqa: E402
from cleave.types import Size  # noqa: E402

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def random_boxes(count, seed, side=100.0, least=1.0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand((count, 2), generator=generator) * side
    return torch.cat((corner, corner + least + torch.rand((count, 2), generator=generator) * 30), 1)


def decode_naive(boxes, deltas, weights):
    rows = []
    for (x0, y0, x1, y1), (dx, dy, dw, dh) in zip(boxes.tolist(), deltas.tolist(), strict=True):
        width, height = x1 - x0, y1 - y0
        x = (x0 + x1) / 2 + dx / weights[0] * width
        y = (y0 + y1) / 2 + dy / weights[1] * height
        width *= math.exp(min(dw / weights[2], math.log(1000 / 16)))
        height *= math.exp(min(dh / weights[3], math.log(1000 / 16)))
        rows.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    return torch.tensor(rows)


def iou_naive(a, b):
    left, top, right, bottom = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    common = max(right - left, 0) * max(bottom - top, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if common else 0.0


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), WEIGHTS, (30.0, 30.0, 15.0, 15.0)])
def test_decoding_undoes_encoding(weights):
    boxes, wanted = random_boxes(40, 0), random_boxes(40, 1)
    back = decode(boxes, encode(boxes, wanted, weights), weights)
    torch.testing.assert_close(back, wanted, atol=1e-3, rtol=0)


def test_decoding_is_the_naive_twins():
    boxes = random_boxes(50, 2)
    deltas = torch.randn((50, 4), generator=torch.Generator().manual_seed(3)) * 8
    torch.testing.assert_close(decode(boxes, deltas, WEIGHTS), decode_naive(boxes, deltas, WEIGHTS))


def test_a_code_by_hand():
    """Ten pixels to the right, twice as wide: a shift of half a width and a growth of log 2."""
    code = encode(torch.tensor([[0.0, 0, 20, 10]]), torch.tensor([[0.0, 0, 40, 10]]), WEIGHTS)
    expected = torch.tensor([[10 * 0.5, 0.0, 5 * math.log(2), 0.0]])
    torch.testing.assert_close(code, expected)


def test_growth_is_clamped_and_shrinking_is_not():
    boxes = torch.tensor([[0.0, 0, 16, 16]] * 2)
    deltas = torch.tensor([[0.0, 0, 99, 99], [0, 0, -9, -9]])
    found = decode(boxes, deltas, (1.0, 1.0, 1.0, 1.0))
    sides = found[:, 2:] - found[:, :2]
    torch.testing.assert_close(sides[0], torch.tensor([1000.0, 1000.0]))
    torch.testing.assert_close(sides[1], torch.full((2,), 16 * math.exp(-9)), atol=1e-5, rtol=0)
    assert math.isclose(LARGEST_GROWTH, 4.135166556742356)


@pytest.mark.parametrize("box", [[5.0, 5, 6, 6], [0, 0, 5000, 1], [3, 0, 3.5, 900]])
def test_thin_and_tiny_boxes_have_finite_codes(box):
    boxes, wanted = torch.tensor([[0.0, 0, 512, 256]]), torch.tensor([box], dtype=torch.float32)
    code = encode(boxes, wanted, WEIGHTS)
    assert code.isfinite().all()
    torch.testing.assert_close(decode(boxes, code, WEIGHTS), wanted, atol=1e-2, rtol=1e-5)


def test_iou_is_the_naive_twins():
    a, b = random_boxes(12, 4), random_boxes(9, 5)
    a[0] = torch.tensor([5.0, 5, 5, 9])  # no area
    b[0] = a[0]
    expected = torch.tensor([[iou_naive(x, y) for y in b.tolist()] for x in a.tolist()])
    torch.testing.assert_close(pairwise_iou(a, b), expected)
    assert pairwise_iou(a[:0], b).shape == (0, 9)


def test_boxes_are_clipped_to_height_and_width():
    found = clip(torch.tensor([[-3.0, -4, 50, 60], [5, 6, 7, 8]]), Size(20, 30))
    assert found.tolist() == [[0, 0, 30, 20], [5, 6, 7, 8]]


def test_cell_anchors_by_hand():
    """Ratios are height over width; the area stays."""
    found = cell_anchors(32, (0.5, 1.0, 2.0))
    wide = 32 * math.sqrt(2)
    expected = [
        [-wide / 2, -wide / 4, wide / 2, wide / 4],
        [-16, -16, 16, 16],
        [-wide / 4, -wide / 2, wide / 4, wide / 2],
    ]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_anchors_go_along_rows_and_start_on_the_first_pixel():
    cell = cell_anchors(8, (1.0, 2.0))
    found = grid_anchors(cell, 2, 3, 4).reshape(2, 3, 2, 4)
    torch.testing.assert_close(found[0, 0], cell)
    for row in range(2):
        for column in range(3):
            shift = torch.tensor([4.0 * column, 4.0 * row] * 2)
            torch.testing.assert_close(found[row, column], cell + shift)


def match_naive(iou, low, high, keep_best):
    count = iou.shape[1]
    index, label = [0] * count, [0] * count
    for box in range(count):
        column = iou[:, box].tolist()
        if not column:
            continue
        index[box] = column.index(max(column))
        label[box] = 1 if max(column) >= high else -1 if max(column) >= low else 0
    if keep_best:
        for row in iou.tolist():
            for box, value in enumerate(row):
                if value > 0 and value == max(row):
                    label[box] = 1
    return index, label


@pytest.mark.parametrize("keep_best", [True, False])
@pytest.mark.parametrize("objects", [0, 1, 5])
def test_matching_is_the_naive_twins(objects, keep_best):
    iou = pairwise_iou(random_boxes(objects, 6, side=40), random_boxes(200, 7, side=40))
    iou = (iou * 10).round() / 10  # ties, and none at a threshold
    index, label = match(iou, 0.25, 0.65, keep_best=keep_best)
    expected = match_naive(iou, 0.25, 0.65, keep_best)
    assert (index.tolist(), label.tolist()) == expected


def test_a_best_box_keeps_the_object_that_it_overlaps_most():
    """Both objects like the second box best; it stays the first one's."""
    iou = torch.tensor([[0.1, 0.6], [0.0, 0.4]])
    index, label = match(iou, 0.3, 0.7, keep_best=True)
    assert label.tolist() == [0, 1]
    assert index[1] == 0


def test_an_object_out_of_reach_claims_no_box():
    _, label = match(torch.zeros(1, 4), 0.3, 0.7, keep_best=True)
    assert label.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("objects", "others", "ignored", "expected"),
    [(10, 100, 5, (4, 12)), (2, 100, 0, (2, 14)), (50, 3, 7, (4, 3)), (0, 0, 4, (0, 0))],
)
def test_objects_are_drawn_first_and_background_fills_up(objects, others, ignored, expected):
    labels = torch.tensor([0] * objects + [1] * others + [-1] * ignored)
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    positive, negative = subsample(labels, 16, 0.25, background=1)
    assert (len(positive), len(negative)) == expected
    assert (labels[positive] == 0).all()
    assert (labels[negative] == 1).all()
    assert len(set(positive.tolist())) == len(positive)


def test_the_draw_is_that_of_the_seed():
    labels = torch.tensor([0, 1] * 50)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(torch.cat(subsample(labels, 20, 0.5, 1)).tolist())
    assert draws[0] == draws[1] != draws[2]
