"""Keys of ViT-S/8 at 480 pixels, beside timm's plain forward pass with a hook, as CutLER has it.

Random weights: time does not depend on their values. Two twins: timm as it is, with fused
attention; and with the softmax of 3,601 x 3,601 tokens and 6 heads written out, as DINO's code,
which CutLER and TokenCut run, has it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cleave.backbones.colour import Colour
from cleave.backbones.vit import Vit
from cleave.io.artifacts import pack_features
from cleave.io.images import resize
from cleave.io.store import write_shard
from cleave.ops import affinity
from cleave.ops.render import scene
from cleave.types import FeatureMap, Image, Size
from tests.bench.harness import Row, peak_memory, timed

MODEL = "vit_small_patch8_224.dino"  # under timm's name, so that timm's positions are used
JOINED = 0.3  # share of pairs above the threshold, as in a photo at tau .15
HOOK = "timm's forward, hook on blocks[-1].attn.qkv"


def vit(**fields: Any) -> Vit:
    return Vit(model=MODEL, weights="random", **fields)


def picture(seed: int = 0) -> Image:
    return Image(f"crowded-{seed:06d}", scene("crowded", seed, Size(480, 640)).pixels)


def our_key(made: Vit, image: Image) -> np.ndarray:
    return made([image])[0].facets["key"]


def plain_key(made: Vit, image: Image, fused: bool) -> np.ndarray:
    """(h, w, C) keys from timm's whole forward pass."""
    import torch

    network, got = made._network, {}
    for block in network.blocks:
        block.attn.fused_attn = fused
    hook = network.blocks[-1].attn.qkv.register_forward_hook(lambda m, i, o: got.update(qkv=o))
    with torch.inference_mode():
        network(made._normalise(resize(image.pixels, Size(480, 480))[None]))
    hook.remove()
    return got["qkv"][0, 1:].chunk(3, dim=1)[1].numpy().reshape(60, 60, -1)


def agreement(ours: np.ndarray, theirs: np.ndarray) -> str:
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    mine, other = (affinity.cosine(x.reshape(3600, -1)) for x in (ours, theirs))
    threshold = np.quantile(other, 1 - JOINED)
    flips = np.count_nonzero((mine > threshold) != (other > threshold))
    return f"max error {error:.1e} of the largest key, {flips} of {other.size} bits flip"


def memory_of_ours() -> None:
    our_key(vit(), picture())


def memory_of_twin() -> None:
    plain_key(vit(), picture(), fused=True)


def memory_of_unfused_twin() -> None:
    plain_key(vit(), picture(), fused=False)


def rows() -> Iterator[Row]:
    made, plain, rough, image = vit(), vit(), vit(precision="bfloat16"), picture()
    for network in (made, plain, rough):
        our_key(network, Image("x", image.pixels[:8, :8]))  # builds it before the clock starts
    ours, key = timed(lambda: our_key(made, image), 3)
    for fused, name in ((True, f"{HOOK}, fused"), (False, f"{HOOK}, softmax written out")):
        seconds, other = timed(lambda fused=fused: plain_key(plain, image, fused), 3)
        yield Row("ViT-S/8 keys at 480 px", "CPU s", ours, seconds, agreement(key, other), name)
    half, other = timed(lambda: our_key(rough, image), 3)
    yield Row("same in bfloat16", "CPU s", half, ours, agreement(other, key), "ours in float32")
    peak = peak_memory(memory_of_ours)
    for twin, name in ((memory_of_twin, "fused"), (memory_of_unfused_twin, "softmax written out")):
        title = "ViT-S/8 keys, peak memory of the process"
        yield Row(title, "MB", peak, peak_memory(twin), twin=f"{HOOK}, {name}")
    seconds, features = timed(lambda: Colour()([image])[0], 5)
    yield Row("colour features at 480 px", "CPU ms", 1e3 * seconds)
    yield Row("file of one image, ViT-S/8 keys", "MB", stored(made([image])[0]), key.nbytes / 1e6)
    yield Row("file of one image, colour", "MB", stored(features))


def stored(features: FeatureMap) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.h5"
        with write_shard(path, spec={}, version=1) as writer:
            writer.add("image", *pack_features(features))
        return path.stat().st_size / 1e6
