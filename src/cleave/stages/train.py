"""Stage: labels of a data set, and the weights of the round before, to a detector's weights."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cleave.io.atomic import replacing, write_json
from cleave.io.checkpoints import load_state, save_state
from cleave.io.device import device
from cleave.io.weights import sha256
from cleave.registry import lookup, make
from cleave.rounds import Learn, learning
from cleave.spec import build, to_mapping
from cleave.stages.job import Job
from cleave.stages.unfinished import keep, unfinished


def run(job: Job) -> None:
    """Trains, from the checkpoint that a killed job left if there is one.

    The weights are of the run as a whole or not there: all that is unfinished lies in a folder
    beside them. With several processes, the first one makes the files.
    """
    from cleave.io.processes import group, launch, place
    from cleave.training.samples import Annotations

    detector = lookup("detectors", job.spec["detector"]["kind"], "detector")
    learn = build(learning(type(detector.plain_losses)), job.spec["learn"], "learn")
    if launch(learn.training.processes):
        return
    annotations = Annotations(job.shards("labels"))
    made_from = depends_on(job, learn)
    folder = unfinished(job.output, made_from)
    with group(learn.training.processes, device()) as here:
        network = fit(job, learn, annotations, folder, here)
        if place()[0] == 0:
            finish(job, learn, annotations, network, folder)


def depends_on(job: Job, learn: Learn) -> dict[str, Any]:
    """What the weights are a function of, but for how often and by how many threads."""
    settings = {**to_mapping(learn), "training": learn.training.result()}
    files = [*job.shards("labels"), *job.inputs.get("checkpoint", ())]
    return {
        "version": job.version,
        "detector": job.spec["detector"],
        "learn": settings,
        "inputs": [sha256(path) for path in files],
    }


def fit(job: Job, learn: Learn, annotations: Any, folder: Path, here: str) -> Any:
    """Builds the detector, gives it the weights to begin with, and trains it."""
    detector = make("detectors", job.spec["detector"], "detector")
    dataset = make("datasets", annotations.dataset, "dataset")
    return detector.fit(
        annotations,
        dataset.read,
        learn,
        folder,
        start=job.optional("checkpoint"),
        device=here,
    )


def finish(job: Job, learn: Learn, annotations: Any, network: Any, folder: Path) -> None:
    """Puts what the workflow knows in its place; the weights come last."""
    with replacing(job.output.with_name("metrics.jsonl")) as temporary:
        shutil.copyfile(folder / "metrics.jsonl", temporary)
    trained = summary(job, learn, annotations, network)
    write_json(job.output.with_name("trained.json"), trained, seal=True)
    state, _ = load_state(folder / "weights.pt")
    save_state(job.output, state, **job.attributes)
    for name in ("speed.jsonl", "events"):  # for people: what depends on the clock, TensorBoard's
        keep(folder / name, job.output.with_name(name))
    shutil.rmtree(folder)


def summary(job: Job, learn: Learn, annotations: Any, network: Any) -> Mapping[str, Any]:
    """What tables say of a training, and what it was given."""
    return {
        **job.attributes,
        "recipe": job.output.parent.parent.name,
        "round": int(job.output.parent.name.removeprefix("round")),
        "images": len(annotations),
        "without_masks": len(annotations.empty),
        "masks": annotations.count,
        "steps": learn.training.steps,
        "batch": learn.training.batch,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
