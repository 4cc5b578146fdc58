"""Every number of a detector's training: frozen, validated, torch-free.

The defaults are CutLER's initial round (arXiv 2301.11320; its cascade_mask_rcnn_R_50_FPN.yaml,
called "CutLER" below) and, where that is silent, detectron2's (config/defaults.py, "defaults").
CutLER's self-training round has steps 80000, learning_rate .005, weight_decay 1e-4, gamma 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from cleave.spec import ConfigError, to_mapping

Count = Annotated[int, Gt(0)]
Whole = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]

# They say where and how often, and change no number of the weights or of the metrics.
OPERATION = ("checkpoint_every", "workers")


@dataclass(frozen=True, kw_only=True)
class Training:
    """Stochastic gradient descent with warm-up and steps; a step sees `batch` images in all."""

    steps: Count = 160_000  # CutLER
    batch: Count = 16  # images a step, over all processes and micro batches; CutLER
    learning_rate: Positive = 0.01  # at reference_batch; CutLER
    reference_batch: Count = 16  # images for which learning_rate is meant; CutLER
    # linear: the rate grows with batch / reference_batch (arXiv 1706.02677, Sec. 2.1);
    # none: learning_rate as it is. The number of steps is never scaled.
    scale: Literal["linear", "none"] = "linear"
    warmup_steps: Whole = 1000  # the rate rises linearly over them; defaults
    warmup_factor: Annotated[float, Gt(0), Le(1)] = 0.001  # of the rate, at step 0; defaults
    decay_steps: tuple[Count, ...] = (80_000,)  # from each, the rate is gamma times it; CutLER
    gamma: Annotated[float, Gt(0), Le(1)] = 0.02  # CutLER
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9  # defaults
    weight_decay: Annotated[float, Ge(0)] = 5e-5  # CutLER; defaults: 1e-4
    norm_weight_decay: Annotated[float, Ge(0)] = 0.0  # of gains and biases of norms; defaults
    # L2 norm to which the gradient of each single parameter is cut, as detectron2's
    # solver/build.py does for CLIP_TYPE norm (it is no norm over all parameters); 0: off. CutLER
    clip: Annotated[float, Ge(0)] = 1.0
    # Of the forward pass. auto: float16 with scaled losses on CUDA (CutLER: AMP), float32 on CPUs,
    # most of which emulate the half types.
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    accumulate: Count = 1  # micro batches of which a process makes a step: less memory, same batch
    precise_norm: Whole = 200  # batches for the final statistics of batch norms; 0: off. CutLER
    log_every: Count = 20  # steps between two lines of metrics; defaults
    checkpoint_every: Count = 1000  # steps: what a kill can cost
    workers: Whole = 4  # threads that read photos ahead; 0: none. defaults
    processes: Count = 1  # on one machine, each with batch / processes images; on CUDA a GPU each

    def __post_init__(self):
        if self.batch % (self.processes * self.accumulate):
            raise ConfigError(
                f"batch {self.batch} cannot be dealt evenly to processes {self.processes} times "
                f"accumulate {self.accumulate}; change one so that it divides"
            )
        if self.warmup_steps > self.steps:
            raise ConfigError(
                f"warmup_steps {self.warmup_steps} are more than steps {self.steps}: the learning "
                "rate would never be reached"
            )
        if list(self.decay_steps) != sorted(set(self.decay_steps)):
            raise ConfigError(f"decay_steps: expected ascending steps, got {self.decay_steps}")

    @property
    def micro_batch(self) -> int:
        """Images of one forward pass."""
        return self.batch // (self.processes * self.accumulate)

    def result(self) -> dict[str, Any]:
        """The fields that the weights depend on."""
        return {name: value for name, value in to_mapping(self).items() if name not in OPERATION}
