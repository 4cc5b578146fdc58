"""Which cells learn an object, against loops over levels, instances and cells."""

import math

import pytest

torch = pytest.importorskip("torch")

from solo_samples import scene, targets_of  # noqa: E402

from cleave.solo.settings import Architecture  # noqa: E402
from cleave.solo.targets import assign, centres_of_mass, shrunk  # noqa: E402
from cleave.types import Size  # noqa: E402

FRAME = Size(128, 192)
PARTS = Architecture(
    grids=(10, 8, 6, 5, 4), scale_ranges=((1, 24), (12, 48), (24, 96), (48, 160), (100, 512))
)


def assign_naive(targets, frame, grids, scale_ranges, sigma):
    cells, objects, owners, first = [], [], [], 0
    for grid, (low, high) in zip(grids, scale_ranges, strict=True):
        owner = [-1] * grid**2
        for number in range(len(targets)):
            points = targets.masks[number].nonzero().tolist()
            x0, y0, x1, y1 = targets.boxes[number].tolist()
            if not points or not low <= math.sqrt((x1 - x0) * (y1 - y0)) <= high:
                continue
            centre_y = sum(y for y, _ in points) / len(points)
            centre_x = sum(x for _, x in points) / len(points)
            for row in range(grid):
                for column in range(grid):
                    inside = True
                    for cell, centre, length, side in (
                        (row, centre_y, y1 - y0, frame.height),
                        (column, centre_x, x1 - x0, frame.width),
                    ):
                        low_end = math.floor((centre - sigma * length / 2) / side * grid)
                        high_end = math.floor((centre + sigma * length / 2) / side * grid)
                        middle = math.floor(centre / side * grid)
                        inside &= low_end <= cell <= high_end and abs(cell - middle) <= 1
                    if inside:
                        cells.append(first + row * grid + column)
                        objects.append(number)
                        owner[row * grid + column] = number
        owners += owner
        first += grid**2
    return cells, objects, owners


@pytest.mark.parametrize("sigma", [0.2, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_cells_are_those_of_the_naive_twin(seed, sigma):
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand((12, 4), generator=generator).tolist()
    ellipses = [((y * 120, x * 180), (3 + 50 * a, 3 + 60 * b)) for y, x, a, b in numbers]
    _, targets = scene((120, 180), ellipses)
    arguments = (targets, FRAME, PARTS.grids, PARTS.scale_ranges, sigma)
    found = assign(*arguments)
    cells, objects, owners = assign_naive(*arguments)
    assert found.cells.tolist() == cells
    assert found.objects.tolist() == objects
    assert found.owners.tolist() == owners
    assert len(cells) > 12  # some objects are learned by several levels and cells


def test_of_two_objects_in_a_cell_the_later_gives_the_category_and_both_their_masks():
    _, targets = scene((128, 192), [((60, 90), (20, 20)), ((61, 91), (18, 22))])
    found = assign(targets, FRAME, PARTS.grids, PARTS.scale_ranges, 0.2)
    assert set(found.owners.tolist()) == {-1, 1}
    shared = set(found.cells[found.objects == 0].tolist())
    assert shared & set(found.cells[found.objects == 1].tolist())


def test_an_empty_mask_an_unseen_scale_and_no_object_at_all_teach_no_cell():
    masks = torch.zeros((2, 128, 192), dtype=torch.bool)
    masks[1, 10:12, 10:12] = True
    for targets in (targets_of(masks), targets_of(masks[:0])):
        found = assign(targets, FRAME, (4, 3), ((3, 24), (24, 512)), 0.2)
        assert found.cells.tolist() == found.objects.tolist() == []
        assert found.owners.tolist() == [-1] * 25


def test_a_centre_on_the_line_between_cells_belongs_to_the_later_one():
    """Where float32 and a division by 1 / 40 would say 19, and so 18 to 20 for those around it."""
    masks = torch.zeros((1, 64, 65), dtype=torch.bool)
    masks[0, 30:35, 30:35] = True  # its centre is pixel 32
    found = assign(targets_of(masks), Size(64, 64), (40,), ((1, 512),), 8.0)
    around = [19, 20, 21]
    assert found.cells.tolist() == [row * 40 + column for row in around for column in around]


def test_centres_of_mass_are_mean_pixels():
    masks = torch.zeros((2, 5, 7), dtype=torch.bool)
    masks[0, 1, 2] = masks[0, 3, 5] = True
    centres, seen = centres_of_mass(masks)
    assert centres.tolist() == [[3.5, 2.0], [0.0, 0.0]]
    assert seen.tolist() == [True, False]


def test_a_mask_shrinks_to_what_its_inner_pixels_say():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand((3, 21, 30), generator=generator) > 0.5
    small = shrunk(masks, Size(32, 64))
    assert small.shape == (3, 8, 16)
    for number in range(3):
        for row in range(8):
            for column in range(16):
                covered = 0
                for y in (4 * row + 1, 4 * row + 2):
                    for x in (4 * column + 1, 4 * column + 2):
                        covered += y < 21 and x < 30 and bool(masks[number, y, x])
                assert small[number, row, column] == (covered >= 2)
