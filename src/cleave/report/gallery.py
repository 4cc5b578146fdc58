"""Panels: one image as the stages saw it, and the masks of each method beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cleave import paths
from cleave.io.artifacts import unpack_depth, unpack_features
from cleave.io.images import ImageRecord, ImageShard
from cleave.io.store import ShardReader, read_shard
from cleave.ops import rle
from cleave.ops.hierarchy import depths
from cleave.ops.iou import mask_iou
from cleave.references import names_in
from cleave.registry import make
from cleave.report.figures import (
    THUMBNAIL,
    diverging,
    feature_pca,
    heat,
    resized,
    thumbnail_size,
)
from cleave.report.methods import MOST, Layout
from cleave.report.overlay import overlay, palette
from cleave.types import Array, MaskSet, Size

FOUND = 0.5  # IoU from which a mask counts as that of an object, as in AP50
DRAWN = 3 * THUMBNAIL // 2  # overlays are drawn larger and shrunk, for smooth outlines
FEWEST = 5  # pictures beside each other, and `methods.MOST` at most

# A detector finds up to a hundred masks an image: those with this score are drawn, at most so many,
# and at least so many.
SURE, MOST_DRAWN, FEWEST_DRAWN = 0.5, 12, 3
CLUSTERS_DRAWN = 6  # of segments for several numbers of clusters (`spectral_clusters`)
LEVELS = ("roots", "level 1", "level 2", "level 3 and deeper")  # as in benchmarks.hierarchy


@dataclass(frozen=True)
class Picture:
    """One picture of a panel."""

    title: str
    file: str  # relative to the report
    note: str = ""
    method: str = ""  # the mask section, where the picture shows one
    best: bool = False  # no other method has a higher IoU


@dataclass(frozen=True)
class Source:
    """Where an image and what was made of it lie."""

    dataset: str
    entry: Mapping[str, Any]  # the data set's part of `Config.summary`
    shard: str
    images: ImageShard
    record: ImageRecord

    @property
    def size(self) -> Size:
        return thumbnail_size(self.record.size)


def panel(
    source: Source,
    layout: Layout,
    masks: Mapping[str, Sequence[Mapping[str, Any]]],
    truth: Sequence[Mapping[str, Any]] | None,
    best_iou: Mapping[str, float],
    folder: Path,
    *,
    boxes: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Draws the panel of one image.

    Args:
        source: the image.
        layout: the methods to show.
        masks: method to its COCO annotations of this image.
        truth: RLE of the true objects, or None where there is no truth.
        best_iou: method to mean best IoU on this image in percent, where there is one.
        folder: of the report; pictures go to its `assets`.
        boxes: RLE of the true boxes where nothing more is labelled.

    Returns:
        `rows`, lists of pictures: what the methods saw, what they made of it, and a row for each
        hierarchy of masks; `width` and `height` of each; and `columns`, how many to set beside
        each other.
    """
    pixels = make("datasets", source.images.spec).read(source.record).pixels
    photo = resized(pixels, thumbnail_size(source.record.size, DRAWN), smooth=True)
    objects = None if truth is None else shrunk(truth, photo.shape[:2])
    canvas = _Canvas(source, folder, photo, objects)
    seen = [Picture("photo", canvas.save("photo", pixels))]
    for index, (title, picture, patches) in enumerate(_stages(source)):
        seen.append(Picture(title, canvas.save(f"seen{index}", picture, patches=patches)))
    lines = [[m and _made(canvas, m, masks[m], best_iou) for m in row] for row in layout.rows]
    if truth is not None or boxes is not None:
        gap = [None] if layout.aligned else []
        first = _truth(canvas, boxes or ())
        lines = [[first, *lines[0]], *([*gap, *line] for line in lines[1:])]
    return {
        "rows": [seen, *lines, *_hierarchies(layout, masks, canvas)],
        "columns": columns(len(seen), *map(len, lines)),
        "width": source.size.width,
        "height": source.size.height,
    }


