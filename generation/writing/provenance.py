"""The provenance of results: what determines their bits."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from rnn_zoos import __version__
from rnn_zoos.generation.trainers.backends import backend_details

MEASURED_ON = "measured on"
"""The GPU on which stacks of snapshots were measured; snapshots that were measured one by one, on a CPU, lack it."""


def provenance(backend: str, device: str | None = None, *, measures: bool = False) -> dict[str, Any]:
    """Return what determines the bits of a backend's results on this machine: backend, versions, machine.

    Args:
        backend: the backend.
        device: its device, as in `make_trainer`.
        measures: whether the device also measures the snapshots.
    """
    versions = {"rnn-zoos": __version__, "torch": torch.__version__, "numpy": np.__version__}
    details = backend_details(backend, device)
    if measures and "gpu" in details:
        details |= {MEASURED_ON: details["gpu"]}
    return {
        "backend": backend,
        "versions": {**versions, "python": platform.python_version(), **details},
        "machine": f"{platform.machine()}, {platform.system()}",
    }


def merge_provenance(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the provenance of a whole from that of its parts; different values are listed: "2.12 / 2.13"."""
    values: dict[str, dict[str, None]] = {}  # dicts as sets that keep the order of insertion
    for part in parts:
        for key, value in {**part, **part["versions"]}.items():
            if key != "versions":
                values.setdefault(key, {}).update(dict.fromkeys(str(value).split(" / ")))
    merged = {key: " / ".join(distinct) for key, distinct in values.items()}
    backend, machine = merged.pop("backend"), merged.pop("machine")
    return {"backend": backend, "versions": merged, "machine": machine}
