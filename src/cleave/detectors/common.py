"""What the detector plugins share; imports torch only when a network is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cleave.io.weights import url_file
from cleave.networks.published import RESNETS
from cleave.networks.settings import Common
from cleave.types import Image, MaskSet

if TYPE_CHECKING:
    from torch import nn

    from cleave.networks.network import PyramidNetwork
    from cleave.rounds import Learn
    from cleave.training.samples import Annotations, Read

_INITIAL = 3  # of the numbers that a seed is mixed with: the random weights

# Self-supervised ResNet-50s that the papers begin with, where a plain address gives them.
TRUNKS = {"dino": RESNETS["dino_r50"].url, "moco_v2": RESNETS["moco_v2_r50"].url}


@dataclass(frozen=True, kw_only=True)
class Detector(Common):
    """A network of this package as a plugin; subclasses say which one."""

    # What round 0 begins with: "random", a name of TRUNKS (fetched once), or a file: a trunk, or
    # with `whole` a detector, in any format that is known for it. Papers: dino.
    weights: str = "random"
    whole: bool = False  # the file holds a detector, not a trunk alone
    sha256: str | None = None  # of the file, where it is to be checked

    gpu: ClassVar[bool] = True
    saw_labels: ClassVar[str] = ""
    licence: ClassVar[str] = "Apache-2.0; weights are of whoever trained them"
    # Fields that a training does not read: a change of them trains nothing anew.
    only_predict: ClassVar[tuple[str, ...]] = ("detections", "min_side", "max_side")
    # Losses that are not changed in any way: theirs is the class that a recipe's `losses` are of.
    plain_losses: ClassVar[Any]

    @property
    def files(self) -> tuple[str, ...]:
        """Files of the user's that a training from the beginning reads."""
        return () if self.weights == "random" or self.weights in TRUNKS else (self.weights,)

    def network(self, losses: Any) -> PyramidNetwork:
        """A network with random weights, drawn from torch's global generator.

        Args:
            losses: of the class of `plain_losses`.
        """
        raise NotImplementedError

    def read(self, path: Path, network: nn.Module, sha256: str | None = None) -> None:
        """Fills a network from a file that holds one, in any format that is known for it.

        Raises:
            DataError: a file that is missing, unreadable or does not fit.
        """
        raise NotImplementedError

    def found(
        self, network: nn.Module, images: Iterable[Image], batch: int, device: str
    ) -> Iterator[MaskSet]:
        """What a trained network says; see `predict`."""
        raise NotImplementedError

    def begin(self, network: PyramidNetwork) -> None:
        """Fills a network with the weights that round 0 begins with.

        Raises:
            DataError: a file that is missing, unreadable or does not fit.
        """
        from cleave.networks.weights import read_trunk

        if self.weights == "random":
            return
        path = Path(self.weights)
        if url := TRUNKS.get(self.weights):
            path = url_file(url, instead="Or give a downloaded file as weights:")
        (self.read if self.whole else read_trunk)(path, network, sha256=self.sha256)

    def resume(self, network: PyramidNetwork, checkpoint: Path) -> None:
        """Fills a network with the weights of an earlier round."""
        self.read(checkpoint, network)

    def fit(
        self,
        annotations: Annotations,
        read: Read,
        learn: Learn,
        folder: Path,
        *,
        start: Path | None = None,
        device: str = "cpu",
    ) -> nn.Module:
        """Trains, and leaves `weights.pt` and `metrics.jsonl` in `folder`.

        Args:
            annotations: what to learn.
            read: gives the pixels of a record; a data set's own method.
            learn: seed, schedule, losses and augmentation.
            folder: a run that was killed in it is gone on from.
            start: weights of an earlier round; else those of the section.
            device: of torch, that of this process.

        Raises:
            DataError: weights that do not fit, or an image that cannot be read.
            TrainingError: losses are not finite, or the batch does not fit.
        """
        import torch

        from cleave.ops.seeds import mix

        torch.manual_seed(mix(learn.seed, _INITIAL))
        network = self.network(learn.losses)
        if start is not None:
            self.resume(network, start)
        else:
            self.begin(network)
        return fit(network, annotations, read, learn, folder, device=device)

    def predict(
        self, images: Iterable[Image], checkpoint: Path, batch: int = 4, device: str = "cpu"
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
        network = self.network(self.plain_losses)  # losses are not asked for
        self.resume(network, Path(checkpoint))
        return self.found(network, images, batch, device)


def settings_of(section: Detector, kind: type) -> dict[str, Any]:
    """What a section says to the fields of `kind`, a class that it inherits from."""
    return {field.name: getattr(section, field.name) for field in fields(kind)}


def fit(
    network: nn.Module,
    annotations: Annotations,
    read: Read,
    learn: Learn,
    folder: Path,
    *,
    device: str,
) -> nn.Module:
    """Trains any network that maps images and `Targets` to losses; see `Detector.fit`."""
    from cleave.training.loader import AugmentedBatches, Loader
    from cleave.training.loop import train

    loader = Loader(
        annotations,
        read,
        batch=learn.training.batch,
        seed=learn.seed,
        workers=learn.training.workers,
    )
    batches = AugmentedBatches(
        loader, learn.training, learn.augment, device=device, seed=learn.seed
    )
    try:
        train(network, batches, learn.training, folder, device=device, seed=learn.seed)
    finally:
        loader.close()
    return network
