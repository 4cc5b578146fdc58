"""A number per stage, raised when its output comes to mean something else.

Snakemake sees a changed config but no edit of the library: this number is how a rule tells it.
"""

VERSIONS = {
    "images": 1,
    "pretrain": 2,
    "features": 1,
    "depth": 1,
    "graphs": 1,
    "masks": 2,
    "recipe": 1,
    "train": 1,
    "relabel": 1,
    "detect": 1,
    "predict": 2,
    "baseline": 2,
    "score": 2,
    "table": 2,
    "report": 3,
}
