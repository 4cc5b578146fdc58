"""The phases of a run. Each turns a batch of photos into one loss."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from cleave.ops.seeds import mix
from cleave.pretrain import monitor
from cleave.pretrain.augment import crops, photometric
from cleave.pretrain.collage import compose, grouping, owners
from cleave.pretrain.config import Mae, Pretrain, Range
from cleave.pretrain.draws import Draws
from cleave.pretrain.model import Block, RotaryVit, initialise, patchify, rotation
from cleave.pretrain.objectives import (
    PrototypeHead,
    blob_masks,
    koleo_loss,
    patch_loss,
    random_kept,
    reconstruction_loss,
    sinkhorn,
    update_average,
    view_loss,
)
from cleave.types import Size

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Phase(nn.Module):
    """What the training loop asks of a phase.

    A subclass has `forward(photos, draws, step, watch) -> (loss, metrics)`, where photos are
    (B, 3, S, S) uint8, those of this process, and metrics, made only if `watch`, a dict of floats.
    """

    name: str

    def __init__(self, config: Pretrain):
        super().__init__()
        self.config = config

    def precision(self, device: torch.device) -> torch.autocast:
        half = HALF.get(self.config.precision)
        return torch.autocast(device.type, half, enabled=half is not None)

    def position_scale(self, draws: Draws) -> Tensor:
        """Log-uniform in [1/s, s], so that no one patch size becomes the only one known."""
        reach = math.log(self.config.position_scale)
        return draws.uniform((), -reach, reach).exp().cpu()

    def learned(self) -> list[nn.Parameter]:
        return [p for p in self.parameters() if p.requires_grad]

    def backbone(self) -> RotaryVit:
        """The encoder that this phase hands on."""
        raise NotImplementedError

    def after(self, step: int) -> None:
        """Called when the optimiser has taken step `step`."""


class Decoder(nn.Module):
    """MAE's decoder: from the patches seen to the pixels of all."""

    def __init__(self, dim: int, patch: int, mae: Mae, layer_scale: float, period: float):
        super().__init__()
        width = mae.decoder_dim
        self.head_dim, self.period = width // mae.decoder_heads, period
        self.embed = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        blocks = [Block(width, mae.decoder_heads, 4, layer_scale) for _ in range(mae.decoder_depth)]
        self.blocks, self.norm = nn.ModuleList(blocks), nn.LayerNorm(width, eps=1e-6)
        self.pixels = nn.Linear(width, 3 * patch**2)
        self.apply(initialise)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, kept: Tensor, grid: Size, scale: Tensor) -> Tensor:
        """(B, 1 + K, C) of the encoder to (B, N, 3 * patch * patch)."""
        seen = self.embed(tokens)
        rows = kept[..., None].expand(-1, -1, seen.shape[-1])
        patches = self.mask_token.to(seen.dtype).expand(len(seen), grid.height * grid.width, -1)
        x = torch.cat([seen[:, :1], patches.scatter(1, rows, seen[:, 1:])], dim=1)
        by = rotation(grid, self.head_dim, self.period, scale).to(x.device)
        for block in self.blocks:
            x = block(x, by)
        return self.pixels(self.norm(x[:, 1:]))


class MaePhase(Phase):
    """Masked autoencoding: reconstruct the hidden patches of a crop."""

    name = "mae"

    def __init__(self, config: Pretrain, encoder: RotaryVit):
        super().__init__(config)
        self.settings, a = config.mae, config.architecture
        self.encoder = encoder
        self.decoder = Decoder(a.dim, a.patch, config.mae, a.layer_scale, a.longest_period)

    def backbone(self) -> RotaryVit:
        return self.encoder

    def forward(self, photos: Tensor, draws: Draws, step: int, watch: bool):
        settings = self.settings
        pixels = crops(photos, draws, size=settings.crop, area=settings.area)
        grid, scale = self.encoder.grid(pixels), self.position_scale(draws)
        kept = random_kept(draws, len(pixels), grid.height * grid.width, settings.masked)
        with self.precision(pixels.device):
            by = self.encoder.positions(grid, scale)
            tokens = self.encoder.encode(pixels, by, kept=kept)
            predicted = self.decoder(tokens, kept, grid, scale)
        target = patchify(pixels, self.config.architecture.patch)
        loss = reconstruction_loss(predicted, target, kept, settings.pixel_epsilon)
        return loss, watched(tokens) if watch else {}


class Branch(nn.Module):
    """An encoder with its two heads: the student or the teacher."""

    def __init__(self, config: Pretrain, encoder: RotaryVit):
        super().__init__()
        d, dim = config.distil, config.architecture.dim
        self.encoder = encoder
        self.class_head = PrototypeHead(dim, d.head_hidden, d.head_bottleneck, d.class_prototypes)
        self.patch_head = PrototypeHead(dim, d.head_hidden, d.head_bottleneck, d.patch_prototypes)


