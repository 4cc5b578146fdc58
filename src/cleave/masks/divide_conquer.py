"""UnSAM's divide and conquer: the masks of another section, and the parts of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Interval, Le, Len

from cleave.masks.cascadepsp import SAW_LABELS, cascadepsp
from cleave.masks.windows import refine_in_windows
from cleave.ops.boxes import bounds
from cleave.ops.facets import patch_features
from cleave.ops.hierarchy import levels, merge_regions, parents_of, window_nms
from cleave.ops.refine import Refinement
from cleave.ops.resample import average, upsample_nearest
from cleave.spec import ConfigError
from cleave.types import Array, MaskSet, Scene

Share = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class DivideConquer:
    """Whole masks from the section `masks:`, and inside each the parts that its patches form.

    Divide and conquer of UnSAM (arXiv 2406.20081, Sec. 4.1 and Algorithm 1). In the box of each
    given mask the two most similar neighbouring regions are merged again and again; what has
    formed when no pair reaches a threshold any more are parts, coarser at each lower threshold,
    of which those that lie in the mask are kept. The result is the given masks, then the parts
    of the first one, largest first, and so on; `parents` says which mask lies in which.

    What differs from the paper, beside what the fields say: the given masks are those of any
    section, not of CutLER's detector alone; and the features are those of the whole image, where
    UnSAM looks at each box anew at 256 x 256 pixels, 32 x 32 patches. So the parts of a small
    mask are coarser here, and more patches an image (a larger input of the backbone) give finer
    ones. CascadePSP, the paper's refiner, learned from labelled masks: UnSAM's AR1000 on SA-1B is
    23.9 with it and 15.3 with the CRF (published, Table 3). Who has the package
    `segmentation-refinement` and its weights may write `refine: cascadepsp`, `cascadepsp: FILE`
    and `window_sides: [100, 900]`; tables then say that labels were seen.

    Notes of the result count: given masks, parts, and parts that were refined_away.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features", "masks"})

    facet: str = "key"  # of the last block of DINO (published, Sec. 4.1)
    centre: bool = False  # subtract the image's mean feature; ours, for other features than DINO's
    # Cosines, finest first (published, Sec. 5.1; divide_conquer.py:85); for DINO's keys.
    thresholds: Annotated[tuple[Annotated[float, Interval(ge=-1, le=1)], ...], Len(1)] = (
        *(0.6, 0.5, 0.4, 0.3, 0.2, 0.1),
    )
    # Of the given masks. For the detector's confidence published is .3 (Sec. 5.1), the code's .1
    # (:78); a cut's score is no confidence, so all are taken.
    minimum_score: float = 0.0
    minimum_patches: Annotated[int, Ge(1)] = 4  # of a part (iterative_merging.py:17)
    within: Literal["box", "mask"] = "box"  # where patches merge (:229); mask is ours
    coverage: Share = 0.9  # of a part by its given mask, more than (kept_thresh, :82, :243)
    overlap: Share = 0.9  # IoU of two parts of a mask above which the smaller one goes (:83)
    # Masks that NMS looks at together (NMS_step, :84, :109): so a part that is there at all six
    # thresholds stays twice. null (ours) compares all parts of a mask.
    window: Annotated[int, Ge(2)] | None = 5
    containment: Share = 0.9  # of a mask in its parent, more than; ours, the code has no parents
    score: Literal["one", "divide"] = "one"  # check.py:64; divide (ours): the given mask's
    # Of the parts; the CRF is published beside CascadePSP, Table 3.
    refine: Refinement | Literal["cascadepsp"] = "crf"
    cascadepsp: str | None = None  # its weights, the file `model` of its authors
    # px, least and most of a window's longer side; for CascadePSP the code has 100 and 900 (:89).
    # 320 is ours: on 8 scenes of 480 x 640 AR1000 is as at 900 (21.0), in half of the time.
    window_sides: Annotated[tuple[Annotated[int, Gt(0)], ...], Len(2, 2)] = (100, 320)
    maximum_area: Annotated[float, Gt(0), Le(1)] = 0.9  # of the image, once refined (:93)

    def __post_init__(self):
        if sorted(set(self.thresholds), reverse=True) != list(self.thresholds):
            raise ConfigError(f"thresholds: expected falling numbers, got {list(self.thresholds)}")
        if (self.refine == "cascadepsp") != (self.cascadepsp is not None):
            raise ConfigError(
                "cascadepsp: a file of weights, given with 'refine: cascadepsp' and only then; "
                f"got {self.cascadepsp!r} with refine {self.refine!r}"
            )
        if self.window_sides[0] > self.window_sides[1]:
            raise ConfigError(f"window_sides: expected [least, most], got {self.window_sides}")

    @property
    def saw_labels(self) -> str:
        """Which labels were seen, for the report; empty: none."""
        return SAW_LABELS if self.refine == "cascadepsp" else ""

    def __call__(self, scene: Scene) -> MaskSet:
        given = scene.masks
        given = given[(given.scores >= self.minimum_score) & (given.areas > 0)]
        features = self._features(scene)
        covers = [average(mask, scene.features.grid) for mask in given.masks]
        parts = [self._parts(features, cover) for cover in covers]
        owners = np.repeat(np.arange(len(given)), [len(found) for found in parts])
        coarse = np.concatenate([np.zeros((0, *features.shape[:2]), bool), *parts])
        fine = self._refined(scene, coarse)
        kept = fine.any((1, 2))
        masks = np.concatenate([given.masks, fine[kept]])
        scores = np.concatenate([given.scores, given.scores[owners[kept]]])
        return MaskSet(
            given.size,
            masks,
            scores if self.score == "divide" else np.ones(len(masks)),
            parents=parents_of(masks, self.containment),
            notes={
                "given": float(len(given)),
                "parts": float(kept.sum()),
                "refined_away": float((~kept).sum()),
            },
        )

    def _features(self, scene: Scene) -> Array:
        """(h, w, C), raw as the code has them, or centred."""
        rows = patch_features(scene.features, self.facet, self.centre)
        return rows.reshape(*scene.features.grid, -1)

    def _parts(self, features: Array, cover: Array) -> Array:
        """The parts of one given mask, by the share of each patch that it covers.

        Returns:
            (K, h, w) bool, largest first.
        """
        box = bounds(cover)
        inside = cover[box] >= 0.5 if self.within == "mask" else None
        merges = merge_regions(features[box], inside=inside, lowest=self.thresholds[-1])
        found = [
            _covered(labels, cover[box], self.coverage)
            for labels in levels(merges, self.thresholds, self.minimum_patches)
        ]
        local = np.concatenate(found)
        local = local[window_nms(local, self.overlap, self.window)]
        parts = np.zeros((len(local), *cover.shape), bool)
        parts[(slice(None), *box)] = local
        return parts

    def _refined(self, scene: Scene, coarse: Array) -> Array:
        """(K, H, W) bool at the size of the image, empty where refinement lost the mask."""
        masks = upsample_nearest(coarse, scene.image.size)
        how = cascadepsp(self.cascadepsp) if self.refine == "cascadepsp" else self.refine
        masks = refine_in_windows(scene.image.pixels, masks, how, sides=self.window_sides)
        return masks & (masks.mean((1, 2)) <= self.maximum_area)[:, None, None]


def _covered(labels: Array, cover: Array, least: float) -> Array:
    """The regions of which more than a share is covered: (h, w) int, (h, w) to (K, h, w) bool."""
    sizes = np.bincount(labels.ravel())
    shares = np.bincount(labels.ravel(), cover.ravel()) / np.maximum(sizes, 1)
    numbers = np.flatnonzero(shares[1:] > least) + 1
    return labels[None] == numbers[:, None, None]
