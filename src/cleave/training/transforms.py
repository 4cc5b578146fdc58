"""One image and its masks on the training device: resize, mirror, colours, and trust maps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from cleave.training.augment_settings import Augment
from cleave.training.samples import Sample
from cleave.types import Array, Size

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


@dataclass(frozen=True)
class Example:
    """A sample as tensors. `trust` stays on the patch grid until the sizes are settled."""

    pixels: Tensor  # (3, H, W) float32 RGB in [0, 255], or uint8 before the first transform
    masks: Tensor  # (n, H, W) bool
    scores: Tensor  # (n,) float32 in [0, 1]
    labels: Tensor  # (n,) int64
    trust: Tensor | None = None  # (n, h, w) float32 in [0, 1]

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: Tensor) -> Example:
        """Picks masks by their numbers; the pixels are shared."""
        trust = None if self.trust is None else self.trust[index]
        rest = self.masks[index], self.scores[index], self.labels[index]
        return Example(self.pixels, *rest, trust)

    @property
    def size(self) -> Size:
        return Size(*self.pixels.shape[1:])


def to_device(sample: Sample, device: torch.device | str) -> Example:
    """A sample as tensors on `device`; the copy to a GPU is not waited for."""

    def send(values: Array) -> Tensor:
        tensor = torch.from_numpy(np.require(values, requirements="W"))  # torch warns of others
        if torch.device(device).type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(device, non_blocking=True)

    trust = None if sample.trust is None else send(sample.trust).float()
    pixels = send(sample.pixels).permute(2, 0, 1).contiguous()
    return Example(pixels, send(sample.masks), send(sample.scores), send(sample.labels), trust)


def draw(generator: Generator, low: float = 0.0, high: float = 1.0) -> float:
    """One number in [low, high), as float64; drawn on the CPU, so a GPU never waits for it."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def transform(example: Example, settings: Augment, generator: Generator) -> Example:
    """Resize, mirror and colours, drawn in a fixed order and number whatever is switched on.

    So two settings that differ in one option still see the same sizes and the same flips, which
    takes noise out of their comparison. Masks that a smaller size makes vanish are dropped
    (detectron2's `filter_empty_instances`).
    """
    side, mirror, jitter = (draw(generator) for _ in range(3))
    factors = [draw(generator, 1 - settings.jitter, 1 + settings.jitter) for _ in range(3)]
    example = resize(example, target_size(example.size, settings, side))
    if mirror < settings.flip:
        example = flip(example)
    if settings.jitter and jitter < settings.jitter_probability:
        example = replace(example, pixels=colours(example.pixels, *factors))
    return example[reduce_any(example.masks, (1, 2)).nonzero()[:, 0]]


def target_size(size: Size, settings: Augment, position: float) -> Size:
    """The size of detectron2's ResizeShortestEdge.

    Args:
        position: in [0, 1); where in the list, or the range, of short sides.
    """
    sides = settings.short_sides
    if not sides:
        return size
    if settings.sampling == "choice":
        short = sides[int(position * len(sides))]
    else:
        short = sides[0] + int(position * (sides[1] - sides[0] + 1))
    scale = short / min(size)
    if max(size) * scale > settings.max_side:
        scale = settings.max_side / max(size)
    return Size(*(max(1, int(scale * side + 0.5)) for side in size))


def resize(example: Example, size: Size) -> Example:
    """Pixels bilinear with a prefilter, as Pillow's; masks nearest, as detectron2 has them."""
    if example.size == size:
        return replace(example, pixels=example.pixels.float())
    pixels = resize_pixels(example.pixels, size, prefilter=True)
    return replace(example, pixels=pixels, masks=resize_masks(example.masks, size))


def resize_pixels(pixels: Tensor, size: Size, *, prefilter: bool) -> Tensor:
    """(3, H, W) in [0, 255] to (3, size) float32, bilinear between the centres of pixels.

    Args:
        prefilter: average over what a smaller pixel covers, instead of picking four neighbours.
    """
    if prefilter and size.width == 1 < size.height:
        # torch 2.14 gives a wrong column, but a right row: lay the image on its side.
        return resize_pixels(pixels.mT, Size(1, size.height), prefilter=True).mT
    batch = pixels[None].float()
    options = {"mode": "bilinear", "align_corners": False, "antialias": prefilter}
    return F.interpolate(batch, tuple(size), **options)[0].clamp_(0, 255)


