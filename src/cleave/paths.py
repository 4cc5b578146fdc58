"""Where every artifact lies under results/: the one place that knows, for the DAG and the report.

The patterns are Snakemake's: names in braces are wildcards.
"""

from __future__ import annotations

ROOT = "results"
IMAGES = f"{ROOT}/{{dataset}}/images/{{shard}}.json"
WEIGHTS = f"{ROOT}/pretrain/{{pretrain}}/weights.safetensors"
METRICS = f"{ROOT}/pretrain/{{pretrain}}/metrics.jsonl"
FEATURES = f"{ROOT}/{{dataset}}/features/{{features}}/{{shard}}.h5"
DEPTH = f"{ROOT}/{{dataset}}/depth/{{depth}}/{{shard}}.h5"
GRAPHS = f"{ROOT}/{{dataset}}/graphs/{{graphs}}/{{shard}}.h5"
MASKS = f"{ROOT}/{{dataset}}/masks/{{masks}}/{{shard}}.json"
RECIPE = f"{ROOT}/recipes/{{recipe}}/annotations.json"
CHECKPOINT = f"{ROOT}/recipes/{{recipe}}/round{{round}}/checkpoint.pt"
CURVES = f"{ROOT}/recipes/{{recipe}}/round{{round}}/metrics.jsonl"
TRAINED = f"{ROOT}/recipes/{{recipe}}/round{{round}}/trained.json"
LABELS = f"{ROOT}/recipes/{{recipe}}/round{{round}}/labels/{{shard}}.json"
PREDICTIONS = f"{ROOT}/benchmarks/{{benchmark}}/{{of}}/predictions.json"
SCORES = f"{ROOT}/benchmarks/{{benchmark}}/{{of}}/scores.json"
TABLE = f"{ROOT}/tables/{{benchmark}}.csv"
TABLE_TEXT = f"{ROOT}/tables/{{benchmark}}.md"
REPORT = f"{ROOT}/report/index.html"
BENCHES = f"{ROOT}/bench/*.json"  # what `make bench` measured, a file a machine

# Names that a data set cannot have, because these folders lie beside those of the data sets.
RESERVED = frozenset({"benchmarks", "logs", "pretrain", "recipes", "report", "tables", "bench"})

SHARDS_SHOWN = 4  # the report takes its pictures and histograms from a data set's first shards


def of_round(recipe: str, number: int) -> str:
    """The name under which a round's predictions stand beside the mask sections."""
    return f"{recipe}.round{number}"


def log(pattern: str) -> str:
    """The log of the job that writes `pattern`: the same path under results/logs/."""
    return f"{ROOT}/logs/{pattern.removeprefix(ROOT + '/')}.log"
