"""`cleave segment photo.jpg`: one picture through the same plugins, without the workflow."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from cleave import config, paths
from cleave.commands.check import read_yaml
from cleave.references import NEEDS
from cleave.spec import ConfigError, canonical, nearest
from cleave.types import DataError, Image, MaskSet, Scene


def run(options: argparse.Namespace) -> None:
    """Cuts the photo, then writes the overlay and the COCO JSON."""
    from PIL import Image as Picture

    from cleave.io.atomic import replacing
    from cleave.io.images import load_pixels
    from cleave.report.overlay import overlay

    name = options.checkpoint.stem if options.checkpoint else options.method
    picture = options.out or options.photo.with_suffix(f".{name}.png")
    annotations = options.json or picture.with_suffix(".json")
    if picture.resolve() == options.photo.resolve():
        raise ConfigError(f"--out {picture}: would overwrite the photo; name another file")
    image = Image(options.photo.stem, load_pixels(options.photo))
    if options.checkpoint:
        masks, spec = detect(options, image)
    else:
        sections = chosen_sections(options)
        file = options.depth and Path(options.depth).is_file()
        masks = cut(sections, options.method, image, Path(options.depth).stem if file else image.id)
        spec = spec_of(sections, options.method)
    with replacing(picture) as temporary:
        Picture.fromarray(overlay(image.pixels, masks)).save(temporary, format="PNG")
    _write_json(annotations, options.photo, image, masks, spec)
    print(f"{len(masks)} masks -> {picture}, {annotations}")


def chosen_sections(options: argparse.Namespace) -> config.Config:
    """The config that the options describe.

    Raises:
        ConfigError: no such method, features or depth.
    """
    raw = read_yaml(options.config or Path(__file__).with_name("segment.yaml"))
    raw = {k: v for k, v in raw.items() if k in ("features", "depth", "graphs", "masks")}
    _use_trained(raw.get("features"))
    methods = raw.get("masks") or {}
    if options.method not in methods:
        raise ConfigError(f"--method: no {options.method!r}; {nearest(options.method, methods)}")
    chosen = _with_references(methods, options.method)
    if options.features:
        for section in chosen.values():
            _use_features(section, options.features, raw)
    cut_in_depth = [section for section in chosen.values() if "depth" in section]
    if options.depth:
        if not cut_in_depth:
            raise ConfigError(f"--depth: {options.method} uses no depth; leave the option out")
        raw["depth"], wanted = _with_depth(raw.get("depth") or {}, options.depth)
        for section in cut_in_depth:
            section["depth"] = wanted
    elif any(_is_flat(raw, section["depth"]) for section in cut_in_depth):
        print(
            f"cleave: note: {options.method} runs on flat depth, so it cuts in 2D only; "
            "give --depth FILE or a depth network (--depth zoedepth)",
            file=sys.stderr,
        )
    raw["masks"] = chosen
    return config.load(raw)


def _with_references(methods: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """A mask section and those that it is made of, as copies that may be changed."""
    chosen: dict[str, dict[str, Any]] = {}
    while name in methods and name not in chosen:
        chosen[name] = dict(methods[name] or {})
        name = str(chosen[name].get("masks"))
    return chosen


def _use_features(section: dict[str, Any], wanted: str, raw: Mapping[str, Any]) -> None:
    """Puts other features in place of those that a mask section uses, by itself or in graphs."""
    for key, known in (
        ("graphs", raw.get("graphs") or {}),
        ("features", raw.get("features") or {}),
    ):
        if key not in section:
            continue
        if wanted not in known:
            hint = nearest(wanted, known)
            raise ConfigError(f"--features: no {key} section {wanted!r}; {hint}")
        section[key] = wanted


def _is_flat(raw: Mapping[str, Any], name: str) -> bool:
    return (raw["depth"][name] or {}).get("kind", name) == "flat"


def _use_trained(features: Any) -> None:
    """Puts the file that a pre-training wrote in place of each reference to it."""
    for section in features.values() if isinstance(features, dict) else ():
        if isinstance(section, dict) and "pretrain" in section:
            section["weights"] = paths.WEIGHTS.format(pretrain=section.pop("pretrain"))


def _with_depth(sections: dict[str, Any], wanted: str) -> tuple[dict[str, Any], str]:
    """The depth sections and the name of the wanted one: a section, or a file made into one."""
    path = Path(wanted)
    if wanted in sections:
        return sections, wanted
    if path.is_file():
        section = {"kind": "files", "root": str(path.parent), "pattern": f"{{name}}{path.suffix}"}
        return sections | {"file": section}, "file"
    raise ConfigError(
        f"--depth: neither a file nor a section: {wanted!r}; {nearest(wanted, sections)}"
    )


def cut(sections: config.Config, method: str, image: Image, depth_id: str) -> MaskSet:
    """Runs a mask section and all it refers to on one image, whose depth may have another name."""
    from cleave.stages.job import image_rng

    @cache
    def make(key: str, name: str) -> Any:
        section = sections[key][name]
        found = {k: tuple(make(k, n) for n in names) for k, names in section.references.items()}
        if key == "features":
            return section.plugin([image])[0]
        if key == "depth":
            return section.plugin(replace(image, id=depth_id))
        if key == "graphs":
            (depth,) = found.get("depth", (None,))
            return section.plugin(*found["features"], depth, image_rng(image.id))
        needs = section.plugin.needs
        parts = {n: found[NEEDS[n]] if n == "graphs" else found[NEEDS[n]][0] for n in needs}
        return section.plugin(Scene(image, **parts))

    return make("masks", method)


def detect(options: argparse.Namespace, image: Image) -> tuple[MaskSet, dict[str, Any]]:
    """The predictions of a trained detector that score at least `--score`, and their spec.

    A checkpoint that cleave wrote says which detector it is of; for others, like those that CutLER
    and CuVLER publish, `--detector` names a section.

    Raises:
        ConfigError: no such section, or none named where it is needed.
        DataError: a checkpoint that cannot be read, or of another detector.
    """
    from cleave.io.checkpoints import load_state
    from cleave.io.device import device
    from cleave.registry import make

    if options.detector:
        raw = read_yaml(options.config or Path(__file__).with_name("segment.yaml"))
        known = config.load({"detectors": raw.get("detectors") or {}})["detectors"]
        if options.detector not in known:
            raise ConfigError(
                f"--detector: no {options.detector!r}; {nearest(options.detector, known)}"
            )
        spec = known[options.detector].mapping
    else:
        try:
            spec = load_state(options.checkpoint)[1]["spec"]["detector"]
        except (DataError, KeyError) as error:
            raise ConfigError(
                f"--checkpoint {options.checkpoint}: does not say which detector it is of "
                f"({error}); name one with --detector, like cutler"
            ) from None
    detector = make("detectors", spec, "--checkpoint")
    (found,) = detector.predict([image], options.checkpoint, device=device())
    return found[found.scores >= options.score], {"detector": spec}


def spec_of(sections: config.Config, method: str) -> dict[str, Any]:
    """What a mask section is made of, for the file of annotations."""
    spec: dict[str, Any] = {"features": {}, "depth": {}, "graphs": {}, "masks": {}}
    for key, name in [("masks", method), *sections.parts(method)]:
        spec[key][name] = sections[key][name].spec
    return spec


def _write_json(
    path: Path, photo: Path, image: Image, masks: MaskSet, spec: dict[str, Any]
) -> None:
    from cleave.io.coco import write_masks
    from cleave.io.images import ImageRecord, number_of
    from cleave.stages.versions import VERSIONS

    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    record = ImageRecord(image.id, photo.name, *image.size, number_of(image.id), digest)
    write_masks(
        path,
        [record],
        {image.id: masks},
        spec={"kind": "segment", "sections": canonical(spec)},
        version=VERSIONS["masks"],
        dataset={"kind": "folder", "root": str(photo.parent)},
    )
