"""Ground truth of a data set: the only package of the project in which labels are read."""

from __future__ import annotations

import importlib

from cleave.benchmarks.truth.instances import Truth
from cleave.io.images import ImageShard
from cleave.spec import ConfigError

__all__ = ["Truth", "load"]

READERS = ("coco", "kitti", "openimages", "scenes", "voc")  # a kind of data set, a file here


def load(shard: ImageShard) -> dict[str, Truth]:
    """The truth of every image of a shard, by image id.

    Raises:
        ConfigError: a kind of data set that has no labels.
        DataError: annotations that are missing, malformed, or do not fit the images.
    """
    kind = shard.spec.get("kind")
    if kind not in READERS:
        raise ConfigError(
            f"a data set of kind {kind!r} has no ground truth, so no benchmark can use it; "
            f"valid: {', '.join(READERS)}"
        )
    return importlib.import_module(f"{__name__}.{kind}").read(shard)
