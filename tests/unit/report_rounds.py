"""What detectors would have left of their rounds, written down without training any."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np

from cleave import paths
from cleave.benchmarks import truth
from cleave.config import Config
from cleave.io import shards
from cleave.io.atomic import write_json
from cleave.io.coco import read_masks, write_masks
from cleave.io.images import ImageRecord, ImageShard, read_image_shard
from cleave.ops.relabel import relabel
from cleave.rounds import Round
from cleave.types import MaskSet

DETECTIONS = 20  # an image
LOSSES = {"mask": 0.7, "rpn_class": 0.6, "rpn_box": 0.08, "stage0_class": 0.5, "stage0_box": 0.02}
LOG = (
    "INFO annotations: 4 images with 10 masks; 0 images without a mask left out\n"
    "INFO training: step 2 of {steps}, loss 2.0, 1.0 images/s, 5 s left\n"
    "INFO training: step {steps} of {steps}, loss 1.9, 2.5 images/s, 0 s left\n"
)


def write_rounds(loaded: Config) -> None:
    """All files of every round: training, labels, and predictions on the data sets asked for."""
    for recipe, section in loaded["recipes"].items():
        before = paths.MASKS.format(
            dataset=section.reference("dataset"), masks=section.reference("masks"), shard="{shard}"
        )
        for round_ in section.rounds:
            if round_.number:
                known = {"recipe": recipe, "round": round_.number}
                labels = paths.LABELS.format(**known, shard="{shard}")
                write_labels(loaded, recipe, round_, before, labels)
                before = labels
            write_training(loaded, recipe, round_, before)
    for dataset, of in loaded.targets:
        if of in loaded.rounds:
            for shard in _shards(loaded, dataset):
                write_detections(loaded, dataset, of, shard)


def _shards(loaded: Config, dataset: str) -> list[str]:
    return shards.names(loaded["datasets"][dataset].plugin.shards)


def write_training(loaded: Config, recipe: str, round_: Round, labels: str) -> None:
    """The numbers of a training, its metrics and its log."""
    known = {"recipe": recipe, "round": round_.number}
    training = round_.learn.training
    files = [read_masks(Path(labels.format(shard=s)))[1] for s in _shards(loaded, round_.dataset)]
    counts = [len(found) for file in files for _, found in file.content()]
    trained = {
        "spec": json.loads(loaded.train_spec(recipe, round_.number)),
        **known,
        "images": sum(count > 0 for count in counts),
        "without_masks": counts.count(0),
        "masks": sum(counts),
        "steps": training.steps,
        "batch": training.batch,
        "parameters": 915_174,
    }
    write_json(Path(paths.TRAINED.format(**known)), trained)
    lines = "".join(json.dumps(line) + "\n" for line in metrics(recipe, round_))
    Path(paths.CURVES.format(**known)).write_text(lines)
    log = Path(paths.log(paths.CHECKPOINT.format(**known)))
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(LOG.format(steps=training.steps))


def metrics(recipe: str, round_: Round) -> list[dict[str, float]]:
    """Losses that fall, with noise; and the learning rate of the settings."""
    training = round_.learn.training
    rng = np.random.default_rng([zlib.crc32(recipe.encode()), round_.number])
    lines = []
    for step in range(training.log_every, training.steps + 1, training.log_every):
        fall = math.exp(-3 * step / training.steps) + 0.3 - 0.05 * round_.number
        noise = rng.normal(1, 0.05, len(LOSSES))
        losses = {n: v * fall * e for (n, v), e in zip(LOSSES.items(), noise, strict=True)}
        decays = sum(step > decay for decay in training.decay_steps)
        rate = training.learning_rate * training.gamma**decays
        rate *= min(1, step / max(1, training.warmup_steps))
        more = {"gradient_norm": 1.0, "skipped": 0, "learning_rate": rate, "step": step}
        lines.append({"loss": sum(losses.values()), **losses, **more})
    return lines


def detections(record: ImageRecord, shard: ImageShard, of: str) -> MaskSet:
    """The true objects, moved, and masks of nothing; later rounds are moved less."""
    name = f"{of}/{record.id}".encode("utf-8", "surrogateescape")
    rng = np.random.default_rng(zlib.crc32(name))
    masks = []
    if shard.spec["kind"] == "scenes":
        reach = 6 - 2 * int(of[-1])
        for mask in truth.load(ImageShard(shard.spec, (record,)))[record.id].masks[:DETECTIONS]:
            masks.append(np.roll(mask, rng.integers(-reach, reach + 1, 2), (0, 1)))
    true = len(masks)
    while len(masks) < DETECTIONS:
        mask = np.zeros(record.size, bool)
        top, left = (int(rng.integers(0, max(1, side // 2))) for side in record.size)
        tall, wide = (int(rng.integers(1, max(2, side // 2))) for side in record.size)
        mask[top : top + tall, left : left + wide] = True
        masks.append(mask)
    scores = np.concatenate([rng.uniform(0.4, 1, true), rng.uniform(0, 0.7, DETECTIONS - true)])
    return MaskSet(record.size, np.stack(masks), scores)


def write_detections(loaded: Config, dataset: str, of: str, name: str) -> None:
    """A shard of predictions."""
    shard = read_image_shard(Path(paths.IMAGES.format(dataset=dataset, shard=name)))
    found = {record.id: detections(record, shard, of) for record in shard.records}
    path = Path(paths.MASKS.format(dataset=dataset, masks=of, shard=name))
    spec = json.loads(loaded.detect_spec(of))
    write_masks(path, shard.records, found, spec=spec, version=1, dataset=shard.spec)


def write_labels(loaded: Config, recipe: str, round_: Round, before: str, labels: str) -> None:
    """By the rule of the config, from the written detections of the round before."""
    rule, of = round_.relabel, paths.of_round(recipe, round_.number - 1)
    limits = {"threshold": rule.threshold, "detections": rule.detections, "overlap": rule.overlap}
    for name in _shards(loaded, round_.dataset):
        shard = read_image_shard(Path(paths.IMAGES.format(dataset=round_.dataset, shard=name)))
        old = read_masks(Path(before.format(shard=name)))[1] if rule.merge else {}
        made = {}
        for record in shard.records:
            kept = old[record.id] if rule.merge else MaskSet.empty(record.size)
            made[record.id] = relabel(detections(record, shard, of), kept, **limits)[0]
        spec = json.loads(loaded.relabel_spec(recipe, round_.number))
        path = Path(labels.format(shard=name))
        write_masks(path, shard.records, made, spec=spec, version=1, dataset=shard.spec)
