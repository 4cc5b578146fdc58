"""The embedded data set: rendered scenes, from a seed alone, with no download."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from cleave.io.images import ImageRecord, ImageShard, number_of
from cleave.io.shards import shard_of
from cleave.ops.render import VERSION, image_id, parse_id, scene
from cleave.spec import to_mapping
from cleave.types import Image, Size


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Photo-like toy scenes of a few objects, rendered from seeds.

    Each flavour tests for one error: in `crowded`, objects of one class overlap in the picture and
    stand apart in depth, which punishes methods that merge them; in `control`, single objects
    occlude themselves, which punishes methods that split whatever has a step in depth. `mixed`
    has them in turn: what a detector learns from, lest it learns one error.
    """

    truth: ClassVar[Literal["masks"]] = "masks"

    flavour: Literal["crowded", "control", "mixed"]
    count: Annotated[int, Gt(0)]  # images
    first_seed: Annotated[int, Ge(0)] = 0
    height: Annotated[int, Gt(0)] = 480  # px; 60 patches of 8
    width: Annotated[int, Gt(0)] = 480
    shards: Annotated[int, Gt(0)] = 1

    def fingerprints(self) -> list[str]:
        """The same for every shard: nothing outside of the config can change a scene."""
        return [f"renderer {VERSION}"] * self.shards

    def list(self, shard: int) -> ImageShard:
        """The images of one 0-based shard. Renders nothing: an id and a size are a scene."""
        flavours = ("crowded", "control") if self.flavour == "mixed" else (self.flavour,)
        ids = (
            image_id(flavours[i % len(flavours)], self.first_seed + i) for i in range(self.count)
        )
        records = tuple(self._record(one) for one in ids if shard_of(one, self.shards) == shard)
        return ImageShard({"kind": "scenes", **to_mapping(self)}, records)

    def _record(self, one: str) -> ImageRecord:
        source = f"{one} {self.height}x{self.width} version {VERSION}"
        digest = hashlib.sha256(source.encode()).hexdigest()
        return ImageRecord(one, "", self.height, self.width, number_of(one), digest)

    def read(self, record: ImageRecord) -> Image:
        """Renders the image of a record.

        Raises:
            DataError: the record is of another data set.
        """
        return Image(record.id, scene(*parse_id(record.id), Size(*record.size)).pixels)
