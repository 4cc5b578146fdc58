# The only Python of the workflow: the config as a graph, and the files a wildcard stands for.

import contextlib
import functools
import gc
import glob
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from cleave import config as cleave_config
from cleave import paths, plan
from cleave.io import listing, shards
from cleave.io.images import read_image_shard
from cleave.io.seen import Seen
from cleave.pretrain.shipped import located
from cleave.stages.versions import VERSIONS
from cleave.types import CleaveError

try:
    SECTIONS = cleave_config.load(config)
except CleaveError as error:
    raise WorkflowError(f"invalid config:\n{error}") from None

# A DAG is some hundred thousand objects that all stay: looking through them for garbage at the
# usual pace is a seventh of the time that planning ImageNet takes.
gc.set_threshold(100_000)

# What a killed process cannot say itself, its shell writes into its log. The line that bash has for
# it goes nowhere: the cause comes first.
shell.prefix("""set -euo pipefail
cleave() {{
    local code=0
    {{ command cleave "$@" 2>&3 3>&-; }} 3>&2 2> /dev/null || code=$?
    case $code in
    137) echo "cleave: error: killed (SIGKILL), as the system does where memory is short;" \\
        "give the job more, or run fewer at once (--cores), and run the same command" >&2 ;;
    132 | 134 | 135 | 136 | 139) echo "cleave: error: crashed (SIG$(kill -l $code)) outside" \\
        "of Python; this is a bug, please report it with what stands here" >&2 ;;
    esac
    return $code
}}
""")


def one_of(kind):
    """A wildcard constraint that admits the sections of one kind, and nothing else."""
    return "|".join(map(re.escape, sorted(SECTIONS[kind]))) or "(?!)"


BASELINES = "|".join(cleave_config.BASELINES)
ROUNDS = "|".join(map(re.escape, SECTIONS.rounds)) or "(?!)"


wildcard_constraints:
    dataset=one_of("datasets"),
    shard=r"[0-9]+-of-[0-9]+",
    pretrain=one_of("pretrain"),
    features=one_of("features"),
    depth=one_of("depth"),
    graphs=one_of("graphs"),
    masks=f"{one_of('masks')}|{ROUNDS}",
    recipe=one_of("recipes"),
    round=r"[0-9]+",
    benchmark=one_of("benchmarks"),


def spec(kind, key):
    """A param: the section of this kind that the wildcard `key` names, as canonical JSON."""
    return lambda wildcards: SECTIONS.spec(kind, wildcards[key])


def processes(kind):
    """Threads: in how many processes the section's plugin works."""
    return lambda wildcards: getattr(SECTIONS[kind][wildcards[kind]].plugin, "processes", 1)


def gpu(kind):
    """A resource: how many GPUs the section's plugin runs on if there are any, one a process."""

    def count(wildcards):
        on_gpu = getattr(SECTIONS[kind][wildcards[kind]].plugin, "gpu", False)
        return processes(kind)(wildcards) if on_gpu else 0

    return count


def given(section, *files):
    """An input: files that a section names. Most are the user's, and no rule makes them.

    Snakemake takes what was made of a file that is gone for finished, whatever else has changed.
    """
    made = {paths.WEIGHTS.format(pretrain=name) for name in SECTIONS["pretrain"]}
    for file in files:
        if file not in made and not os.path.exists(file):
            raise WorkflowError(f"{section}: {file}: there is no such file")
    return list(files)


def dataset_files(name):
    """The annotation file of a data set, where it has one: a change of it reruns its images."""
    file = getattr(SECTIONS["datasets"][name].plugin, "annotations", None)
    if file is None or os.path.isdir(file := os.path.expanduser(file)):
        return []
    return given(f"datasets.{name}", file)


def digests(dataset):
    """The path of each photo and its sha256, as far as an earlier run listed it."""
    root = os.path.expanduser(SECTIONS["datasets"][dataset].plugin.root)
    files = [file for file in all_shards(dataset, paths.IMAGES) if os.path.exists(file)]
    if files:
        print(f"datasets.{dataset}: comparing photos that have a new time", file=sys.stderr)
    for file in files:
        with contextlib.suppress(CleaveError):
            for record in read_image_shard(file).records:
                yield os.path.join(root, record.path), record.digest


@functools.cache
def fingerprints(dataset):
    """A text per shard of a data set; looks at its folder once."""
    plugin = SECTIONS["datasets"][dataset].plugin
    # Beside Snakemake's record of the params, for which it is kept: both are lost together.
    memory = Path(".snakemake", "cleave")
    try:
        if not getattr(plugin, "watch", False):
            source = plugin.fingerprinted() if hasattr(plugin, "fingerprinted") else ""
            file = memory / f"{dataset}.list"
            return listing.remembered(file, source, plugin.fingerprints)
        seen = Seen(memory / f"{dataset}.seen", lambda: digests(dataset))
        texts = plugin.fingerprints(seen.look)
        seen.save()
        return texts
    except CleaveError as error:
        raise WorkflowError(f"datasets.{dataset}: {error}") from None


def fingerprint(wildcards):
    """A param: changes with the names, sizes and times of the photos dealt to this shard."""
    return fingerprints(wildcards.dataset)[shards.parse(wildcards.shard)[0]]


@functools.cache
def depth_fingerprint(name):
    """A text that changes with a depth section's own files, where it has any."""
    plugin = SECTIONS["depth"][name].plugin
    return plugin.fingerprint() if hasattr(plugin, "fingerprint") else ""


