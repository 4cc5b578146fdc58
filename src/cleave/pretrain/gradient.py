"""The small ViT's way from photos to weights: decode them all, train, resume where a kill fell."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cleave.io import processes
from cleave.io.device import device
from cleave.pretrain.bank import decode
from cleave.pretrain.config import Pretrain
from cleave.pretrain.photos import WEIGHTS, Photos
from cleave.pretrain.train import train
from cleave.pretrain.weights import load, save

log = logging.getLogger(__name__)


def learn(config: Pretrain, photos: Photos, folder: Path, **attributes: Any) -> None:
    """Trains from the checkpoint in `folder` if there is one.

    Args:
        folder: gets the weights, the metrics and the exports on the way.
        attributes: what the header of the weights shall say of their making.
    """
    bank = decode(photos.read, photos.records, config.side, folder / "photos.u8")
    checkpoint = folder / "checkpoint.pt"
    resume = checkpoint if checkpoint.is_file() else None
    log.info("pretrain: %d photos, %s", len(bank), f"from {resume}" if resume else "from scratch")
    train(config, bank, folder, device=device(), resume=resume)
    if processes.place()[0] == 0:
        save(load(folder / "backbone.safetensors"), folder / WEIGHTS, **attributes)
