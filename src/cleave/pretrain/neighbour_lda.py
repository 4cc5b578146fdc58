"""Neighbour-LDA: features in which near patches are alike, by an eigenproblem and no gradient."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt

from cleave.io import metrics
from cleave.io.images import resize
from cleave.ops import dictionary
from cleave.ops.ncut import with_sign
from cleave.ops.scatter import discriminants, scatters
from cleave.ops.texture import CHANNELS, standardised, texture
from cleave.pretrain.closed_form import ClosedForm, save
from cleave.pretrain.photos import METRICS, WEIGHTS, Photos
from cleave.spec import ConfigError
from cleave.types import Array, DataError, Size

log = logging.getLogger(__name__)

Count = Annotated[int, Gt(0)]
Dictionary = tuple[Array, Array, Array]  # mean, whitening, centroids


@dataclass(frozen=True, kw_only=True)
class NeighbourLda:
    """A k-means dictionary and an LDA of texture and dictionary: seconds to minutes on a CPU.

    The classes of Fisher's LDA are replaced by nearness: the directions found scatter most over an
    image for how much patches at most `radius` apart differ. In the features study it beat the
    features that it is computed from (+3.5 points of mean best IoU, paired), and equalled mean
    colour with position. Photos are read one at a time, twice; what is kept of them is `patches`
    patches and three matrices.
    """

    photos: Count = 300  # our study; of a larger data set, chosen by a hash of their ids
    size: Count = 480  # pixels; photos are squeezed into this square, as for MaskCut's features
    patches: Count = 60_000  # our study: for the dictionary
    centroids: Count = 512  # our study
    zca_epsilon: Annotated[float, Gt(0)] = 0.1  # our study, Coates et al. (AISTATS 2011)
    iterations: Count = 30  # of k-means; ours: the study does not say
    components: Count = 96  # principal axes of the dictionary's features that LDA sees; our study
    directions: Count = 32  # our study: 16 to 32
    radius: Count = 3  # patches, Euclidean; our study: "at most 3 cells apart"
    ridge: Annotated[float, Gt(0)] = 1e-4  # share of near variance, see ops.scatter; ours
    seed: Annotated[int, Ge(0)] = 0

    def __post_init__(self):
        if self.size < 2 * dictionary.PATCH:
            raise ConfigError(f"size: {self.size} holds no two patches of {dictionary.PATCH} px")
        if self.components > self.centroids:
            raise ConfigError(f"components: {self.components} of {self.centroids} centroids")
        if self.directions > CHANNELS + self.components:
            raise ConfigError(
                f"directions: {self.directions}, but LDA sees {CHANNELS} numbers of texture and "
                f"{self.components} components"
            )
        if self.patches < self.centroids:
            raise ConfigError(f"patches: {self.patches}, fewer than {self.centroids} centroids")

    def learn(self, photos: Photos, folder: Path, **attributes: Any) -> None:
        """Leaves weights and metrics in a folder.

        Raises:
            DataError: no photos, or nothing on them but one colour each.
        """
        chosen = choose(photos, self.photos, self.seed)
        log.info("neighbour_lda: %d of %d photos", len(chosen), len(photos))
        lines = folder / METRICS
        lines.unlink(missing_ok=True)
        learned = self._dictionary(chosen, lines)
        total, near, centre, spread = self._scatter(chosen, learned)
        if not near.any():
            raise DataError("neighbour_lda: every photo is of one colour; nothing can be learned")
        variances, axes = _principal(spread[CHANNELS:, CHANNELS:])
        reduce = np.zeros((len(total), CHANNELS + self.components))
        reduce[:CHANNELS, :CHANNELS] = np.eye(CHANNELS)
        reduce[CHANNELS:, CHANNELS:] = axes[:, : self.components]
        projected = (reduce.T @ matrix @ reduce for matrix in (total, near))
        ratios, directions = discriminants(*projected, self.directions, self.ridge)
        for number, ratio in enumerate(ratios, 1):
            metrics.append(lines, {"phase": "lda", "step": number, "ratio": float(ratio)})
        found = (*learned, centre, variances, axes, reduce @ directions)
        weights = ClosedForm(*(array.astype(np.float32) for array in found))
        save(weights, folder / WEIGHTS, **attributes)

    def _pictures(self, photos: Photos) -> Iterator[tuple[str, Array]]:
        """(id, pixels) of each photo, squeezed into the square; one is held at a time."""
        side = self.size // dictionary.PATCH * dictionary.PATCH
        for record in photos.records:
            yield record.id, resize(photos.read(record).pixels, Size(side, side))

    def _dictionary(self, photos: Photos, lines: Path) -> Dictionary:
        each = -(-self.patches // len(photos))
        drawn = [
            dictionary.draw(pixels, each, np.random.default_rng([self.seed, _hash(name)]))
            for name, pixels in self._pictures(photos)
        ]
        patches = dictionary.normalised(np.concatenate(drawn))
        mean, whitening = dictionary.zca(patches, self.zca_epsilon)
        patches = (patches - mean) @ whitening
        rng = np.random.default_rng(self.seed)
        steps = dictionary.lloyd(patches, self.centroids, self.iterations, rng)
        for number, (centroids, distance) in enumerate(steps, 1):  # noqa: B007
            metrics.append(lines, {"phase": "kmeans", "step": number, "distance": distance})
            log.info("kmeans %d: mean squared distance %.3f", number, distance)
        return mean, whitening, centroids

    def _scatter(self, photos: Photos, learned: Dictionary) -> tuple[Array, Array, Array, Array]:
        """Covariances about the images' means and of near pairs; mean and covariance over all."""
        channels = CHANNELS + self.centroids
        total, near, outer = (np.zeros((channels, channels)) for _ in range(3))
        sums, cells, pairs = np.zeros(channels), 0, 0
        for _, pixels in self._pictures(photos):
            values = np.concatenate(
                [
                    standardised(texture(pixels, dictionary.PATCH)),
                    dictionary.encode(pixels, *learned),
                ],
                axis=-1,
            )
            of_image, of_pairs, count = scatters(values, self.radius)
            mean, size = values.mean((0, 1)), values.shape[0] * values.shape[1]
            total += of_image
            near += of_pairs
            outer += size * np.outer(mean, mean)
            sums += size * mean
            cells, pairs = cells + size, pairs + count
        centre = sums / cells
        spread = (total + outer) / cells - np.outer(centre, centre)
        return total / cells, near / pairs, centre, spread


def choose(photos: Photos, most: int, seed: int) -> Photos:
    """At most so many photos, those whose ids hash lowest: the same whatever the shards.

    Raises:
        DataError: there is none.
    """
    if not len(photos):
        raise DataError("no photo to pre-train on: the data set is empty")
    order = sorted(photos.records, key=lambda record: (_hash(record.id, seed), record.id))
    kept = {record.id for record in islice(order, most)}
    return Photos(tuple(r for r in photos.records if r.id in kept), photos.read)


def _hash(name: str, seed: int = 0) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogateescape"), seed)


def _principal(covariance: Array) -> tuple[Array, Array]:
    """Variances, descending, and the axes as columns, signs as `with_sign` has them."""
    variances, axes = np.linalg.eigh(covariance)
    columns = np.stack([with_sign(axis) for axis in axes.T[::-1]], axis=1)
    return np.maximum(variances[::-1], 0), columns
