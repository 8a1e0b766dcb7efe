"""Facts about a GPU: what determines the bits of its results, and its free memory."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

import torch

_DRIVER = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
_SECONDS = 30.0  # to wait for nvidia-smi


def gpu_details(device: torch.device) -> dict[str, str]:
    """Return the name of a GPU, and the versions of its driver, of CUDA and of Triton; nothing for other devices."""
    if device.type != "cuda":
        return {}
    cuda = torch.version.cuda or f"hip {torch.version.hip}"
    return {"gpu": torch.cuda.get_device_name(device), "driver": driver_version(), "cuda": cuda, **_triton()}


@lru_cache(maxsize=1)
def driver_version() -> str:
    """Return the version of the NVIDIA driver, "unknown" if `nvidia-smi` does not tell."""
    try:
        answer = subprocess.run(_DRIVER, capture_output=True, text=True, check=True, timeout=_SECONDS).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return next(iter(answer.split()), "unknown")


def _triton() -> dict[str, str]:
    try:
        return {"triton": version("triton")}
    except PackageNotFoundError:  # torch is built for a CPU, or brings a Triton of another name
        return {}


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that are free on a GPU; None for other devices."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
