"""Stage: the images of a data set to the weights of a backbone that learned from them."""

from __future__ import annotations

import shutil

from cleave import __version__
from cleave.io.atomic import replacing
from cleave.io.device import device
from cleave.io.images import ImageRecord, read_image_shard
from cleave.pretrain.bank import Bank, decode
from cleave.pretrain.train import train
from cleave.pretrain.weights import load, save
from cleave.registry import make
from cleave.stages.job import Job, log
from cleave.stages.unfinished import unfinished


def run(job: Job) -> None:
    """Trains, from the checkpoint that a killed job left if there is one.

    The weights are of the run as a whole or not there: all that is unfinished lies in a folder
    beside them, which Snakemake does not know and so does not clear away.
    """
    config = make("pretrain", job.spec)
    records, bank = read_photos(job, config.side)
    made_from = {**job.attributes, "photos": [record.digest for record in records]}
    folder = unfinished(job.output, made_from)
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
