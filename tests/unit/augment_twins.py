"""The augmentation written slowly and plainly: one pixel at a time, in float64; and masks."""

import math

import numpy as np
from scipy.ndimage import gaussian_filter


def ragged(rng, size):
    """An ellipse with a border like a CRF's: .69 kB deflated, as measured on photos' masks."""
    row, column = np.mgrid[: size[0], : size[1]]
    centre, radii = rng.uniform(0.3, 0.7, 2) * size, rng.uniform(0.15, 0.3, 2) * size
    away = np.hypot((row - centre[0]) / radii[0], (column - centre[1]) / radii[1])
    noise = gaussian_filter(rng.standard_normal(size), 2)
    return (1 - away) * radii.min() + 3 * noise / noise.std() > 0


def nearest(mask, height, width):
    """The pixel under the centre of each new one; a centre on a border belongs to the later."""
    old_height, old_width = mask.shape
    found = np.zeros((height, width), bool)
    for i in range(height):
        for j in range(width):
            y = (2 * i + 1) * old_height // (2 * height)
            x = (2 * j + 1) * old_width // (2 * width)
            found[i, j] = mask[y, x]
    return found


def bilinear(values, height, width):
    """Between the four nearest centres; beyond the outermost centres the edge goes on."""
    old_height, old_width = values.shape
    found = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * old_height / height - 0.5, 0), old_height - 1)
            x = min(max((j + 0.5) * old_width / width - 0.5, 0), old_width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, old_height - 1), min(left + 1, old_width - 1)
            upper = values[top, left] * (1 - x + left) + values[top, right] * (x - left)
            lower = values[bottom, left] * (1 - x + left) + values[bottom, right] * (x - left)
            found[i, j] = upper * (1 - y + top) + lower * (y - top)
    return found


def prefiltered(values, height, width):
    """Weights fall linearly from the centre over one pixel of the coarser of the two grids."""

    def weights(old, new):
        found = np.zeros((new, old))
        reach = max(old / new, 1)
        for i in range(new):
            centre = (i + 0.5) * old / new
            for j in range(old):
                found[i, j] = max(0, 1 - abs(j + 0.5 - centre) / reach)
        return found / found.sum(1, keepdims=True)

    return weights(values.shape[0], height) @ values @ weights(values.shape[1], width).T


def spread(grid, mask, floor):
    """Trust of pixels from the map of one mask."""
    smooth = bilinear(grid, *mask.shape)
    found = np.ones(mask.shape)
    for i, j in np.argwhere(mask):
        found[i, j] = min(max(smooth[i, j], floor), 1)
    return found


def area_trust(masks, floor):
    """One number a mask."""
    areas = [sum(1 for value in mask.flat if value) for mask in masks]
    return [floor + (1 - floor) * area / max(areas) for area in areas]


def box(mask):
    """x0 y0 x1 y1, ends exclusive."""
    places = np.argwhere(mask)
    (y0, x0), (y1, x1) = places.min(0), places.max(0)
    return [x0, y0, x1 + 1, y1 + 1]


def rank(masks, scores, maps, order, select):
    """Numbers of the masks, best first; among equals, as `order` has them."""
    worth = []
    for k, mask in enumerate(masks):
        inside = [(i, j) for i, j in np.argwhere(mask)]
        if select == "trust":
            worth.append(round(sum(maps[k][i, j] for i, j in inside) / len(inside), 4))
        else:
            worth.append({"area": len(inside), "score": scores[k], "random": 0}[select])
    return sorted(order, key=lambda k: -worth[k])


def paste(target, source, *, window, chosen, settings):
    """Pastes masks of `source` onto `target`.

    Args:
        target, source: dicts of pixels (3, H, W), masks, scores, labels, and grids (trust maps on
            the patch grid, or None).
        window: top, left, height, width of the source image in the target.
        chosen: numbers of the source's masks that are to be pasted.

    Returns:
        The same as a dict, with `boxes` and with `trust` at full size.
    """
    size = target["pixels"].shape[1:]
    pasted = []  # (number, mask at the size of the target)
    for k in chosen:
        whole = _moved(nearest(source["masks"][k], *window[2:]), size, window, False)
        if whole.any() and not _hides(whole, target["masks"], settings.overlap):
            pasted.append((k, whole))
    merged = {"masks": [], "scores": [], "labels": [], "trust": []}
    merged["pixels"] = _blended(target, source, window, pasted, settings)
    for k, mask in enumerate(target["masks"]):
        seen = mask.copy()
        for _, whole in pasted:
            for i, j in np.argwhere(whole):
                seen[i, j] = False
        if seen.any():
            _append(merged, target, k, seen)
            if target["grids"] is not None:
                full = spread(target["grids"][k], mask, settings.trust_floor)
                for i, j in np.argwhere(~seen):
                    full[i, j] = 1
                merged["trust"].append(full)
    for k, whole in pasted:
        _append(merged, source, k, whole)
        if target["grids"] is not None:
            small = nearest(source["masks"][k], *window[2:])
            trust = spread(source["grids"][k], small, settings.trust_floor)
            merged["trust"].append(_moved(trust, size, window, 1.0))
    merged["boxes"] = [box(mask) for mask in merged["masks"]]
    return merged


def _blended(target, source, window, pasted, settings):
    """Equation 5 of CutS3D, or plain pixels."""
    top, left, height, width = window
    shown = np.stack([bilinear(channel, height, width) for channel in source["pixels"]])
    constants = area_trust(source["masks"], settings.trust_floor)
    alphas = {}
    for k, _ in pasted:
        constant = constants[k] if settings.blend == "area" else 1.0
        alphas[k] = np.full((height, width), constant)
        if settings.blend == "trust":
            smooth = bilinear(source["grids"][k], height, width)
            alphas[k] = smooth.clip(settings.trust_floor, 1)
    pixels = target["pixels"].copy()
    for i in range(pixels.shape[1]):
        for j in range(pixels.shape[2]):
            opacity = 0.0
            for k, whole in pasted:
                if whole[i, j]:
                    opacity = max(opacity, alphas[k][i - top, j - left])
            if opacity > 0:
                new = shown[:, i - top, j - left]
                pixels[:, i, j] = opacity * new + (1 - opacity) * pixels[:, i, j]
    return pixels


def _moved(values, size, window, outside):
    top, left, height, width = window
    whole = np.full(size, outside)
    for i in range(height):
        for j in range(width):
            whole[top + i, left + j] = values[i, j]
    return whole


def _hides(whole, masks, overlap):
    for mask in masks:
        inside = np.argwhere(mask)
        covered = sum(1 for i, j in inside if whole[i, j])
        if covered / len(inside) >= overlap:
            return True
    return False


def _append(merged, example, k, mask):
    merged["masks"].append(mask)
    merged["scores"].append(example["scores"][k])
    merged["labels"].append(example["labels"][k])


def short_side(size, short, max_side):
    """Height and width after a resize that gives the short side `short` or the long `max_side`."""
    scale = min(short / min(size), max_side / max(size))
    return tuple(max(1, math.floor(scale * side + 0.5)) for side in size)
