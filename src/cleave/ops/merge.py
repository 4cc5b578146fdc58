"""Many masks from a grid of seeds, told apart from a voted background and merged (ProMerge)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from cleave.ops import bits
from cleave.types import Array, Size

_IN_PLANE = np.zeros((3, 3, 3), bool)  # 4 neighbours, none of them in another mask
_IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)


def seed_grid(grid: Size, stride: int) -> Array:
    """Row-major indices of every `stride`-th patch in both axes, the first one included: (S,)."""
    rows, columns = (np.arange(0, side, stride) for side in grid)
    return (rows[:, None] * grid.width + columns).reshape(-1)


def covered_sides(masks: Array) -> Array:
    """On how many of the four sides of the grid more than half of the patches are on: (M,) int.

    Args:
        masks: (M, h, w) bool.
    """
    sides = (masks[:, 0], masks[:, :, -1], masks[:, -1], masks[:, :, 0])
    return np.sum([side.mean(1) > 0.5 for side in sides], axis=0)


def split_at_seeds(masks: Array, seeds: Array, share: float) -> Array:
    """The 4-connected components that are not small beside the one that holds the mask's seed.

    All masks are labelled in one call.

    Args:
        masks: (M, h, w) bool.
        seeds: (M,) row-major indices of patches; a mask that lacks its seed gives nothing.
        share: of the size of the seed's component, the least size of a component.

    Returns:
        (K, h, w) bool: of each mask in turn, larger first, then in row-major order.
    """
    labels, count = ndimage.label(masks, _IN_PLANE)
    labels = labels.reshape(len(masks), masks.shape[1] * masks.shape[2])
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1)
    at_seeds = labels[np.arange(len(seeds)), seeds]
    least = np.where(at_seeds > 0, share * sizes[at_seeds], np.inf)
    # Labels count on from mask to mask, so the highest one up to a mask tells whose each one is.
    numbers = np.arange(1, count + 1)
    owners = np.searchsorted(np.maximum.accumulate(labels.max(1, initial=0)), numbers)
    large = sizes[1:] >= least[owners]
    numbers, owners = numbers[large], owners[large]
    order = np.lexsort((-sizes[numbers], owners))
    parts = np.empty((len(order), labels.shape[1]), bool)
    for part, i in zip(parts, order, strict=True):
        np.equal(labels[owners[i]], numbers[i], out=part)
    return parts.reshape(-1, *masks.shape[1:])


def keep_foreground(
    masks: Array, features: Array, background: Array, *, most_inside: float, similarity: float
) -> Array:
    """Which masks add something to the foreground, smaller ones asked first.

    ProMerge's cascade filter (arXiv 2409.18961; promerge.py:90-115). A mask stays if less than
    `most_inside` of its patches that no earlier mask holds is background, and if the mean features
    of the mask and of the background have a product below `similarity`. A mask without a patch of
    its own goes. The products of all masks are those of one vector: f . mean(background), averaged.

    Args:
        masks: (M, h, w) bool, none empty.
        features: (N, C) float of unit length.
        background: (h, w) bool, not empty.

    Returns:
        (K,) int64, indices of the masks that stay, by ascending area.
    """
    flat, ground = masks.reshape(len(masks), background.size), background.reshape(-1)
    owners, patches = np.nonzero(flat)
    areas = np.bincount(owners, minlength=len(flat))
    likeness = features @ features[ground].mean(0)  # (N,)
    unlike = np.bincount(owners, likeness[patches], len(flat)) < similarity * areas
    order = np.argsort(areas, kind="stable")
    covered = np.zeros(background.size, bool)
    kept = []
    for i in order[unlike[order]]:
        new = flat[i] & ~covered
        size = np.count_nonzero(new)
        if size and np.count_nonzero(new & ground) / size < most_inside:
            covered |= flat[i]
            kept.append(i)
    return np.array(kept, np.int64)


def merge_overlapping(
    masks: Array,
    features: Array,
    *,
    overlap: float,
    similar_overlap: float,
    similarity: float,
) -> Array:
    """Joins masks that hold each other, or touch and look alike; larger ones come first.

    ProMerge's merging (arXiv 2409.18961; promerge.py:168-210). A mask joins every cluster that
    holds more than `overlap` of it, or more than `similar_overlap` if the mean features of the two
    have a product of at least `similarity`; all these become one. Otherwise it is a new cluster.

    Args:
        masks: (M, h, w) bool, none empty.
        features: (N, C) float of unit length.

    Returns:
        (K, h, w) bool, which may overlap, larger first; on ties the one whose first mask came
        first.
    """
    packed = bits.pack(masks.reshape(len(masks), masks.shape[1] * masks.shape[2]))
    areas = bits.degrees(packed)
    clusters = packed[:0]
    for i in np.argsort(-areas, kind="stable"):
        held = bits.degrees(clusters & packed[i]) / areas[i]
        joins = held > overlap
        open_ones = np.flatnonzero(~joins & (held > similar_overlap))
        if len(open_ones):
            mean, *others = _mean_features([packed[i], *clusters[open_ones]], features)
            joins[open_ones] = np.array(others) @ mean >= similarity
        union = np.bitwise_or.reduce(clusters[joins], axis=0) | packed[i]
        place = np.argmax(joins) if joins.any() else len(clusters)
        clusters = np.insert(clusters[~joins], place, union, axis=0)
    clusters = clusters[np.argsort(-bits.degrees(clusters), kind="stable")]
    return bits.unpack(clusters, len(features)).reshape(-1, *masks.shape[1:])


def _mean_features(packed: Sequence[Array], features: Array) -> list[Array]:
    """Of each mask, (ceil(N/8),) uint8 and not empty, the mean of the rows of (N, C): (C,)."""
    masks = bits.unpack(np.stack(packed), len(features))
    return [features[mask].mean(0, dtype=np.float64) for mask in masks]
