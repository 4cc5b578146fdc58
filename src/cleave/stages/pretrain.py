"""Stage: the images of a data set to the weights of a backbone that learned from them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from cleave import __version__
from cleave.io.atomic import replacing
from cleave.io.device import device
from cleave.io.images import ImageRecord, read_image_shard
from cleave.pretrain.bank import Bank, decode
from cleave.pretrain.train import train
from cleave.pretrain.weights import load, save
from cleave.registry import make
from cleave.spec import canonical
from cleave.stages.job import Job, log


def run(job: Job) -> None:
    """Trains, from the checkpoint that a killed job left if there is one.

    The weights are of the run as a whole or not there: all that is unfinished lies in a folder
    beside them, which Snakemake does not know and so does not clear away.
    """
    config = make("pretrain", job.spec)
    records, bank = read_photos(job, config.side)
    folder = unfinished(job, records)
    checkpoint = folder / "checkpoint.pt"
    resume = checkpoint if checkpoint.is_file() else None
    log.info("pretrain: %d photos, %s", len(bank), f"from {resume}" if resume else "from scratch")
    train(config, bank, folder, device=device(), resume=resume)
    with replacing(job.output.with_name("metrics.jsonl")) as temporary:
        shutil.copyfile(folder / "metrics.jsonl", temporary)
    save(load(folder / "backbone.safetensors"), job.output, cleave=__version__, **job.attributes)
    shutil.rmtree(folder)


def read_photos(job: Job, side: int) -> tuple[list[ImageRecord], Bank]:
    """Every image of the data set, in the order of their ids, whatever the shards."""
    shards = [read_image_shard(path) for path in job.shards("images")]
    dataset = make("datasets", shards[0].spec, "dataset")
    records = sorted((r for shard in shards for r in shard.records), key=lambda record: record.id)
    return records, decode(dataset.read, records, side)


def unfinished(job: Job, records: list[ImageRecord]) -> Path:
    """The folder of this very run, named by what it depends on; those of other runs are removed."""
    made_from = {**job.attributes, "photos": [record.digest for record in records]}
    key = hashlib.sha256(canonical(made_from).encode()).hexdigest()[:16]
    folder = job.output.with_name(f"unfinished-{key}")
    for other in folder.parent.glob("unfinished-*"):
        if other != folder:
            log.warning("pretrain: another spec or other photos: %s is given up", other)
            shutil.rmtree(other)
    return folder
