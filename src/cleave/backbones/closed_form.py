"""What the backbones that the `neighbour_lda` stage learned have in common."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cleave.backbones.inputs import Descriptor
from cleave.ops.dictionary import PATCH
from cleave.spec import ConfigError

if TYPE_CHECKING:
    from cleave.pretrain.closed_form import ClosedForm


@dataclass(frozen=True, kw_only=True)
class ClosedFormFeatures(Descriptor):
    """Features by weights of a `neighbour_lda` section, by reference, or from a file.

    They are best at the `size` of that section.
    """

    weights: str | None = None  # a file that the stage wrote; None: of the `pretrain` reference
    sha256: str | None = None  # of the weights: another file is refused

    stride: ClassVar[int] = PATCH
    learned_by: ClassVar[str] = "neighbour_lda"  # the kind of section that makes such weights
    licence: ClassVar[str] = "Apache-2.0; the weights are of whoever trained them"

    @property
    def needs(self) -> frozenset[str]:
        """What the config must refer to: a pre-training, where no file is named."""
        return frozenset({"weights"} if self.weights is None else ())

    @functools.cached_property
    def learned(self) -> ClosedForm:
        """The weights; read when the first image comes."""
        from cleave.pretrain.closed_form import load

        if self.weights is None:
            raise ConfigError(f"{type(self).__name__}: name a weights file, or a pretrain section")
        return load(Path(self.weights), self.sha256)
