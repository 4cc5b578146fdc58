"""What a detector learns from and what it finds: shared by augmentation and networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cleave.types import DataError

if TYPE_CHECKING:
    from torch import Tensor


def _check(where: str, shapes: dict[str, tuple[Tensor | None, tuple[int, ...]]]) -> None:
    for name, (value, shape) in shapes.items():
        if value is not None and tuple(value.shape) != shape:
            raise DataError(f"{where}.{name}: expected {shape}, got {tuple(value.shape)}")


@dataclass(frozen=True)
class Targets:
    """The n instances that one training image shows. An image without any has n = 0."""

    boxes: Tensor  # (n, 4) float32, x0 y0 x1 y1 in pixels, ends exclusive
    masks: Tensor  # (n, H, W) bool
    scores: Tensor  # (n,) float32 in [0, 1]: soft targets of CuVLER; 1 is certain
    labels: Tensor  # (n,) int64 in [0, C)
    trust: Tensor | None = None  # (n, H, W) float32 in [0, 1], 1 outside the instance; CutS3D Eq. 6

    def __post_init__(self):
        n = len(self.boxes)
        if self.masks.ndim != 3:
            raise DataError(f"targets.masks: expected (n, H, W), got {tuple(self.masks.shape)}")
        masks = (n, *self.masks.shape[1:])
        shapes = {"boxes": (n, 4), "masks": masks, "scores": (n,), "labels": (n,), "trust": masks}
        _check("targets", {name: (getattr(self, name), shape) for name, shape in shapes.items()})

    def __len__(self) -> int:
        return len(self.boxes)

    def to(self, device) -> Targets:
        trust = None if self.trust is None else self.trust.to(device)
        rest = (getattr(self, name).to(device) for name in ("boxes", "masks", "scores", "labels"))
        return Targets(*rest, trust)


@dataclass(frozen=True)
class Detections:
    """What a detector found in one image, best first; masks are still those of the boxes."""

    boxes: Tensor  # (k, 4) float32, x0 y0 x1 y1 in pixels of the original image
    scores: Tensor  # (k,) float32 in [0, 1], descending
    labels: Tensor  # (k,) int64 in [0, C)
    masks: Tensor  # (k, 28, 28) float32, probabilities inside each box

    def __post_init__(self):
        k = len(self.boxes)
        if self.masks.ndim != 3:
            raise DataError(f"detections.masks: expected (k, h, w), got {tuple(self.masks.shape)}")
        shapes = {"boxes": (k, 4), "scores": (k,), "labels": (k,)}
        shapes["masks"] = (k, *self.masks.shape[1:])
        _check("detections", {name: (getattr(self, name), shape) for name, shape in shapes.items()})

    def __len__(self) -> int:
        return len(self.boxes)

    def to(self, device) -> Detections:
        names = ("boxes", "scores", "labels", "masks")
        return Detections(*(getattr(self, name).to(device) for name in names))
