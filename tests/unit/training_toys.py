"""Small networks and batches for the tests of the training loop; some are run as programs."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import torch
from torch import nn

from cleave.ops.seeds import mix
from cleave.training.loop import train
from cleave.training.schedule import learning_rate, slots
from cleave.training.settings import Training


class Toy(nn.Module):
    """Convolutions that guess the mean colour and the noise of images of differing sizes.

    Args:
        norm: batch norms, statistics and dropout: all that makes resuming hard.
        most: images from which on it claims to be out of memory.
    """

    def __init__(self, norm: bool = True, most: int = 99, bias: bool = True):
        super().__init__()
        torch.manual_seed(0)
        self.most = most
        self.trunk = nn.Conv2d(3, 6, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(6) if norm else nn.Identity()
        self.drop = nn.Dropout(0.2 if norm else 0.0)
        self.head = nn.Linear(6, 2)
        self.unused = nn.Linear(2, 2)
        self.batches: list[int] = []

    def forward(self, images, targets):
        self.batches.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError(f"{len(images)} images")
        side = max(max(image.shape[1:]) for image in images)
        canvas = torch.stack([
            nn.functional.pad(image, (0, side - image.shape[2], 0, side - image.shape[1]))
            for image in images
        ])  # fmt: skip
        seen = self.norm(self.trunk(canvas / 255)).relu().mean((2, 3))
        guess, wanted = self.head(self.drop(seen)), torch.stack(targets)
        loss = (guess - wanted).square().mean(0)
        return {"mean": loss[0], "noise": 0.5 * loss[1]}


class ToyBatches:
    """Images of a place of a step, the same for any number of processes."""

    def __init__(self, settings: Training, seed: int = 0, side: int | None = None):
        self.settings, self.seed, self.side = settings, seed, side
        self.kill_at: tuple[int, int] | None = None  # step and micro batch
        self.seen: list[tuple[int, int]] = []  # steps and places

    def __call__(self, step, rank, world, micro):
        if (step, micro) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        places = slots(self.settings, rank, world, micro)
        self.seen += [(step, place) for place in places]
        pairs = [self.example(step, place) for place in places]
        return [image for image, _ in pairs], [target for _, target in pairs]

    def example(self, step: int, place: int):
        draw = torch.Generator().manual_seed(mix(self.seed, step, place))
        height, width = torch.randint(8, 16, (2,), generator=draw).tolist()
        if self.side:
            height = width = self.side
        centre, noise = torch.rand(2, generator=draw).tolist()
        image = centre + noise * (torch.rand(3, height, width, generator=draw) - 0.5)
        return (255 * image).clamp(0, 255), torch.tensor([centre, noise])


def settings(**changes) -> Training:
    """A short training: a momentum, a warm-up, a decay, lines and checkpoints out of step."""
    return Training(
        **{"steps": 23, "batch": 4, "learning_rate": 0.2, "reference_batch": 4, "warmup_steps": 5,
           "decay_steps": (15,), "gamma": 0.5, "precise_norm": 3, "log_every": 4,
           "checkpoint_every": 5, "workers": 0, **changes},
    )  # fmt: skip


def lines(folder: Path, name: str = "metrics.jsonl") -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def run(folder: Path, network=None, seconds=None, seed=0, batches=None, **changes):
    chosen = settings(**changes)
    network = network or Toy()
    progress = train(network, batches or ToyBatches(chosen), chosen, folder, seed=seed,
                     seconds=seconds)  # fmt: skip
    return progress, network


def naive_training(chosen, network, steps: int) -> None:
    """The update of detectron2, parameter by parameter: unclipped, decayed, with momentum."""
    batches, velocity = ToyBatches(chosen), {}
    network.train()
    for step in range(steps):
        images, targets = batches(step, 0, 1, 0)
        torch.manual_seed(mix(0, step, 0, 0))
        network.zero_grad(set_to_none=True)
        sum(network(images, targets).values()).backward()
        with torch.no_grad():
            for name, p in network.named_parameters():
                if p.grad is None:
                    continue
                gradient = p.grad * min(1.0, chosen.clip / (float(p.grad.norm()) + 1e-6))
                decay = 0.0 if name.startswith("norm.") else chosen.weight_decay
                gradient = gradient + decay * p
                velocity[name] = chosen.momentum * velocity.get(name, 0) + gradient
                p -= learning_rate(step, chosen) * velocity[name]
