"""On what a speed was measured, and how much work an update is. It needs no more than torch."""

from __future__ import annotations

import platform
import subprocess
from math import prod
from pathlib import Path
from typing import Any

import torch

from rnn_zoos.networks.architecture import Architecture


def update_flop(architecture: Architecture, batch_size: int, steps: int) -> float:
    """Return the floating-point operations of an update: 2 a multiply-add forward, 4 backward, for every weight matrix.

    One-hot inputs count as if they were multiplied; the cells' pointwise functions and AdamW do not count.
    """
    multiply_adds = sum(prod(shape) for shape in architecture.parameter_shapes.values() if len(shape) == 2)
    return 6.0 * batch_size * steps * multiply_adds


def describe_machine() -> dict[str, Any]:
    """Return processor, versions and the commit of the code, as they belong into a file of results."""
    return {
        "processor": _processor(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit(),
    }


def commit() -> str:
    """Return the commit of the checkout that this code is in, with + if files were changed; without one, "unknown"."""
    root = str(Path(__file__).parent)
    try:
        name = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run(["git", "-C", root, "diff", "--quiet", "HEAD"], capture_output=True, check=False)
    except (OSError, subprocess.CalledProcessError):  # no git, or an installed copy
        return "unknown"
    return name.stdout.strip() + ("+" if changes.returncode else "")


def _processor() -> str:
    """Return the processor's model name; what Python knows is mostly just its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
