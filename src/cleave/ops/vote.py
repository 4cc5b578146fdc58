"""Many proposals of the same objects to few masks, by clustering and vote (CuVLER, VoteCut)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cleave.ops import components
from cleave.ops.boxes import CORNERS, bounds


class Group(NamedTuple):
    """Proposals that show the same object."""

    pivot: int  # index of the proposal that is most like the others
    members: np.ndarray  # (n,) int64 ascending indices, disjoint from those of other groups


def proposals(
    labels: np.ndarray, *, corners: int = 2, most: int = 30, side: int = 5
) -> list[np.ndarray]:
    """The 4-connected components of each label, without what is background or noise.

    Args:
        labels: (h, w) int, a partition of the patches.
        corners: a label that holds so many corners of the grid is background.
        most: a label of more components than these is noise.
        side: a component is too small if its box is narrower and also lower than this, in patches.

    Returns:
        (h, w) bool masks: labels ascending, their components in row-major order of first patches.
    """
    found = []
    for number in np.unique(labels):
        mask = labels == number
        if mask[CORNERS].sum() >= corners:
            continue
        parts, count = components.label(mask)
        if count > most:
            continue
        for part in range(1, count + 1):
            shape = parts == part
            if max(along.stop - along.start for along in bounds(shape)) >= side:
                found.append(shape)
    return found


def group(iou: np.ndarray, threshold: float = 0.6, updates: int = 5) -> list[Group]:
    """Greedy clusters of proposals around pivots, as in CuVLER's votecut.py:122-176.

    Proposals are taken in descending order of how many others they are like, later ones first on
    ties. Around each one grows a cluster: all that are like its pivot join it, the pivot becomes
    the member with the largest sum of IoU to the others, and so on. Proposals of earlier clusters
    may join, and even be the pivot; they are removed in the end, and a cluster whose pivot
    is one of them is none, but spends its members.

    Args:
        iou: (M, M) symmetric.
        threshold: IoU above which two proposals are alike.
        updates: most times that a cluster grows.

    Returns:
        In the order in which they are found, which is not that of their size.
    """
    alike = iou > threshold
    order = np.argsort(alike.sum(1), kind="stable")[::-1]
    used = np.zeros(len(iou), bool)
    groups = []
    for start in order[alike[order].any(1)]:
        if used[start]:
            continue
        pivot, members = _grown(int(start), iou, alike, updates)
        if not used[pivot]:
            groups.append(Group(pivot, np.flatnonzero(members & ~used)))
        used |= members
    return groups


def _grown(start, iou, alike, updates):
    """The pivot and the members (M,) bool of the cluster that starts at one proposal."""
    pivot, members = start, np.zeros(len(iou), bool)
    members[start] = True
    for _ in range(updates):
        wider = members | alike[pivot]
        if np.array_equal(wider, members):
            break
        members = wider
        inside = np.flatnonzero(members)
        sums = iou[np.ix_(inside, inside)].sum(1)
        # The first of those that are equal but for round-off.
        pivot = int(inside[np.argmax(sums >= sums.max() * (1 - 1e-12))])
    return pivot, members


def shares(masks: np.ndarray, groups: list[Group]) -> np.ndarray:
    """How many of a group's masks hold each patch.

    Args:
        masks: (M, h, w) bool.

    Returns:
        (G, h, w) float64 in [0, 1].
    """
    found = [masks[members].mean(0) for _, members in groups]
    return np.stack(found) if found else np.zeros((0, *masks.shape[1:]))