@dataclass(frozen=True)
class _Canvas:
    """The photo of a panel, to draw masks on."""

    source: Source
    folder: Path  # of the report
    photo: Array  # larger than it is shown
    objects: Array | None  # (G, H, W) bool, the true ones at its size

    def draw(self, name: str, shown: Sequence[Mapping[str, Any]]) -> str:
        """Saves a picture of masks."""
        small = shrunk([annotation["segmentation"] for annotation in shown], self.photo.shape[:2])
        return self.save(name, drawn(self.photo, small, self.objects))

    def save(self, name: str, picture: Array, *, patches: bool = False) -> str:
        """Saves a picture at the size of the panel; its place relative to the page."""
        small = resized(picture, self.source.size, smooth=not patches)
        file = f"{self.source.dataset}-{self.source.record.number}-{name}.webp"
        return write_picture(small, self.folder, file, patches)


def _made(
    canvas: _Canvas,
    method: str,
    found: Sequence[Mapping[str, Any]],
    best_iou: Mapping[str, float],
) -> Picture:
    """What a method made of the image."""
    shown = of_method(found, canvas.source.entry["masks"][method])
    file, iou = canvas.draw(method, shown), best_iou.get(method)
    part = "" if len(shown) == len(found) else f"{len(shown)} of "
    note = ("" if iou is None else f"IoU {iou:.0f}, ") + part + _count(len(found), "mask")
    best = iou is not None and 0 < max(best_iou.values()) == iou
    return Picture(method, file, note, method, best)


def _truth(canvas: _Canvas, boxes: Sequence[Mapping[str, Any]]) -> Picture:
    """The true objects, or their boxes where nothing more is labelled."""
    if canvas.objects is None:
        picture, count = _boxed(canvas.photo, boxes), _count(len(boxes), "box", "es")
    else:
        count = _count(len(canvas.objects), "object")
        picture = drawn(canvas.photo, canvas.objects, None)
    return Picture("truth", canvas.save("truth", picture), count)


def of_method(
    found: Sequence[Mapping[str, Any]], row: Mapping[str, Any]
) -> Sequence[Mapping[str, Any]]:
    """What is drawn: all pseudo-masks, but of a detector the sure ones and of a study one k.

    Args:
        found: COCO annotations of one image.
        row: the method's make-up.
    """
    if "recipe" in row:
        return to_draw(found)
    numbers = sorted({annotation["label"] for annotation in found if "label" in annotation})
    if len(numbers) < 2:
        return found
    number = min(numbers, key=lambda k: abs(k - CLUSTERS_DRAWN))
    return [annotation for annotation in found if annotation["label"] == number]


