"""The reference's way from a photo to pseudo-masks, written by us from its description.

CutLER's maskcut.py (arXiv 2301.11320, Sec. 3.1 and 3.2), with what makes it slow left in: keys from
a hook on a whole forward pass with the softmax of all tokens written out (DINO's attention); for
every cut the cosines of all features again and LAPACK's dense generalised eigensolver; for every
mask, the empty ones too, a CRF with lattices of its own. Its eigenvector gets our sign rule, or the
masks would hang on LAPACK's arbitrary sign.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import scipy.ndimage

from cleave.ops import ncut

SIDE = 480  # px at which features are taken and masks refined
FLOOR = 1e-5
SMALL, OVERLAP = 0.01, 0.5


def photo(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    from PIL import Image

    with Image.open(path) as file:
        return np.array(file.convert("RGB"))


def resized(pixels: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8 RGB."""
    from PIL import Image

    return np.array(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def keys(network: Any, pixels: np.ndarray, mean: Any, std: Any) -> np.ndarray:
    """(N, C) keys of the last block of a ViT of timm, from a hook on its projection.

    Args:
        pixels: (SIDE, SIDE, 3) uint8 RGB.
    """
    import torch

    for block in network.blocks:
        block.attn.fused_attn = False
    got: dict[str, Any] = {}
    hook = network.blocks[-1].attn.qkv.register_forward_hook(lambda m, i, o: got.update(qkv=o))
    seen = torch.from_numpy((pixels / 255.0 - mean) / std).float().permute(2, 0, 1)
    with torch.no_grad():
        network(seen[None])
    hook.remove()
    return got["qkv"][0, 1:].chunk(3, dim=1)[1].numpy()


def mask_cut(features: np.ndarray, threshold: float, cuts: int = 3) -> list[np.ndarray]:
    """(n, n) bool masks of a square grid, empty where a cut's mask was rejected."""
    features = features.copy()
    side = round(len(features) ** 0.5)
    found: list[np.ndarray] = []
    for _ in range(cuts):
        mask = _component(eigenvector(features, threshold), side)
        if found:
            union = (mask | found[-1]).sum()
            overlap = (mask & found[-1]).sum() / union
            if overlap > OVERLAP or mask.mean() <= SMALL:
                mask = np.zeros_like(mask)
        found.append(mask)
        features[mask.ravel()] = 0
    return found


def eigenvector(features: np.ndarray, threshold: float) -> np.ndarray:
    """(N,) float64: the second smallest of (D - A) x = lambda D x."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(norms, 1e-12)
    affinity = np.where(unit @ unit.T > threshold, 1.0, FLOOR)
    degree = np.diag(affinity.sum(1))
    _, vectors = scipy.linalg.eigh(degree - affinity, degree, subset_by_index=[1, 2])
    return ncut.with_sign(vectors[:, 0])


def _component(vector: np.ndarray, side: int) -> np.ndarray:
    """The seed's component of the foreground, reversed by the rule of corners and peak."""
    foreground = (vector > vector.mean()).reshape(side, side)
    corners = foreground[[0, 0, -1, -1], [0, -1, 0, -1]].sum()
    peak = np.argmax(np.abs(vector))
    if corners >= 3 or not foreground.flat[peak]:
        vector, foreground = -vector, ~foreground
    labels, _ = scipy.ndimage.label(foreground)
    return labels == labels.flat[np.argmax(vector)]


def refined(pixels: np.ndarray, patches: list[np.ndarray], size: Any) -> list[np.ndarray]:
    """Masks of the photo's size: disjoint, CRF, holes filled, without those that changed much.

    Args:
        pixels: (SIDE, SIDE, 3) uint8 RGB.
        patches: (n, n) bool each.
        size: (height, width) of the photo.
    """
    from PIL import Image

    step, taken, found = SIDE // len(patches[0]), np.zeros((SIDE, SIDE), bool), []
    for patch in patches:
        whole = np.kron(patch, np.ones((step, step), bool))
        before, taken = whole & ~taken, taken | whole
        after = scipy.ndimage.binary_fill_holes(_crf(pixels, before))
        union = (before | after).sum()
        if union == 0 or (before & after).sum() < 0.5 * union:
            continue
        large = Image.fromarray(np.uint8(after) * 255).resize(size[::-1], Image.Resampling.BICUBIC)
        values = np.asarray(large)
        found.append(values > values.max() / 2)
    return [mask for mask in found if mask.any()]


def _crf(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A dense CRF made for this mask alone, with the constants of CutLER's crf.py."""
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    height, width = mask.shape
    likely = np.exp(np.stack([~mask, mask]).astype(np.float32))
    field = DenseCRF2D(width, height, 2)
    field.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(likely / likely.sum(0))))
    field.addPairwiseGaussian(sxy=3, compat=7)
    field.addPairwiseBilateral(sxy=50, srgb=5, rgbim=np.array(pixels), compat=10)
    return np.argmax(field.inference(10), axis=0).reshape(height, width).astype(bool)


def encoded(masks: list[np.ndarray]) -> list[dict]:
    """Run lengths as COCO has them."""
    from pycocotools import mask as rle

    return [rle.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
