"""Denormal numbers, floats below 1.2e-38, count as zero while networks are trained and measured.

A processor takes up to a hundred times as long for an operation on them, and they fill the gradients of networks that
are saturated or have decayed: such a run took 54 times as long to train (docs/performance.md, "Denormal numbers").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def are_zero() -> bool:
    """Return whether denormal numbers count as zero in this thread."""
    return float(np.float32(1e-40) * np.float32(1)) == 0


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Let denormal numbers count as zero in this thread; afterwards they count as before.

    Other threads are not affected, but those that are started inside begin with it. Native code does the same by itself
    (`networks/native/denormals.h`).
    """
    before = are_zero()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
