"""A recipe: what a detector learns from, and the rounds in which it then learns from itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval

from cleave.rcnn.settings import Losses
from cleave.spec import ConfigError, build, nearest, to_mapping
from cleave.training.augment_settings import Augment
from cleave.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class Learn:
    """All that one training run reads beside its labels and its detector.

    The losses are Mask R-CNN's; `learning` gives the class for those of other detectors.
    """

    seed: Annotated[int, Ge(0)] = 0  # of the weights that no file gives, the order and all draws
    training: Training = field(default_factory=Training)
    losses: Losses = field(default_factory=Losses)
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self):
        if self.losses.trust_loss and self.augment.trust == "none":
            raise ConfigError("losses.trust_loss: needs augment.trust: spatial or area")


@functools.cache
def learning(losses: type) -> type[Learn]:
    """`Learn` with the losses that a detector has, the class of its `plain_losses`."""
    if losses is Losses:
        return Learn
    own = ("losses", losses, field(default_factory=losses))
    return make_dataclass("Learn", [own], bases=(Learn,), frozen=True, kw_only=True)


@dataclass(frozen=True, kw_only=True)
class Relabel:
    """How a checkpoint's predictions become labels (CutLER, arXiv 2301.11320, Sec. 3.3)."""

    threshold: Annotated[float, Interval(ge=0, le=1)] = 0.7  # least score; README: .7, then .65
    detections: Annotated[int, Gt(0)] = 30  # most predictions an image; CutLER, imagenet_train
    merge: bool = True  # keep masks of the round before; False: predictions alone (CuVLER)
    overlap: Annotated[float, Interval(gt=0, le=1)] = 0.5  # IoU from which an old mask is dropped


@dataclass(frozen=True)
class Round:
    """One training run: 0 learns from pseudo-masks, each later one from the one before it."""

    number: int
    dataset: str
    detector: str
    learn: Learn
    relabel: Relabel | None  # None in round 0


KEYS = ("rounds", *(f.name for f in fields(Learn)))


def parse(
    entry: Mapping[str, Any],
    dataset: str,
    detector: str,
    where: str,
    losses: Callable[[str, str], type] = lambda *_: Losses,
) -> tuple[Round, ...]:
    """The rounds of a recipe; each says only what differs from the round before it.

    Args:
        entry: keys `seed`, `training`, `losses`, `augment`, and `rounds`: a list of mappings with
            the same keys, `relabel`, `dataset` and `detector`.
        dataset, detector: of round 0, and of those after it until one names another. Detectors of
            one recipe have the same weights, and may differ in what they propose, say.
        losses: of a detector by its name, and the place that names it: the class of its losses.

    Raises:
        ConfigError: an unknown key or a value out of range; or a round on another data set that
            would keep old masks, which are of other photos.
    """
    _require_known(entry, KEYS, where)
    entry = dict(entry)
    later = entry.pop("rounds", None) or []
    if not isinstance(later, list | tuple):
        raise ConfigError(f"{where}.rounds: expected a list, got {later!r}")
    learn = build(learning(losses(detector, where)), entry, where)
    rounds = [Round(0, dataset, detector, learn, None)]
    settings: Mapping[str, Any] = entry
    relabel: Mapping[str, Any] = {}
    for number, changes in enumerate(later, 1):
        here = f"{where}.rounds[{number}]"
        if not isinstance(changes, Mapping | None):
            raise ConfigError(f"{here}: expected keys and values, got {changes!r}")
        changes = dict(changes or {})
        _require_known(changes, ("dataset", "detector", "relabel", *KEYS[1:]), here)
        place = str(changes.pop("dataset", rounds[-1].dataset))
        detector = str(changes.pop("detector", detector))
        relabel = merged(relabel, _mapping(changes.pop("relabel", None), f"{here}.relabel"))
        settings = merged(settings, changes)
        rule = build(Relabel, relabel, f"{here}.relabel")
        if rule.merge and place != rounds[-1].dataset:
            raise ConfigError(
                f"{here}: {place} has no masks of the round before, which was on "
                f"{rounds[-1].dataset}; set relabel: {{merge: false}}"
            )
        learn = build(learning(losses(detector, here)), settings, here)
        rounds.append(Round(number, place, detector, learn, rule))
    return tuple(rounds)


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with the values of `new`; mappings are merged in turn, all else is replaced."""
    result = dict(old)
    for key, value in new.items():
        both = isinstance(value, Mapping) and isinstance(old.get(key), Mapping)
        result[key] = merged(old[key], value) if both else value
    return result


def train_spec(round_: Round, detector: Mapping[str, Any]) -> dict[str, Any]:
    """What the stage `train` gets: the detector and this round's settings."""
    return {"detector": dict(detector), "learn": to_mapping(round_.learn)}


def relabel_spec(round_: Round, detector: Mapping[str, Any]) -> dict[str, Any]:
    """What the stage `relabel` gets: the detector and the rule for its predictions."""
    return {"detector": dict(detector), "relabel": to_mapping(round_.relabel)}


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping | None):
        raise ConfigError(f"{where}: expected keys and values, got {value!r}")
    return value or {}


def _require_known(entry: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in entry:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; {nearest(key, known)}")
