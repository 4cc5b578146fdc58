"""What the detector plugins share; imports torch only when a network is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cleave.rcnn.settings import Architecture, Losses, Parts
from cleave.types import Image, MaskSet

if TYPE_CHECKING:
    from cleave.rcnn.network import RCNN


@dataclass(frozen=True, kw_only=True)
class Detector(Parts):
    """A network of this package as a plugin; subclasses say how many box heads it has."""

    gpu: ClassVar[bool] = True
    saw_labels: ClassVar[str] = ""
    licence: ClassVar[str] = "Apache-2.0; weights are of whoever trained them"

    @property
    def stages(self) -> tuple[float, ...]:
        """The IoU from which a box is an object, for each box head."""
        raise NotImplementedError

    @property
    def architecture(self) -> Architecture:
        """What the network is built from."""
        shared = {field.name: getattr(self, field.name) for field in fields(Parts)}
        return Architecture(**shared, ious=self.stages)

    def network(self, losses: Losses) -> RCNN:
        """A network with random weights, drawn from torch's global generator."""
        from cleave.rcnn.network import build

        return build(self.architecture, losses)

    def predict(
        self, images: Iterable[Image], checkpoint: Path, batch: int, device: str
    ) -> Iterator[MaskSet]:
        """The instances of each image, in the order of the images, best first.

        Args:
            images: of any sizes; only a batch of them is held at once.
            checkpoint: a file with a state dict of this network under "model".
            batch: images at once, at most; the result does not depend on it.
            device: of torch: "cpu", "cuda", "cuda:1".

        Raises:
            DataError: the checkpoint cannot be read or is of another detector.
        """
        from cleave.rcnn.predict import load, predict

        network = load(Path(checkpoint), self.architecture)
        return predict(network, images, batch=batch, device=device)
