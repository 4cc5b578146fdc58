"""Gradient descent as detectron2 sets it up: what decays, what is clipped, what runs in float16."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from cleave.training.settings import Training

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)
# Scaled losses begin at 2**16 and halve with each overflow. What overflows down here, after thirty
# halvings, is not finite by itself.
LOWEST_SCALE = 2.0**-14


def build_optimiser(network: nn.Module, settings: Training) -> torch.optim.SGD:
    """SGD over the parameters that learn; those of norms have a weight decay of their own."""
    plain, norm = {}, {}
    for module in network.modules():
        chosen = norm if isinstance(module, NORMS) else plain
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad and parameter not in plain and parameter not in norm:
                chosen[parameter] = None  # a shared parameter belongs where it is met first
    groups = [
        {"params": list(plain), "weight_decay": settings.weight_decay},
        {"params": list(norm), "weight_decay": settings.norm_weight_decay},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        momentum=settings.momentum,
    )


def clip(parameters: Iterable[nn.Parameter], most: float) -> Tensor:
    """Scales each gradient whose own L2 norm is above `most` down to it.

    Args:
        most: 0 scales nothing.

    Returns:
        () float32: the norm over all parameters, before.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    lengths = torch.stack(torch._foreach_norm(gradients))
    if most:
        factors = (most / (lengths + 1e-6)).clamp(max=1.0)  # as in torch's clip_grad_norm_
        torch._foreach_mul_(gradients, list(factors.unbind()))
    return lengths.norm()


def half(precision: str, device: torch.device) -> torch.dtype | None:
    """The type of the forward pass where it is not float32."""
    if precision == "auto":
        return torch.float16 if device.type == "cuda" else None
    return {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}[precision]


def build_scaler(dtype: torch.dtype | None, device: torch.device) -> torch.amp.GradScaler:
    """Scales losses so that float16 gradients do not vanish; does nothing for other types."""
    return torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
