"""Runs DINO's own ViT and records its last block, for the parity test of our features.

    python tests/parity/record_dino.py DINO

where DINO is a checkout of github.com/facebookresearch/dino (recorded at 7c446df, Apache-2.0).
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping

import numpy as np
from recording import GOLDENS

GOLDEN = GOLDENS / "dino.npz"
HEIGHT, WIDTH = 64, 96  # 4 x 6 patches; the positions are stored for 14 x 14


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Made-up weights, the same on every machine: float32, small, scales about 1."""
    made = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng([0, zlib.crc32(name.encode())])
        values = 0.05 * rng.standard_normal(shape)
        made[name] = (values + ("norm" in name and "weight" in name)).astype(np.float32)
    return made


def pixels() -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def main(checkout: str) -> None:
    sys.path.insert(0, checkout)
    import torch
    import vision_transformer

    model = vision_transformer.vit_tiny(patch_size=16, num_classes=0).eval()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict({k: torch.from_numpy(v) for k, v in weights(shapes).items()})
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # visualize_attention.py
    values = ((pixels() / 255.0 - mean) / std).astype(np.float32)
    images = torch.from_numpy(values).permute(2, 0, 1)[None]
    got = {}
    model.blocks[-1].attn.qkv.register_forward_hook(lambda m, i, o: got.update(qkv=o))
    with torch.inference_mode():
        tokens = model.get_intermediate_layers(images, 1)[0]
        attention = model.get_last_selfattention(images)
    np.savez_compressed(
        GOLDEN,
        key=got["qkv"][0, 1:].chunk(3, 1)[1].numpy(),
        token=tokens[0, 1:].numpy(),
        cls=tokens[0, 0].numpy(),
        attention=attention[0, :, 0, 1:].numpy(),
    )


if __name__ == "__main__":
    main(sys.argv[1])
