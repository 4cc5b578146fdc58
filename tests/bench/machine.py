"""The machine that a table is of: what decides its speed, and no name or path of it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
from typing import Any

LIBRARIES = ("torch", "numpy", "scipy", "pydensecrf2", "numba")


def describe() -> dict[str, Any]:
    """Processor, cores that may be used, memory in GB, GPU ("" without), versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "gpu": _gpu(),
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
    }


def slug(machine: dict[str, Any]) -> str:
    """A file name for it, without a suffix."""
    words = f"{machine['processor']} {machine['cores']} cores {machine['gpu']}"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        found = dict(line.split(":", 1) for line in file if ":" in line)
    names = {key.strip(): value.strip() for key, value in found.items()}
    name = names.get("model name", platform.machine())
    flags = names.get("flags", names.get("Features", "")).split()
    widest = next((flag for flag in ("avx512f", "avx2", "asimd") if flag in flags), "")
    return f"{name} {widest}".strip()  # virtual machines often hide the model


def _gpu() -> str:
    if importlib.util.find_spec("torch") is None:
        return ""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