def to_draw(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of a detector's masks those that are drawn, best first."""
    best = sorted(found, key=lambda annotation: -annotation["score"])[:MOST_DRAWN]
    sure = sum(annotation["score"] >= SURE for annotation in best)
    return best[: max(sure, FEWEST_DRAWN)]


def _hierarchies(
    layout: Layout,
    masks: Mapping[str, Sequence[Mapping[str, Any]]],
    canvas: _Canvas,
) -> list[list[Picture]]:
    """A row for each method some of whose masks lie in others, a picture for each level."""
    levels = {method: by_level(masks[method]) for method in layout.methods}
    return [
        [
            Picture(
                f"{method}: {LEVELS[number]}",
                canvas.draw(f"{method}-level{number}", alone),
                _count(len(alone), "mask"),
                method,
            )
            for number, alone in enumerate(found)
        ]
        for method, found in levels.items()
        if len(found) > 1
    ]


def by_level(found: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The masks of each level of `LEVELS` down to the last that has any; all are roots or parts."""
    own = depths(np.array([annotation.get("parent", -1) for annotation in found], np.int64))
    own = np.minimum(own, len(LEVELS) - 1)
    return [
        [annotation for annotation, number in zip(found, own, strict=True) if number == level]
        for level in range(own.max(initial=-1) + 1)
    ]


def columns(*counts: int) -> int:
    """How many pictures to set beside each other, so that no row of so many leaves much blank."""
    most = max(*counts, FEWEST)
    return -(-most // -(-most // MOST))


def _count(number: int, what: str, more: str = "s") -> str:
    return f"{number} {what}{'' if number == 1 else more}"


def _boxed(photo: Array, boxes: Sequence[Mapping[str, Any]]) -> Array:
    """Boxes over the photo, all but their outlines pale."""
    masks = shrunk(boxes, photo.shape[:2])
    return overlay(photo, MaskSet(Size(*photo.shape[:2]), masks, np.ones(len(masks))), opacity=0.15)


def shrunk(encoded: Sequence[Mapping[str, Any]], size: Sequence[int]) -> Array:
    """(M, H, W) bool masks at another size; one at a time, for photos may be large."""
    masks = np.zeros((len(encoded), *size), bool)
    for mask, code in zip(masks, encoded, strict=True):
        whole = rle.decode(code)
        rows, lines = (
            ((np.arange(n) + 0.5) * full / n).astype(int)
            for n, full in zip(size, whole.shape, strict=True)
        )
        mask[:] = whole[rows[:, None], lines]
    return masks


def drawn(photo: Array, masks: Array, objects: Array | None) -> Array:
    """Masks over the photo, in the colours of the objects that they find where there are any."""
    shown = MaskSet(Size(*photo.shape[:2]), masks, np.ones(len(masks)))
    if objects is None or not len(masks):
        return overlay(photo, shown)
    iou = mask_iou(masks, objects) if len(objects) else np.zeros((len(masks), 1))
    found = iou.max(1) >= FOUND
    others = len(objects) + np.cumsum(~found)
    colours = palette(len(objects) + len(masks) + 1)[np.where(found, iou.argmax(1), others)]
    pale = (colours // 2 + 90).astype(np.uint8)
    return overlay(photo, shown, colours=np.where(found[:, None], colours, pale), hatched=~found)


def _stages(source: Source) -> Iterator[tuple[str, Array, bool]]:
    """Feature PCA, depth, importance and eigenvector of every section that the methods use.

    Yields:
        Title, picture, and whether its pixels are patches.
    """
    rows = [row for row in source.entry["masks"].values() if "recipe" not in row]

    def sections(key: str, pattern: str) -> Iterator[tuple[str, ShardReader]]:
        for name in names_in(rows, key):
            names = {"dataset": source.dataset, "shard": source.shard, key: name}
            with read_shard(Path(pattern.format(**names))) as reader:
                yield name, reader

    for name, reader in sections("features", paths.FEATURES):
        features = unpack_features(*reader.get(source.record.id))
        yield f"features {name}", feature_pca(next(iter(features.facets.values()))), True
    for name, reader in sections("depth", paths.DEPTH):
        depth = unpack_depth(*reader.get(source.record.id))
        yield f"depth {name}", heat(depth.values, "magma_r"), False
    for name, reader in sections("graphs", paths.GRAPHS):
        # Not unpack_graph: the edges are most of the file, and are not drawn.
        arrays, attributes = reader.get(source.record.id, {"importance", "eigenvectors"})
        if "importance" in arrays:
            yield f"importance {name}", heat(arrays["importance"]), True
        if "eigenvectors" in arrays:
            vector = arrays["eigenvectors"][0].reshape(attributes["grid"])
            yield f"eigenvector {name}", diverging(vector), True


def write_picture(picture: Array, folder: Path, name: str, lossless: bool = False) -> str:
    """Saves a picture among the assets of the report; its place relative to the page."""
    from PIL import Image

    path = folder / "assets" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, format="WEBP", quality=75, method=4, lossless=lossless)
    return f"assets/{name}"


def choose(
    ids: Sequence[str],
    best_iou: Mapping[str, Mapping[str, float]],
    rank: Callable[[str], int],
    sampled: int,
    extremes: int,
) -> dict[str, list[str]]:
    """Images for panels: by lot, then the best and worst of what is left.

    Best and worst go by the mean over methods of the mean best IoU; images without objects have
    none.

    Args:
        ids: to choose from.
        best_iou: method to image to mean best IoU in percent.
        rank: the lot of an image: depends on its id alone, so that the choice does not change
            when other images come or go.
        sampled: how many by lot.
        extremes: how many of each end.
    """
    by_lot = sorted(ids, key=lambda i: (rank(i), i))
    means = {
        i: float(np.mean([iou[i] for iou in best_iou.values() if i in iou]))
        for i in by_lot[sampled:]
        if any(i in iou for iou in best_iou.values())
    }
    ranked = sorted(means, key=lambda i: (-means[i], i))
    half = min(extremes, len(ranked) // 2)
    return {
        "by lot": by_lot[:sampled],
        "best": ranked[:half],
        "worst": ranked[len(ranked) - half :][::-1],
    }