class DistilPhase(Phase):
    """DINO over crops and iBOT over masked patches, with a teacher that is the student's average.

    The teacher sees whole crops at unscaled positions, as at test time; the student sees them
    masked and scaled.
    """

    name = "distil"

    def __init__(self, config: Pretrain, encoder: RotaryVit):
        super().__init__(config)
        self.settings = config.distil
        self.student = Branch(config, encoder)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)

    def backbone(self) -> RotaryVit:
        return self.teacher.encoder

    def after(self, step: int) -> None:
        update_average(self.teacher, self.student, self.momentum(step))

    def momentum(self, step: int) -> float:
        """Rises to 1 by a cosine (DINO, Sec. 3.1)."""
        left = (math.cos(math.pi * step / self.settings.steps) + 1) / 2
        return 1 - (1 - self.settings.momentum) * left

    def teacher_temperature(self, step: int) -> float:
        start, end = self.settings.teacher_temperature
        return start + (end - start) * min(1.0, step / max(1, self.settings.teacher_warmup))

    def views(self, photos: Tensor, draws: Draws) -> tuple[Tensor, Tensor | None]:
        """Two global crops of each photo, (2B, 3, ...), and the local ones, (LB, 3, ...)."""
        s, how = self.settings, self.config.photometric

        def draw(count: int, size: int, area: Range) -> Tensor:
            seen = (crops(photos, draws, size=size, area=area) for _ in range(count))
            return torch.cat([photometric(view, draws, how) for view in seen])

        wide = draw(2, s.global_crop, s.global_area)
        return wide, draw(s.local_crops, s.local_crop, s.local_area) if s.local_crops else None

    def masks(self, batch: int, grid: Size, draws: Draws) -> Tensor:
        """(2B, N) bool; the same share of both views is masked, the first photos of the batch."""
        s = self.settings
        views = [
            blob_masks(draws, batch, grid, crops=s.masked_crops, share=s.masked) for _ in range(2)
        ]
        return torch.cat(views)

    @torch.no_grad()
    def targets(self, wide: Tensor, masked: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Of the teacher: (2B, K) for the crops and (M, K') for the masked patches."""
        temperature, times = self.teacher_temperature(step), self.settings.sinkhorn_iterations
        encoder = self.teacher.encoder
        tokens = encoder.encode(wide, encoder.positions(encoder.grid(wide)))
        logits = (
            self.teacher.class_head(tokens[:, 0]),
            self.teacher.patch_head(tokens[:, 1:][masked]),
        )
        return tuple(sinkhorn(logit, temperature, times) for logit in logits)

    def forward(self, photos: Tensor, draws: Draws, step: int, watch: bool):
        s, student, encoder = self.settings, self.student, self.student.encoder
        wide, narrow = self.views(photos, draws)
        masked = self.masks(len(photos), encoder.grid(wide), draws)
        with self.precision(wide.device):
            class_targets, patch_targets = self.targets(wide, masked, step)
            by = encoder.positions(encoder.grid(wide), self.position_scale(draws))
            tokens = encoder.encode(wide, by, masked=masked)
            classes = tokens[:, 0]
            logits = list(student.class_head(classes).chunk(2))
            if narrow is not None:
                by = encoder.positions(encoder.grid(narrow), self.position_scale(draws))
                seen = student.class_head(encoder.encode(narrow, by)[:, 0])
                logits += seen.chunk(s.local_crops)
            patches = student.patch_head(tokens[:, 1:][masked])
        view = view_loss(list(class_targets.chunk(2)), logits, s.student_temperature)
        patch = patch_loss(patch_targets, patches, masked.nonzero()[:, 0], s.student_temperature)
        koleo = torch.stack([koleo_loss(half) for half in classes.chunk(2)]).mean()
        loss = s.view_weight * view + s.patch_weight * patch + s.koleo_weight * koleo
        if not watch:
            return loss, {}
        return loss, {
            **watched(tokens),
            **{"view_loss": view.item(), "patch_loss": patch.item(), "koleo": koleo.item()},
            "student_entropy": monitor.entropy(logits[0], s.student_temperature),
            "patch_entropy": monitor.entropy(patches, s.student_temperature),
            "class_target_entropy": monitor.assignment_entropy(class_targets),
            "patch_target_entropy": monitor.assignment_entropy(patch_targets),
            "class_prototypes": monitor.prototypes_used(class_targets),
            "patch_prototypes": monitor.prototypes_used(patch_targets),
            "momentum": self.momentum(step),
        }


class CollagePhase(Phase):
    """Same photo or not, for every two patches of a collage."""

    name = "collage"

    def __init__(self, config: Pretrain, encoder: RotaryVit):
        super().__init__(config)
        self.settings, self.encoder = config.collage, encoder
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.collage.scale)))
        self.bias = nn.Parameter(torch.tensor(config.collage.bias))

    def backbone(self) -> RotaryVit:
        return self.encoder

    def forward(self, photos: Tensor, draws: Draws, step: int, watch: bool):
        pixels, owner = compose(photos, draws, self.settings)
        pixels = photometric(pixels, draws, self.config.photometric)
        patch, pieces = self.config.architecture.patch, self.settings.pieces
        with self.precision(pixels.device):
            by = self.encoder.positions(self.encoder.grid(pixels), self.position_scale(draws))
            tokens = self.encoder.encode(pixels, by)
        pairs = owners(owner, patch, pieces)
        loss, accuracy = grouping(tokens[:, 1:], *pairs, self.log_scale.exp(), self.bias)
        if not watch:
            return loss, {}
        return loss, {
            **watched(tokens),
            "pair_accuracy": accuracy.item(),
            "cosine_scale": self.log_scale.exp().item(),
            "cosine_bias": self.bias.item(),
        }


@torch.no_grad()
def watched(tokens: Tensor) -> dict[str, float]:
    """The health of final tokens (B, 1 + N, C)."""
    patches = tokens[:, 1:].flatten(0, 1)
    return {
        "class_spread": monitor.unit_spread(tokens[:, 0]),
        "patch_spread": monitor.unit_spread(patches),
        "patch_rank": monitor.effective_rank(patches),
    }


PHASES = {
    phase.name: phase for phase in (MaePhase, DistilPhase, CollagePhase)
}  # in the order of a run


def build_phase(name: str, config: Pretrain, encoder: RotaryVit | None) -> Phase:
    """A phase with its own weights drawn from the seed.

    Args:
        encoder: of the phase before; None for the first, whose encoder is drawn too.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(config.seed, 1, list(PHASES).index(name)))
        return PHASES[name](config, encoder or RotaryVit(config.architecture))
