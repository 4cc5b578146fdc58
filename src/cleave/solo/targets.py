"""Which cells learn which object (SOLO, arXiv 1912.04488, Sec. 3.3.1), and its mask for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cleave.ops.targets import Targets
from cleave.types import Size

STRIDE = 4  # of the maps on which masks are predicted
NEAR = 1  # cells around that of the centre; further ones learn nothing, however large the object


@dataclass(frozen=True)
class Assigned:
    """What the G cells of one image learn, level after level, each row by row.

    A cell that two objects claim learns the category of the later one and the masks of both, as in
    the authors' code.
    """

    cells: Tensor  # (P,) int64 in [0, G): cells that learn a mask, one entry for each of them
    objects: Tensor  # (P,) int64: of which object
    owners: Tensor  # (G,) int64: whose category, or -1 for background


def assign(
    targets: Targets,
    frame: Size,
    grids: Sequence[int],
    scale_ranges: Sequence[tuple[float, float]],
    sigma: float,
) -> Assigned:
    """The cells around the centre of mass of each object, on the levels for its scale.

    A cell is found as floor(position / side * grid). The authors divide by 1 / grid in float32,
    which puts a centre that lies on the line between two cells now into one, now into the other.

    Args:
        targets: of one image.
        frame: of the padded batch, which the grids divide.
        grids, scale_ranges, sigma: see `solo.settings.Architecture`.
    """
    centres, seen = centres_of_mass(targets.masks)
    sides = (targets.boxes[:, 2:] - targets.boxes[:, :2]).double()
    scale = sides.prod(1).sqrt()
    whole = centres.new_tensor([frame.width, frame.height])
    first, cells, objects, owners = 0, [], [], []
    for grid, (low, high) in zip(grids, scale_ranges, strict=True):
        chosen = ((scale >= low) & (scale <= high) & seen).nonzero()[:, 0]
        region = _region(centres[chosen] / whole, sides[chosen] / whole * sigma / 2, grid)
        number, cell = region.nonzero(as_tuple=True)
        cells.append(cell + first)
        objects.append(chosen[number])
        owner = objects[-1].new_full((grid**2,), -1)
        owners.append(owner.scatter_reduce(0, cell, objects[-1], "amax"))  # the later one
        first += grid**2
    return Assigned(torch.cat(cells), torch.cat(objects), torch.cat(owners))


def _region(centres: Tensor, reach: Tensor, grid: int) -> Tensor:
    """(m, grid²) bool: cells of each object's region; arguments (m, 2), shares of the frame."""
    near, far, middle = (
        (place * grid).floor() for place in (centres - reach, centres + reach, centres)
    )
    start = torch.maximum(near, middle - NEAR)
    end = torch.minimum(far, middle + NEAR)
    index = torch.arange(grid, device=centres.device)
    columns, rows = (
        (index >= start[:, axis, None]) & (index <= end[:, axis, None]) for axis in (0, 1)
    )
    return (rows[:, :, None] & columns[:, None, :]).flatten(1)


def centres_of_mass(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Mean x and y of each mask's pixels, the first pixel being 0.

    Args:
        masks: (n, H, W) bool.

    Returns:
        (n, 2) float64, 0 for an empty mask, and (n,) bool: which are not empty.
    """
    along = [masks.sum(axis).double() for axis in (1, 2)]  # (n, W), (n, H)
    area = along[0].sum(1)
    positions = [
        (counts * torch.arange(counts.shape[1], device=counts.device)).sum(1) for counts in along
    ]
    return torch.stack(positions, 1) / area.clamp(min=1)[:, None], area > 0


def shrunk(masks: Tensor, frame: Size) -> Tensor:
    """Masks at a quarter of the frame: pixels whose inner 2 x 2 of 4 x 4 is at least half covered.

    That is bilinear sampling, as in the authors' code, for sides that are multiples of four; for
    others, the code stretches the mask by up to two pixels and this does not.

    Args:
        masks: (n, H, W) bool.
        frame: of the padded batch; multiples of four.

    Returns:
        (n, frame.height / 4, frame.width / 4) bool.
    """
    height, width = masks.shape[1:]
    padded = F.pad(masks, (0, frame.width - width, 0, frame.height - height))
    inner = [padded[:, y::STRIDE, x::STRIDE].to(torch.uint8) for y in (1, 2) for x in (1, 2)]
    return sum(inner) >= 2
