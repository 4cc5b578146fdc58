"""The smallest pre-training of all phases, for tests that start it in processes of their own."""

from __future__ import annotations

import os
import signal

import numpy as np

from cleave.pretrain.config import Architecture, Collage, Distil, Mae, Pretrain
from cleave.pretrain.photos import Photos
from cleave.types import Image

CONFIG = Pretrain(
    architecture=Architecture(patch=8, dim=16, depth=1, heads=1),
    mae=Mae(steps=3, batch=6, crop=32, decoder_dim=16, decoder_depth=1, decoder_heads=1, warmup=1),
    distil=Distil(steps=3, batch=6, global_crop=32, local_crops=1, local_crop=16,
                  class_prototypes=8, patch_prototypes=8, head_hidden=16, head_bottleneck=8,
                  warmup=1, learning_rate=1e-3),
    collage=Collage(steps=3, batch=6, crop=32, pieces=2, warmup=1),
    side=40, precision="float32", log_every=2, checkpoint_every=1, export_every=2,
)  # fmt: skip


def photos() -> Photos:
    """Ten photos of two colours each."""

    def read(number: int) -> Image:
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 256, (2, 1, 3), dtype=np.uint8).repeat(24, 0).repeat(48, 1)
        return Image(str(number), pixels)

    return Photos(tuple(range(10)), read)


def kill_at(step: int) -> None:
    """From now on the process dies before it takes this step, counted over all phases."""
    from cleave.pretrain.train import Run

    take_step, taken = Run.take_step, []

    def dying(*arguments):
        taken.append(1)
        if len(taken) > step:
            os.kill(os.getpid(), signal.SIGKILL)
        return take_step(*arguments)

    Run.take_step = dying