def resize_masks(masks: Tensor, size: Size) -> Tensor:
    """(n, H, W) bool to (n, size) bool: each pixel takes the one under its centre.

    As `cleave.ops.resample.upsample_nearest`, in integers. CutLER's bilinear values cast to bool
    would grow every mask (train_loop.py:170).
    """
    rows = _nearest_index(masks.shape[1], size.height, masks.device)
    columns = _nearest_index(masks.shape[2], size.width, masks.device)
    return masks.index_select(1, rows).index_select(2, columns)


def _nearest_index(source: int, target: int, device: torch.device) -> Tensor:
    return (2 * torch.arange(target, device=device) + 1) * source // (2 * target)


def flip(example: Example) -> Example:
    """The mirror image; trust is mirrored on its grid."""
    trust = None if example.trust is None else example.trust.flip(2)
    return replace(example, pixels=example.pixels.flip(2), masks=example.masks.flip(2), trust=trust)


def colours(pixels: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Scales brightness, then the distance from the mean luma, then that from each pixel's luma.

    Args:
        pixels: (3, H, W) float32 in [0, 255]; so is the result.
    """
    weights = torch.tensor(GREY, device=pixels.device)[:, None, None]
    pixels = (pixels * brightness).clamp(0, 255)
    middle = (pixels * weights).sum(0).mean()
    pixels = torch.lerp(middle, pixels, contrast).clamp(0, 255)
    grey = (pixels * weights).sum(0)
    return torch.lerp(grey, pixels, saturation).clamp(0, 255)


def with_trust(example: Example, settings: Augment) -> Example:
    """The example with the maps that `settings.trust` names, on whatever grid they have."""
    if settings.trust in ("spatial", "scalar"):
        ones = example.scores.new_ones(len(example), 1, 1)
        maps = ones if example.trust is None else example.trust
        if settings.trust == "scalar":
            maps = scalar_trust(maps, example.masks, settings.trust_floor)
        return replace(example, trust=maps)
    area = settings.trust == "area"
    return replace(example, trust=area_trust(example.masks, settings.trust_floor) if area else None)


def scalar_trust(trust: Tensor, masks: Tensor, floor: float) -> Tensor:
    """One number a mask: the mean of its map over its pixels (CutS3D Table 5b).

    Args:
        trust, masks, floor: as of `spread`.

    Returns:
        (n, 1, 1) float32.
    """
    inside = spread(trust, masks, floor) * masks
    areas = masks.flatten(1).sum(1, dtype=torch.float32).clamp(min=1)
    return (inside.flatten(1).sum(1) / areas)[:, None, None]


def area_trust(masks: Tensor, floor: float) -> Tensor:
    """The trivial trust: how large a mask is beside the largest in its image.

    Returns:
        (n, 1, 1) float32 in [floor, 1], floor + (1 - floor) * area / largest area.
    """
    areas = masks.flatten(1).sum(1, dtype=torch.float32)
    largest = areas.max() if len(areas) else areas.new_ones(())
    return (floor + (1 - floor) * areas / largest.clamp(min=1))[:, None, None]


def spread(trust: Tensor, masks: Tensor, floor: float) -> Tensor:
    """Trust of patches to trust of pixels.

    Bilinear from the patch grid, straight to the size of the masks. Raised to `floor` inside a
    mask (CutS3D Table 5c), which also settles the pixels that the CRF added beyond the map; 1
    outside, where a mask says nothing that could be mistrusted (CutS3D Eq. 6).

    Args:
        trust: (n, h, w) float32 in [0, 1].
        masks: (n, H, W) bool.

    Returns:
        (n, H, W) float32 in [0, 1].
    """
    if not len(trust):
        return trust.new_ones(masks.shape)
    size = tuple(masks.shape[1:])
    smooth = F.interpolate(trust[None], size, mode="bilinear", align_corners=False)[0]
    return torch.where(masks, smooth.clamp(floor, 1), 1.0)


def reduce_any(masks: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """`masks.any(dim)` over a dimension of at least 1; 5 to 20 times as fast on a CPU."""
    return masks.view(torch.uint8).amax(dim).bool()


def boxes_of(masks: Tensor) -> Tensor:
    """(n, H, W) bool to (n, 4) float32, x0 y0 x1 y1 with exclusive ends; zeros if empty."""
    left, right = _extent(reduce_any(masks, 1))
    top, bottom = _extent(reduce_any(masks, 2))
    return torch.stack([left, top, right, bottom], dim=1).float()


def _extent(line: Tensor) -> tuple[Tensor, Tensor]:
    """First and one past the last True of each row of (n, L) bool; 0 and 0 without any."""
    places = torch.arange(line.shape[1], device=line.device)
    last = torch.where(line, places + 1, 0).amax(1)
    first = torch.where(line, places, line.shape[1]).amin(1)
    return torch.where(last > 0, first, 0), last
