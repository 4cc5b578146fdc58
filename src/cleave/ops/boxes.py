"""Where in its grid a mask lies."""

from __future__ import annotations

import numpy as np

from cleave.types import Array

CORNERS = ([0, 0, -1, -1], [0, -1, 0, -1])  # rows and columns of a grid's four corners


def bounds(mask: Array) -> tuple[slice, slice]:
    """The rows and the columns of a mask's box: what is left when empty borders are cut off.

    Args:
        mask: (h, w) bool, or numbers that are 0 where the mask is not; not empty.

    Raises:
        IndexError: an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
