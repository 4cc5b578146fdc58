"""Asks lightly's losses what they say of made-up batches, for the parity tests.

`goldens/README.md` has the command and the version.
"""

from __future__ import annotations

import json
import math

import numpy as np
import torch
from recording import GOLDENS

GOLDEN = GOLDENS / "lightly.json"
BATCH, PROTOTYPES, CHANNELS = 5, 12, 8
STUDENT, TEACHER = 0.1, 0.05  # temperatures
VIEWS = 4  # of the student; the first two are the teacher's
GRID = (4, 3)
MASKED = (7, 0, 3, 1)  # patches of each crop
MOMENTUM, STEPS = 0.99, 11


def made_up(seed: int, *shape: int) -> torch.Tensor:
    """float32 multiples of 1/64 in (-1, 1): the same on every machine."""
    draws = np.random.default_rng(seed).integers(-63, 64, shape)
    return torch.from_numpy(draws.astype(np.float32) / 64)


def views(seed: int, count: int) -> list[torch.Tensor]:
    """Cosines with the prototypes, (B, K) a view."""
    return [made_up(seed + view, BATCH, PROTOTYPES) for view in range(count)]


def mask() -> torch.Tensor:
    """(crops, h, w) bool."""
    order = [np.random.default_rng(9 + crop).permutation(math.prod(GRID)) for crop in range(4)]
    found = [torch.from_numpy(ranks < count) for ranks, count in zip(order, MASKED, strict=True)]
    return torch.stack(found).reshape(4, *GRID)


def masked_patches(seed: int) -> torch.Tensor:
    return made_up(seed, sum(MASKED), PROTOTYPES)


def head_weights() -> dict[str, torch.Tensor]:
    """Of a head from 6 over 10 and 10 to 8 numbers, then 12 prototypes."""
    sizes = {"0": (10, 6), "2": (10, 10), "4": (8, 10)}
    found = {f"mlp.{name}.weight": made_up(int(name), *size) for name, size in sizes.items()}
    found |= {f"mlp.{name}.bias": made_up(20 + int(name), size[0]) for name, size in sizes.items()}
    return {**found, "prototypes": made_up(30, PROTOTYPES, 8)}


def head_input() -> torch.Tensor:
    return made_up(40, BATCH, 6)


def patches() -> torch.Tensor:
    """(B, N, D) pixels of patches in (0, 1)."""
    return (made_up(50, 2, 6, 48) + 1) / 2


def main() -> None:
    from lightly.loss import DINOLoss, IBOTPatchLoss, KoLeoLoss
    from lightly.loss.swav_loss import sinkhorn
    from lightly.models.modules import DINOProjectionHead
    from lightly.models.utils import normalize_mean_var
    from lightly.utils.scheduler import cosine_schedule

    with torch.no_grad():
        head = DINOProjectionHead(6, 10, 8, PROTOTYPES)
        weights = head_weights()
        linear = [module for module in head.layers if isinstance(module, torch.nn.Linear)]
        for module, name in zip(linear, ("0", "2", "4"), strict=True):
            module.weight.copy_(weights[f"mlp.{name}.weight"])
            module.bias.copy_(weights[f"mlp.{name}.bias"])
        head.last_layer.weight_v.copy_(weights["prototypes"])
        dino = DINOLoss(PROTOTYPES, TEACHER, TEACHER, 1, STUDENT)
        answers = {
            "dino": dino(views(0, 2), views(10, VIEWS)),
            "ibot": IBOTPatchLoss(PROTOTYPES, TEACHER, STUDENT)(
                masked_patches(1), masked_patches(2), mask()
            ),
            "koleo": KoLeoLoss()(made_up(3, BATCH, CHANNELS)),
            "sinkhorn": sinkhorn(made_up(4, BATCH, PROTOTYPES), 3, TEACHER),
            "head": head(head_input()),
            "mae": normalize_mean_var(patches()).square().mean(),
            "momentum": [cosine_schedule(step, STEPS, MOMENTUM, 1.0) for step in range(STEPS)],
        }
    plain = {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in answers.items()}
    GOLDEN.write_text(json.dumps(plain, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