def weights_of(kind, field):
    """An input: the weights file that a section names in a field, so that a new one is noticed."""

    def files(wildcards):
        name = wildcards[kind]
        file = getattr(SECTIONS[kind][name].plugin, field, None)
        if file in (None, "random"):
            return []
        return given(f"{kind}.{name}.{field}", str(located(file)[0]))

    return files


def reference(kind, key, pattern):
    """An input: the same shard of each section that the section names under `key`."""

    def files(wildcards):
        names = SECTIONS[kind][wildcards[kind]].references.get(key, ())
        return [pattern.format(**dict(wildcards.items()) | {key: name}) for name in names]

    return files


def all_shards(dataset, pattern, **wildcards):
    """Every shard of a data set."""
    total = SECTIONS["datasets"][dataset].plugin.shards
    return expand(pattern, dataset=dataset, shard=shards.names(total), **wildcards)


def of_pretrain(pattern):
    """An input: every shard that a pre-training learns from."""

    def files(wildcards):
        section = SECTIONS["pretrain"][wildcards.pretrain]
        return all_shards(section.reference("dataset"), pattern)

    return files


def of_recipe(pattern):
    """An input: every shard that a recipe joins."""

    def files(wildcards):
        recipe = SECTIONS["recipes"][wildcards.recipe]
        return all_shards(recipe.reference("dataset"), pattern, masks=recipe.reference("masks"))

    return files


def round_of(wildcards, back=0):
    """The round that the wildcards name, or one before it."""
    return SECTIONS["recipes"][wildcards.recipe].rounds[int(wildcards.round) - back]


def training_of(wildcards):
    """The settings of a round's training."""
    return round_of(wildcards).learn.training


def weights_of_detector(wildcards):
    """An input: the weights file, if any, that round 0 begins with, so that a new one is noticed."""
    name = round_of(wildcards).detector
    files = SECTIONS["detectors"][name].plugin.files if wildcards.round == "0" else ()
    return given(f"detectors.{name}.weights", *files)


def checkpoint_before(wildcards):
    """An input: what the round before learned; round 0 has none."""
    before = int(wildcards.round) - 1
    return [] if before < 0 else paths.CHECKPOINT.format(recipe=wildcards.recipe, round=before)


def checkpoint_of(wildcards):
    """An input: the checkpoint of the round whose predictions are asked for."""
    recipe, round_ = SECTIONS.rounds[wildcards.masks]
    return paths.CHECKPOINT.format(recipe=recipe, round=round_.number)


def labels_of_round(wildcards):
    """An input: every shard that a round learns from."""
    return all_shards(*plan.labels_of(SECTIONS, wildcards.recipe, int(wildcards.round)))


def images_of_round(wildcards):
    """An input: the shard of images that gets new labels."""
    return paths.IMAGES.format(dataset=round_of(wildcards).dataset, shard=wildcards.shard)


def old_labels(wildcards):
    """An input: the labels of the round before, where some of them may be kept."""
    if not round_of(wildcards).relabel.merge:
        return []
    before = int(wildcards.round) - 1
    return plan.labels_of(SECTIONS, wildcards.recipe, before)[1].format(shard=wildcards.shard)


def of_benchmark(pattern):
    """An input: every shard of a benchmark's data set, for the mask section `of`."""

    def files(wildcards):
        dataset = SECTIONS["benchmarks"][wildcards.benchmark].reference("dataset")
        return all_shards(dataset, pattern, masks=wildcards.get("of"))

    return files


def truth_files(wildcards):
    """An input: the annotation file of a benchmark's data set, where it has one."""
    return dataset_files(SECTIONS["benchmarks"][wildcards.benchmark].reference("dataset"))


@functools.cache
def label_fingerprint(dataset):
    """A text that changes with the label files of a data set that has one for each image."""
    plugin = SECTIONS["datasets"][dataset].plugin
    try:
        return plugin.label_fingerprint() if hasattr(plugin, "label_fingerprint") else ""
    except CleaveError as error:
        raise WorkflowError(f"datasets.{dataset}: {error}") from None


def labels(wildcards):
    """A param: changes with the names, sizes and times of the label files of a benchmark."""
    return label_fingerprint(SECTIONS["benchmarks"][wildcards.benchmark].reference("dataset"))


def table_rows(wildcards):
    """An input: the scores of each row of a benchmark's table."""
    rows = [row["of"] for row in SECTIONS.rows(wildcards.benchmark)]
    return expand(paths.SCORES, benchmark=wildcards.benchmark, of=rows)


def trained_rows(wildcards):
    """An input: what the detectors of a benchmark's table were trained on."""
    rows = [row for row in SECTIONS.rows(wildcards.benchmark) if "recipe" in row]
    return [paths.TRAINED.format(**row) for row in rows]


def everything():
    """All files but the report: each is a target, not only those that come last.

    Snakemake takes note of a job's params even where the job failed, and misses no file in the
    middle: at the next run it would take what follows for made by a job that never ended.
    """
    return sorted({file for job in plan.jobs(SECTIONS) for file in job.outputs})


def benches():
    """An input: what was measured in this folder, so that the report changes with it."""
    return sorted(glob.glob(paths.BENCHES))


def page():
    """The report, where there is anything to show."""
    return [paths.REPORT] if SECTIONS.targets else []
