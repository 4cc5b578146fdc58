"""Where networks run, and how: the same numbers each time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


def device() -> str:
    """ "cuda" where torch finds a GPU, else "cpu"; CUDA_VISIBLE_DEVICES says which, or none."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def inference() -> Iterator[None]:
    """No gradients, and on a GPU deterministic convolutions in full float32.

    cuDNN would round float32 to TF32 (10 bits) unasked; matrix products do so where NVIDIA's
    containers ask for it (TORCH_ALLOW_TF32_CUBLAS_OVERRIDE).
    """
    import torch

    exact = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode(), exact:
            yield
    finally:
        torch.set_float32_matmul_precision(before)
