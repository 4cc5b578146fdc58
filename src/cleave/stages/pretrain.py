"""Stage: the images of a data set to the weights of a backbone that learned from them."""

from __future__ import annotations

import shutil
from pathlib import Path

from cleave import __version__
from cleave.io.atomic import replacing
from cleave.io.device import device
from cleave.io.images import read_image_shard
from cleave.pretrain.photos import EXPORTS, METRICS, WEIGHTS, Photos
from cleave.registry import make
from cleave.stages.job import Job
from cleave.stages.unfinished import keep, unfinished


def run(job: Job) -> None:
    """Learns, going on from what a killed job left if there is any.

    The weights are of the run as a whole or not there: all that is unfinished lies in a folder
    beside them, which Snakemake does not know and so does not clear away. With several processes,
    the first one puts the files in their place.
    """
    from cleave.io.processes import group, launch, place

    method = make("pretrain", job.spec)
    processes = getattr(method, "processes", 1)
    if launch(processes):
        return
    photos = read_photos(job)
    made_from = {**job.attributes, "photos": [record.digest for record in photos.records]}
    folder = unfinished(job.output, made_from)
    folder.mkdir(parents=True, exist_ok=True)
    with group(processes, device()):
        method.learn(photos, folder, cleave=__version__, **job.attributes)
        if place()[0] == 0:
            publish(job, folder)


def publish(job: Job, folder: Path) -> None:
    """Puts what the workflow knows in its place, the weights last, and then clears the rest away.

    Weights that were written on the way are for people: an evaluation of each may name its file.
    """
    keep(folder / EXPORTS, job.output.with_name(EXPORTS))
    for name, output in ((METRICS, job.output.with_name(METRICS)), (WEIGHTS, job.output)):
        with replacing(output) as temporary:
            shutil.copyfile(folder / name, temporary)
    shutil.rmtree(folder)


def read_photos(job: Job) -> Photos:
    """Every image of the data set, in the order of their ids, whatever the shards."""
    shards = [read_image_shard(path) for path in job.shards("images")]
    dataset = make("datasets", shards[0].spec, "dataset")
    records = sorted((r for shard in shards for r in shard.records), key=lambda record: record.id)
    return Photos(tuple(records), dataset.read)
