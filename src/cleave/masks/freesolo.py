"""FreeSOLO's Free Mask: objects from dense convolutional features, by asking each place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Interval, Le, Len

from cleave.masks.common import finish
from cleave.ops.facets import patch_features
from cleave.ops.free_mask import maskness, placement, similarity_maps
from cleave.ops.matrix_nms import Kernel, matrix_nms
from cleave.ops.refine import Refinement
from cleave.ops.resample import bilinear
from cleave.types import Array, MaskSet, Scene

Share = Annotated[float, Interval(ge=0, le=1)]
Scale = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True, kw_only=True)
class FreeSOLO:
    """Free Mask (FreeSOLO, arXiv 2202.12181, Sec. 3.2): coarse masks of all that resembles a query.

    The features, resized to several scales, are the queries, the features themselves the keys.
    Each query's map of cosines becomes a soft mask, is thresholded, and scored by its mean inside;
    Matrix NMS lowers what repeats a better mask. Masks may overlap. Line numbers are those of
    demo/inference_freemask.py.

    The authors' features: `resnet` of model densecl_r101, the last stage at 800 px. Not done: the
    query vectors that their code stores for an embedding loss whose weight it sets to 0.
    """

    facet: str = "key"  # a ResNet's last stage; others are ours
    scales: Annotated[tuple[Scale, ...], Len(1)] = (1.0, 0.5, 0.25)  # published; :128
    threshold: Annotated[float, Gt(0), Le(1)] = 0.5  # of soft masks; code :145, 180
    least_patches: Annotated[int, Ge(1)] = 2  # of a mask; code :151-152
    kernel: Kernel = "gaussian"  # of Matrix NMS; code :168
    sigma: Annotated[float, Gt(0)] = 2.0  # of the kernel; code :168
    max_masks: Annotated[int, Ge(1)] = 20  # an image; code :171
    least_score: Share = 0.7  # after Matrix NMS; code :198
    top: Share = 0.2  # of the height: a mask must be centred below, sky is not; code :196
    widest: Annotated[float, Gt(0)] = 0.95  # of the width: ground is as wide; code :197
    refine: Refinement = "none"  # published: the masks stay coarse; others are ours
    working_size: Annotated[int, Gt(0)] = 480  # px, of the refinement if there is one; CutLER's

    needs: ClassVar[frozenset[str]] = frozenset({"features"})

    def __call__(self, scene: Scene) -> MaskSet:
        soft, masks, scores = self._candidates(scene)
        flat = masks.reshape(len(masks), masks.shape[1] * masks.shape[2])
        lowered = matrix_nms(
            flat, scores, kernel=self.kernel, sigma=self.sigma, least=self.least_score
        )
        best = np.argsort(-lowered, kind="stable")[: self.max_masks]
        best = best[lowered[best] >= self.least_score]
        full = bilinear(soft[best], scene.image.size) >= self.threshold
        keep = self._objects(full)
        return finish(
            scene,
            full[keep],
            lowered[best][keep],
            refine=self.refine,
            subtract_earlier=False,
            working_size=self.working_size,
            notes={"candidates": len(masks), "misplaced": int((~keep).sum())},
        )

    def _candidates(self, scene: Scene) -> tuple[Array, Array, Array]:
        """Soft masks (M, h, w), the same cut at the threshold, and maskness (M,).

        Those whose maskness is too low already are left out before Matrix NMS, and not after it:
        no mask gains by it, and a mask loses only to better ones, so the result is the same.
        """
        features = patch_features(scene.features, self.facet)
        soft = similarity_maps(features.reshape(*scene.features.grid, -1), self.scales)
        masks = soft >= self.threshold
        large = masks.sum((1, 2)) >= self.least_patches
        soft, masks = soft[large], masks[large]
        scores = maskness(soft, masks)
        sure = scores >= self.least_score
        return soft[sure], masks[sure], scores[sure]

    def _objects(self, masks: Array) -> Array:
        """(M,) bool: neither at the top of the image nor as wide as it, (M, H, W) bool masks."""
        height, width = masks.shape[1:]
        centre, across = placement(masks)
        return (centre > self.top * height) & (across < self.widest * width)
