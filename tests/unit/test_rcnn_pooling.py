"""ROIAlign, levels and pasting against slow twins that visit one sample at a time."""

import math

import pytest

torch = pytest.importorskip("torch")

from cleave.rcnn.paste import paste  # noqa: E402
from cleave.rcnn.pooling import crop, levels, pool  # noqa: E402
from cleave.types import Size  # noqa: E402


def bilinear(image, y, x):
    """Value at a point, pixel centres at whole numbers; 0 beyond one pixel outside."""
    height, width = len(image), len(image[0])
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = max(y, 0), max(x, 0)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = (y - top if bottom > top else 0), (x - left if right > left else 0)
    upper = image[top][left] * (1 - u) + image[top][right] * u
    lower = image[bottom][left] * (1 - u) + image[bottom][right] * u
    return upper * (1 - v) + lower * v


def align_naive(image, box, scale, side):
    """ROIAlign, aligned, with as many samples in a cell as it has pixels along each axis."""
    x0, y0, x1, y1 = (c * scale - 0.5 for c in box)
    height, width = (y1 - y0) / side, (x1 - x0) / side
    rows, columns = math.ceil(height), math.ceil(width)
    out = torch.zeros(side, side)
    for i in range(side):
        for j in range(side):
            values = [
                bilinear(
                    image,
                    y0 + height * (i + (a + 0.5) / rows),
                    x0 + width * (j + (b + 0.5) / columns),
                )
                for a in range(rows)
                for b in range(columns)
            ]
            out[i, j] = sum(values) / max(len(values), 1)
    return out


@pytest.mark.parametrize(
    ("side", "level"),
    [(1, 0), (56, 0), (111, 0), (112, 0), (113, 1), (223, 1), (225, 2), (449, 3), (5000, 3)],
)
def test_level_of_a_square(side, level):
    """floor(4 + log2(side / 224)), held between levels 2 and 5; 112 is just short of level 3."""
    expected = min(max(math.floor(4 + math.log2(side / 224 + 1e-8)), 2), 5) - 2
    found = levels(torch.tensor([[3.0, 4, 3 + side, 4 + side]])).item()
    assert found == expected
    assert found == (1 if side == 112 else level)


def test_level_of_boxes_without_area_or_of_a_strange_shape():
    boxes = torch.tensor([[5.0, 5, 5, 5], [0, 0, 4000, 1], [0, 0, 1, 1]])
    assert levels(boxes).tolist() == [0, 0, 0]


def test_pooling_is_the_naive_twins():
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand((2, 2, 64 // 2**k, 96 // 2**k), generator=generator) for k in range(4)]
    boxes = [
        torch.tensor([[3.0, 4, 60, 33], [0, 0, 384, 256], [-5, 100, 20, 250]]),
        torch.tensor([[10.0, 10, 11, 11], [2, 3, 250, 120], [0, 0, 380, 9]]),
    ]
    found = pool(maps, boxes, 3)
    rows = [(image, box) for image, each in enumerate(boxes) for box in each]
    level = levels(torch.cat(boxes)).tolist()
    assert len(set(level)) > 2
    for number, (image, box) in enumerate(rows):
        for channel in range(2):
            source = maps[level[number]][image, channel].tolist()
            expected = align_naive(source, box.tolist(), 1 / (4 * 2 ** level[number]), 3)
            torch.testing.assert_close(found[number, channel], expected, atol=1e-5, rtol=1e-4)


def test_pooling_without_boxes():
    maps = [torch.zeros(2, 5, 8, 8) for _ in range(4)]
    assert pool(maps, [torch.zeros(0, 4), torch.zeros(0, 4)], 7).shape == (0, 5, 7, 7)


def test_a_crop_is_that_of_its_own_object():
    generator = torch.Generator().manual_seed(1)
    masks = torch.rand((3, 20, 30), generator=generator) > 0.5
    boxes = torch.tensor([[2.0, 3, 15, 17], [0, 0, 30, 20], [4.5, 4.5, 5.5, 5.5]])
    index = torch.tensor([2, 0, 0])
    found = crop(masks, boxes, index, 4)
    for row, (box, which) in enumerate(zip(boxes, index, strict=True)):
        expected = align_naive(masks[which].float().tolist(), box.tolist(), 1.0, 4)
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-4)


def paste_naive(mask, box, size, threshold):
    """Every pixel of the image on its own: bilinear between cell centres, zero outside."""
    cells = mask.shape[0]
    x0, y0, x1, y1 = box
    out = torch.zeros(tuple(size), dtype=torch.bool)

    def cell(row, column):
        inside = 0 <= row < cells and 0 <= column < cells
        return mask[row, column].item() if inside else 0.0

    for row in range(size.height):
        for column in range(size.width):
            y = (row + 0.5 - y0) / (y1 - y0) * cells - 0.5
            x = (column + 0.5 - x0) / (x1 - x0) * cells - 0.5
            top, left = math.floor(y), math.floor(x)
            v, u = y - top, x - left
            value = (cell(top, left) * (1 - u) + cell(top, left + 1) * u) * (1 - v) + (
                cell(top + 1, left) * (1 - u) + cell(top + 1, left + 1) * u
            ) * v
            out[row, column] = value >= threshold
    return out


@pytest.mark.parametrize(
    "box",
    [
        [3.3, 4.7, 20.1, 13.9],
        [0.0, 0.0, 25.0, 17.0],  # the whole image
        [-8.0, -3.5, 9.0, 40.0],  # beyond it
        [6.0, 6.0, 7.0, 7.0],  # one pixel
        [0.0, 8.2, 25.0, 8.9],  # thinner than a pixel
    ],
)
def test_pasting_is_the_naive_twins(box):
    generator = torch.Generator().manual_seed(2)
    size = Size(17, 25)
    mask = torch.rand((6, 6), generator=generator)
    found = paste(mask[None], torch.tensor([box]), size)[0]
    assert torch.equal(found, paste_naive(mask, box, size, 0.5))


def test_a_full_mask_fills_its_box():
    found = paste(torch.ones(1, 28, 28), torch.tensor([[2.0, 3, 12, 9]]), Size(20, 20))[0]
    expected = torch.zeros(20, 20, dtype=torch.bool)
    expected[3:9, 2:12] = True
    assert torch.equal(found, expected)


def test_nothing_to_paste():
    assert paste(torch.zeros(0, 28, 28), torch.zeros(0, 4), Size(5, 6)).shape == (0, 5, 6)
