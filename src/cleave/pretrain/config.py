"""Every number of a pre-training run: frozen, validated, torch-free.

The defaults are the recipe of the features study, section 7, for one H100 and 22 minutes. They are
a proposal: no GPU run has confirmed them. A phase with 0 steps is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le

from cleave.spec import ConfigError

if TYPE_CHECKING:
    from cleave.pretrain.photos import Photos

Count = Annotated[int, Gt(0)]
Share = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]
Range = tuple[float, float]


def _check_range(name: str, value: Range, low: float, high: float) -> None:
    if not low <= value[0] <= value[1] <= high:
        raise ConfigError(f"{name}: expected {low} <= first <= second <= {high}, got {value}")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A plain ViT with rotary positions. The defaults have 5,380,800 parameters."""

    patch: Count = 8  # pixels; DINO's small-patch models cut best (CutLER, Tab. 8)
    dim: Count = 192  # ViT-Ti, arXiv 2012.12877 Tab. 1
    depth: Count = 12  # ViT-Ti
    heads: Count = 3  # ViT-Ti
    mlp_ratio: Count = 4  # ViT-Ti
    layer_scale: Positive = 0.1  # initial residual gain; arXiv 2103.17239 uses .1 up to 18 blocks
    longest_period: Positive = 100.0  # of the rotation, in half image sides; DINOv3 2508.10104

    def __post_init__(self):
        if self.dim % self.heads or (self.dim // self.heads) % 4:
            raise ConfigError(
                f"architecture: dim {self.dim} must be a multiple of 4 * heads {self.heads}: "
                "axial rotary positions need an even number of channel pairs per axis"
            )


@dataclass(frozen=True, kw_only=True)
class Photometric:
    """Colour augmentation; each crop draws its own."""

    jitter: Share = 0.4  # brightness, contrast, saturation factors in [1 - jitter, 1 + jitter]
    jitter_probability: Share = 0.8  # DINO 2104.14294, appendix B
    shift: Share = 0.1  # offset per colour channel, in place of the hue rotation
    grey_probability: Share = 0.2  # DINO
    blur_probability: Share = 0.3  # DINO: 1, .1, .5 by crop; one value here
    blur_sigma: Range = (0.1, 1.5)  # pixels; DINO's .1 to 2 at 224 px, scaled down

    def __post_init__(self):
        _check_range("photometric.blur_sigma", self.blur_sigma, 1e-3, 10)


@dataclass(frozen=True, kw_only=True)
class Mae:
    """Masked autoencoding, arXiv 2111.06377: a warm-up that cannot collapse."""

    steps: Annotated[int, Ge(0)] = 4000
    batch: Count = 1024
    crop: Count = 128  # pixels
    area: Range = (0.15, 1.0)  # share of the photo that a crop shows
    masked: Annotated[float, Gt(0), Le(0.95)] = 0.75  # MAE, Fig. 5
    decoder_dim: Count = 128
    decoder_depth: Count = 4
    decoder_heads: Count = 2
    pixel_epsilon: Positive = 0.01  # on a patch's std in [0, 1]: flat patches are mostly JPEG noise
    learning_rate: Positive = 1.5e-3
    betas: Range = (0.9, 0.95)  # MAE, Tab. 8
    weight_decay: Annotated[float, Ge(0)] = 0.05  # MAE, Tab. 8
    warmup: Annotated[int, Ge(0)] = 200  # steps
    clip: Positive = 1.0  # gradient norm

    def __post_init__(self):
        _check_range("mae.area", self.area, 1e-3, 1)
        if self.decoder_dim % self.decoder_heads or (self.decoder_dim // self.decoder_heads) % 4:
            raise ConfigError("mae: decoder_dim must be a multiple of 4 * decoder_heads")


@dataclass(frozen=True, kw_only=True)
class Distil:
    """DINO self-distillation over crops, and iBOT's of masked patches: the dense objective.

    arXiv 2104.14294, 2111.07832; Sinkhorn targets and KoLeo as in DINOv2, 2304.07193. Either alone:
    patch_weight 0, or a view_weight of 0.
    """

    steps: Annotated[int, Ge(0)] = 4000
    batch: Annotated[int, Ge(2)] = 256  # KoLeo needs a neighbour
    global_crop: Count = 128  # pixels, two of them
    global_area: Range = (0.3, 1.0)
    local_crops: Annotated[int, Ge(0)] = 4
    local_crop: Count = 64  # pixels
    local_area: Range = (0.05, 0.3)
    momentum: Share = 0.992  # of the teacher, rising to 1 by a cosine
    student_temperature: Positive = 0.1  # DINO
    teacher_temperature: Range = (0.04, 0.06)  # rises over teacher_warmup
    teacher_warmup: Annotated[int, Ge(0)] = 1200  # steps; DINO: 30 of 100 epochs
    class_prototypes: Annotated[int, Ge(2)] = 1024
    patch_prototypes: Annotated[int, Ge(2)] = 4096
    head_hidden: Count = 512
    head_bottleneck: Count = 128
    sinkhorn_iterations: Count = 3  # DINOv2
    masked_crops: Annotated[float, Gt(0), Le(1)] = 0.5  # share of global crops; iBOT, DINOv2
    masked: Range = (0.1, 0.5)  # share of the patches of such a crop; iBOT
    view_weight: Annotated[float, Ge(0)] = 1.0  # of the loss between crops; DINO
    patch_weight: Annotated[float, Ge(0)] = 1.0  # of the masked-patch loss; iBOT
    koleo_weight: Annotated[float, Ge(0)] = 0.1  # DINOv2
    learning_rate: Positive = 7e-4
    betas: Range = (0.9, 0.999)
    weight_decay: Annotated[float, Ge(0)] = 0.05
    warmup: Annotated[int, Ge(0)] = 300
    clip: Positive = 3.0

    def __post_init__(self):
        _check_range("distil.global_area", self.global_area, 1e-3, 1)
        _check_range("distil.local_area", self.local_area, 1e-3, 1)
        _check_range("distil.teacher_temperature", self.teacher_temperature, 1e-3, 1)
        _check_range("distil.masked", self.masked, 1e-3, 0.95)
        if self.view_weight == self.patch_weight == 0:
            raise ConfigError("distil: view_weight and patch_weight are both 0: nothing to learn")


@dataclass(frozen=True, kw_only=True)
class Collage:
    """Telling patches of collages apart by the photo they came from: see `pretrain.collage`.

    Ours; every number is a guess of ours too, made without looking at labels.
    """

    steps: Annotated[int, Ge(0)] = 0  # off: tried on one core, after a short MAE; see the preset
    batch: Annotated[int, Ge(2)] = 64  # pieces are of the other photos of the batch
    crop: Count = 96  # pixels
    area: Range = (0.1, 1.0)  # share of its photo that the photo below, or a piece's crop, shows
    pieces: Count = 4  # at most, on each photo; 1 at least
    share: Range = (0.03, 0.5)  # of the collage that a piece covers, before others cover it
    own: Share = 0.15  # of the pieces, of the photo below itself: a seam alone is no border
    scale: Positive = 5.0  # of the cosine in the logistic loss, at first; learned
    bias: float = 0.1  # the cosine that is even between same and different, at first; learned
    learning_rate: Positive = 1e-3
    betas: Range = (0.9, 0.98)
    weight_decay: Annotated[float, Ge(0)] = 0.05
    warmup: Annotated[int, Ge(0)] = 100
    clip: Positive = 1.0

    def __post_init__(self):
        _check_range("collage.area", self.area, 1e-3, 1)
        _check_range("collage.share", self.share, 1e-3, 1)


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """A small ViT trained on a data set: MAE, then distillation, then collages.

    Each phase goes on from the encoder of the one before.
    """

    architecture: Architecture = field(default_factory=Architecture)
    photometric: Photometric = field(default_factory=Photometric)
    mae: Mae = field(default_factory=Mae)
    distil: Distil = field(default_factory=Distil)
    collage: Collage = field(default_factory=Collage)
    # Weights that the encoder begins with; None: drawn from the seed. What another section of the
    # config makes (results/pretrain/NAME/weights.safetensors) is made first.
    start: str | None = None
    side: Count = 224  # pixels; photos are squeezed to this square, as MaskCut squeezes its input
    position_scale: Annotated[float, Ge(1)] = 2.0  # positions times U_log(1/s, s); DINOv3
    # Of the matrix products; float32 elsewhere. float16, with scaled losses, is for older GPUs
    precision: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    compiled: bool = False  # torch.compile: pays on a GPU, after a minute; wants a C++ compiler
    processes: Count = 1  # on one machine, each with batch / processes photos; on CUDA a GPU each
    log_every: Count = 50  # steps
    checkpoint_every: Count = 500  # steps: what a kill can cost
    export_every: Count = 1000  # steps: float16 weights for an evaluation beside the training
    seed: int = 0

    gpu: ClassVar[bool] = True

    def learn(self, photos: Photos, folder: Path, **attributes: Any) -> None:
        """Leaves weights and metrics in a folder, which may hold what a killed run left."""
        from cleave.pretrain.gradient import learn

        learn(self, photos, folder, **attributes)

    def __post_init__(self):
        phases = {"mae": self.mae, "distil": self.distil, "collage": self.collage}
        for name, phase in phases.items():
            if phase.batch % self.processes:
                raise ConfigError(
                    f"{name}.batch {phase.batch} cannot be dealt evenly to processes "
                    f"{self.processes}"
                )
        sizes = {"mae.crop": self.mae.crop, "distil.global_crop": self.distil.global_crop}
        sizes["distil.local_crop"] = self.distil.local_crop
        sizes["collage.crop"] = self.collage.crop
        for name, size in sizes.items():
            if size % self.architecture.patch:
                raise ConfigError(f"{name}: {size} is no multiple of {self.architecture.patch}")
        if not any(phase.steps for phase in phases.values()):
            raise ConfigError("mae.steps, distil.steps and collage.steps are 0: nothing to train")
