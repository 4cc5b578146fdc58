"""Every job that a config asks for, with its files: the DAG's targets, and what `status` counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cleave import paths
from cleave.config import Config
from cleave.io import shards
from cleave.paths import of_round

PARTS = {
    "pretrain": paths.WEIGHTS,
    "features": paths.FEATURES,
    "depth": paths.DEPTH,
    "graphs": paths.GRAPHS,
    "masks": paths.MASKS,
}


@dataclass(frozen=True)
class Planned:
    """One job."""

    stage: str
    section: str  # of the config; a recipe with its round; what is scored goes by its benchmark
    dataset: str  # whose images it reads
    outputs: tuple[str, ...]

    @property
    def log(self) -> str:
        """Where the job writes what it says."""
        return paths.log(self.outputs[0])


def jobs(config: Config) -> list[Planned]:
    """All jobs but the report, each once, what comes first in the DAG first within a data set."""
    return list(dict.fromkeys([*_parts(config), *_rounds(config), *_ends(config)]))


def labels_of(config: Config, recipe: str, number: int) -> tuple[str, str]:
    """The data set of a round's labels, and their pattern, all but the shard."""
    section = config["recipes"][recipe]
    dataset = section.rounds[number].dataset
    if number == 0:
        masks = section.reference("masks")
        return dataset, paths.MASKS.format(dataset=dataset, masks=masks, shard="{shard}")
    return dataset, paths.LABELS.format(recipe=recipe, round=number, shard="{shard}")


def _shards(
    config: Config, stage: str, section: str, dataset: str, pattern: str, **wildcards: str
) -> Iterator[Planned]:
    for shard in shards.names(config["datasets"][dataset].plugin.shards):
        output = pattern.format(dataset=dataset, shard=shard, **wildcards)
        yield Planned(stage, section, dataset, (output,))


def _images(config: Config, dataset: str) -> Iterator[Planned]:
    return _shards(config, "images", "", dataset, paths.IMAGES)


def _parts(config: Config) -> Iterator[Planned]:
    """Every shard of all that the masks asked for are made of."""
    for dataset, masks in config.targets:
        yield from _images(config, dataset)
        for key, name in reversed(config.parts(masks)):
            if key == "pretrain":
                learned_on = config["pretrain"][name].reference("dataset")
                yield from _images(config, learned_on)
                yield Planned(key, name, learned_on, (PARTS[key].format(pretrain=name),))
            else:
                yield from _shards(config, key, name, dataset, PARTS[key], **{key: name})
        stage = "detect" if masks in config.rounds else "masks"
        yield from _shards(config, stage, masks, dataset, paths.MASKS, masks=masks)


def _rounds(config: Config) -> Iterator[Planned]:
    """All files of every round of every recipe."""
    files = (paths.CHECKPOINT, paths.CURVES, paths.TRAINED)
    for recipe, section in config["recipes"].items():
        for round_ in section.rounds:
            number, of = round_.number, of_round(recipe, round_.number)
            yield from _images(config, round_.dataset)
            dataset, pattern = labels_of(config, recipe, number)
            stage = "relabel" if number else "masks"
            name = of if number else section.references["masks"][0]
            yield from _shards(config, stage, name, dataset, pattern)
            outputs = tuple(file.format(recipe=recipe, round=number) for file in files)
            yield Planned("train", of, dataset, outputs)


def _ends(config: Config) -> Iterator[Planned]:
    """What joins shards: the masks of recipes, predictions, scores and tables."""
    for recipe, section in config["recipes"].items():
        dataset = section.references["dataset"][0]
        yield Planned("recipe", recipe, dataset, (paths.RECIPE.format(recipe=recipe),))
    for name, section in config["benchmarks"].items():
        dataset = section.references["dataset"][0]
        for row in config.rows(name):
            stage, files = "baseline" if row["baseline"] else "predict", {"benchmark": name, **row}
            yield Planned(stage, name, dataset, (paths.PREDICTIONS.format(**files),))
            yield Planned("score", name, dataset, (paths.SCORES.format(**files),))
        outputs = (paths.TABLE.format(benchmark=name), paths.TABLE_TEXT.format(benchmark=name))
        yield Planned("table", name, dataset, outputs)
