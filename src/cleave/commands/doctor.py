"""`cleave doctor`: what is installed and found, and what to do about what is not."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from pathlib import Path

# distribution, module to look for, what it is for, how to get it
REQUIRED = (
    ("torch", "torch", "networks"),
    ("timm", "timm", "ViT features"),
    ("transformers", "transformers", "ZoeDepth, Depth Anything"),
    ("PyMaxflow", "maxflow", "min-cut (GPL; `solver: dinic` does without)"),
    ("opencv-python-headless", "cv2", "float TIFF and PFM depth files"),
    ("faster-coco-eval", "faster_coco_eval", "AP and AR"),
    ("snakemake", "snakemake", "the workflow"),
)
OPTIONAL = (
    ("pydensecrf2", "pydensecrf", "dense CRF without kernels", "crf", "cleave's kernels"),
    ("OpenEXR", "OpenEXR", "EXR depth files", "formats", "another format"),
    ("pillow-heif", "pillow_heif", "HEIC photos", "formats", "JPEG"),
    ("diffusers", "diffusers", "Marigold depth", "diffusion", "another depth source"),
    ("tensorboard", "tensorboard", "live curves", "tensorboard", "metrics.jsonl"),
    ("snakemake-executor-plugin-slurm", "snakemake_executor_plugin_slurm", "SLURM", "slurm", ""),
)


def run(options: argparse.Namespace) -> int:
    """Prints a line a thing; 1 if something required is missing."""
    from cleave import __version__

    print(f"cleave {__version__}, Python {platform.python_version()}, {platform.platform()}")
    missing = 0
    for distribution, module, purpose in REQUIRED:
        found = _found(distribution, module)
        missing += found is None
        _line(found is not None, distribution, found or "missing", purpose)
        if found is None:
            print(f"      run: pip install --constraint constraints.txt {distribution}")
    for distribution, module, purpose, extra, instead in OPTIONAL:
        found = _found(distribution, module)
        _line(found is not None, distribution, found or "not installed (optional)", purpose)
        if found is None:
            print(
                f"      run: pip install --constraint constraints.txt -e '.[{extra}]'"
                + (f", or use {instead}" if instead else "")
            )
    _kernels()
    _machine()
    _weights()
    return int(missing > 0)


def _found(distribution: str, module: str) -> str | None:
    if importlib.util.find_spec(module) is None:
        return None
    return importlib.metadata.version(distribution)


def _line(good: bool, name: str, state: str, purpose: str) -> None:
    print(f"  {'ok' if good else '--':<3} {name:<32} {state:<26} {purpose}")


def _kernels() -> None:
    from cleave.ops import native

    compiled = native.library() is not None
    state = "compiled" if compiled else "not compiled (optional)"
    _line(compiled, "kernels of cleave", state, "quick cuts, dense CRF (`refine: crf`)")
    if not compiled:
        print("      run, with a C compiler: pip install --no-deps -e .")


def _machine() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    free = shutil.disk_usage(".").free / 2**30
    print(f"  cores {cores}, free disk here {free:.0f} GiB")
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    note = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"
    print(f"  GPUs: {', '.join(devices) or 'none; networks run on the CPU'}{note}")


def _weights() -> None:
    """Which published weights lie in a cache, for every model that has a name of its own."""
    from cleave.backbones.weights import RECORDS
    from cleave.depth.transformers import DepthAnything, ZoeDepth
    from cleave.io.weights import url_path
    from cleave.networks.published import RESNETS

    cache = Path(
        os.environ.get("HF_HUB_CACHE")
        or Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")) / "hub"
    )
    print(f"  weights in {cache}:")
    hubs = {name: record.hub for name, record in RECORDS.items() if record.hub}
    hubs |= {"zoedepth": ZoeDepth().model, "depth_anything": DepthAnything().model}
    for name, hub in sorted(hubs.items()):
        folder = cache / f"models--{hub.replace('/', '--')}"
        cached = folder.is_dir()
        print(f"  {'ok' if cached else '--':<3} {name:<32} {hub}")
    resnets = RESNETS if importlib.util.find_spec("torch") else {}  # torch says where its cache is
    for name, known in resnets.items():
        file = url_path(known.url)
        folder = cache / f"models--{known.hub.replace('/', '--')}" / "snapshots"
        cached = any(folder.glob(f"*/{file.name}")) if known.hub else file.is_file()
        print(f"  {'ok' if cached else '--':<3} {name:<32} {known.url}")
    print(
        "      what is not there is fetched at first use; without a network give a file (weights:)"
    )
