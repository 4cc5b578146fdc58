"""Merging, NMS and parents as the paper and the code say it, slowly; and features to merge."""

import numpy as np


def cosine(a, b):
    return float(a @ b / max(np.linalg.norm(a), 1e-12) / max(np.linalg.norm(b), 1e-12))


def touching(a, b):
    return any(abs(r - s) + abs(c - d) == 1 for r, c in a for s, d in b)


def merge_naive(features, inside, thresholds, minimum):
    """Sets of patches; every pair is looked at anew before each merge: (labels, similarities)."""
    regions = [{(r, c)} for r, c in np.ndindex(features.shape[:2]) if inside[r, c]]
    total, found, merged = len(regions), [], []

    def mean(region):
        return np.mean([features[patch] for patch in sorted(region)], axis=0)

    for threshold in thresholds:
        while True:
            pairs = [
                (cosine(mean(a), mean(b)), i, j)
                for j, b in enumerate(regions)
                for i, a in enumerate(regions[:j])
                if touching(a, b)
            ]
            best = max(pairs, default=(-2, 0, 0))
            if best[0] < threshold:
                break
            merged.append(best[0])
            joined = regions[best[1]] | regions[best[2]]
            regions = [r for k, r in enumerate(regions) if k not in best[1:]] + [joined]
        labels = np.zeros(features.shape[:2], int)
        shown = [region for region in regions if minimum <= len(region) < total]
        for number, region in enumerate(sorted(shown, key=min), 1):
            for patch in region:
                labels[patch] = number
        found.append(labels)
    return np.array(found), merged


def random_features(seed, h, w, channels=5):
    """A few flat areas with noise."""
    rng = np.random.default_rng(seed)
    kinds = rng.standard_normal((3, channels))
    rows, columns = np.mgrid[:h, :w]
    kind = (
        rows * 2 // h + columns * 2 // w + rng.integers(0, 2, (h, w)) * (rng.random() < 0.5)
    ) % 3
    return kinds[kind] + rng.uniform(0.1, 1.0) * rng.standard_normal((h, w, channels))


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def nms_naive(masks, overlap, window):
    """divide_conquer.py:103-114 in its own order of steps."""
    order = sorted(range(len(masks)), key=lambda i: -masks[i].sum())
    gone = set()
    for a, i in enumerate(order):
        if i in gone:
            continue
        for j in order[a + 1 : len(order) if window is None else a + window]:
            if iou(masks[i], masks[j]) > overlap:
                gone.add(j)
    return [i for i in order if i not in gone]


def parents_naive(masks, coverage):
    found = []
    for mask in masks:
        holding = [
            (other.sum(), j)
            for j, other in enumerate(masks)
            if other.sum() > mask.sum() > 0 and (mask & other).sum() > coverage * mask.sum()
        ]
        found.append(min(holding, default=(0, -1))[1])
    return found
