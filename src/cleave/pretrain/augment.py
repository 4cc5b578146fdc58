"""Random crops and colour changes of whole batches, on whatever device the photos are on.

All draws come from what is passed in, so a step can be repeated exactly.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cleave.pretrain.config import Photometric, Range
from cleave.pretrain.draws import Draws

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma
ASPECT = (3 / 4, 4 / 3)  # width over height of a crop; torchvision's RandomResizedCrop
BLUR_TAPS = 9


def boxes(draws: Draws, count: int, area: Range) -> Tensor:
    """Random boxes inside the unit square.

    Args:
        area: range of the share of the photo that a box covers, drawn uniformly.

    Returns:
        (count, 4) float32: centre x, centre y, width, height, all in [0, 1]. A side longer than
        the photo is cut to it, which makes the area a little smaller than drawn.
    """
    share = draws.uniform((count,), *area)
    bounds = torch.tensor(ASPECT).log().tolist()
    aspect = draws.uniform((count,), *bounds).exp()
    sides = torch.stack([(share * aspect).sqrt(), (share / aspect).sqrt()], dim=1).clamp(max=1)
    corners = draws.uniform((count, 2)) * (1 - sides)
    return torch.cat([corners + sides / 2, sides], dim=1)


def crops(photos: Tensor, draws: Draws, *, size: int, area: Range) -> Tensor:
    """One random crop of each photo, mirrored half of the time.

    Bilinear without a prefilter: photos are stored less than twice as fine as any crop needs.

    Args:
        photos: (B, 3, S, S) uint8.
        size: side of the result, pixels.

    Returns:
        (B, 3, size, size) float32 in [0, 1].
    """
    count = len(photos)
    box = boxes(draws, count, area)
    mirror = (draws.uniform((count,)) < 0.5).float() * 2 - 1
    theta = torch.zeros(count, 2, 3, device=photos.device)
    theta[:, 0, 0], theta[:, 1, 1] = box[:, 2] * mirror, box[:, 3]
    theta[:, :, 2] = 2 * box[:, :2] - 1
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    seen = F.grid_sample(
        photos.float() / 255, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return seen.clamp(0, 1)


def photometric(pixels: Tensor, draws: Draws, how: Photometric) -> Tensor:
    """Jitter, colour shift, grey and blur, in this order, each crop its own; clipped to [0, 1].

    Args:
        pixels: (B, 3, H, W) float32 in [0, 1].
    """
    count = len(pixels)

    def chosen(probability: float) -> Tensor:
        return draws.uniform((count, 1, 1, 1)) < probability

    jittered = _jitter(pixels, draws, how)
    pixels = torch.where(chosen(how.jitter_probability), jittered, pixels)
    grey = luma(pixels).expand_as(pixels)
    pixels = torch.where(chosen(how.grey_probability), grey, pixels)
    sigma = draws.uniform((count,), *how.blur_sigma)
    return torch.where(chosen(how.blur_probability), blur(pixels, sigma), pixels)


def _jitter(pixels: Tensor, draws: Draws, how: Photometric) -> Tensor:
    shape = (len(pixels), 1, 1, 1)
    brightness, contrast, saturation = (
        draws.uniform(shape, 1 - how.jitter, 1 + how.jitter) for _ in range(3)
    )
    shift = draws.uniform((len(pixels), 3, 1, 1), -how.shift, how.shift)
    pixels = (pixels * brightness).clamp(0, 1)
    middle = luma(pixels).mean((2, 3), keepdim=True)
    pixels = (middle + (pixels - middle) * contrast).clamp(0, 1)
    grey = luma(pixels)
    return (grey + (pixels - grey) * saturation + shift).clamp(0, 1)


def luma(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, 1, H, W)."""
    weights = torch.tensor(GREY, device=pixels.device)[:, None, None]
    return (pixels * weights).sum(1, keepdim=True)


def blur(pixels: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with a standard deviation per image, (B,) pixels; borders are reflected."""
    height, width = pixels.shape[2:]
    reach = min(BLUR_TAPS // 2, height - 1, width - 1)
    taps = torch.arange(-reach, reach + 1, device=pixels.device)
    kernel = torch.exp(-0.5 * (taps / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, :, None, None, None]  # (B, taps, 1, 1, 1)
    padded = F.pad(pixels, [reach] * 4, mode="reflect")
    rows = sum(kernel[:, k] * padded[:, :, k : k + height] for k in range(len(taps)))
    return sum(kernel[:, k] * rows[..., k : k + width] for k in range(len(taps)))
