"""This machine: its devices, its description for results, and the operation count of an update."""

from __future__ import annotations

import platform
import subprocess
from math import prod
from pathlib import Path
from typing import Any

import torch

from rnn_zoos.errors import DeviceError
from rnn_zoos.networks.architecture import Architecture


def existing_device(name: str) -> torch.device:
    """Return the torch device of this name, a CPU or a GPU.

    Raises DeviceError, which lists the devices of this machine, if there is none.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # `meta` is a device of tensors without values
    except (RuntimeError, AssertionError, ImportError) as error:  # AssertionError: what torch without CUDA raises
        known = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        raise DeviceError(
            f"There is no device {name!r} here ({str(error).splitlines()[0]}). Possible: {', '.join(['cpu', *known])}."
        ) from error
    return device


def update_flop(architecture: Architecture, batch_size: int, steps: int) -> float:
    """Return the floating-point operations of one update.

    Every multiply-add with a weight matrix counts 2 operations forward and 4 backward. One-hot inputs count as if they
    were multiplied; the pointwise functions of the cells and AdamW are not counted.

    Args:
        architecture: Architecture of the network.
        batch_size: B, sequences per update.
        steps: T, steps per sequence.

    Returns:
        Operations of one update of one network.
    """
    multiply_adds = sum(prod(shape) for shape in architecture.parameter_shapes.values() if len(shape) == 2)
    return 6.0 * batch_size * steps * multiply_adds


def describe_machine() -> dict[str, Any]:
    """Return processor, versions and the commit of the code, for files of results."""
    return {
        "processor": _processor(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit(),
    }


def commit() -> str:
    """Return the commit of the checkout with this code, with a final + if files were changed since, or "unknown"."""
    root = str(Path(__file__).parent)
    try:
        # A copy that is installed below another repository is ignored there, or at least not one of its files.
        tracked = ["git", "-C", root, "ls-files", "--error-unmatch", Path(__file__).name]
        subprocess.run(tracked, capture_output=True, check=True)
        name = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run(["git", "-C", root, "diff", "--quiet", "HEAD"], capture_output=True, check=False)
    except (OSError, subprocess.CalledProcessError):  # git is missing, or this is an installed copy
        return "unknown"
    return name.stdout.strip() + ("+" if changes.returncode else "")


def _processor() -> str:
    """Return the model name of the processor; on Linux, `platform` knows only its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
