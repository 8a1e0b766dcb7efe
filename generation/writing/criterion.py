"""What can be asked of a zoo that is verified, by its provenance: equal bits, or equality up to rounding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rnn_zoos.generation.writing.provenance import MEASURED_ON

_DECISIVE = ("torch", "numpy", "instruction set", "gpu", "cuda")
"""Properties of a machine that must be equal for equal bits.

The GPU's driver is recorded, but does not decide: the machine code comes from torch, from the libraries of its CUDA and
from Triton. Triton decides for its own backend only.
"""

WITHOUT_BITS = ("stacked",)
"""Backends for which, on a GPU, the rounding of a run depends on the number of runs that are trained with it."""


@dataclass(frozen=True)
class Criterion:
    """What must be equal.

    Attributes:
        weights: Whether every bit of the weights must be equal. Otherwise training ends with other networks, because
            rounding errors grow, and only initial weights are compared.
        labels: Whether every bit of labels and rollouts must be equal. Otherwise they must be those of the stored
            weights up to rounding.
        reason: Why, in words.
    """

    weights: bool
    labels: bool
    reason: str

    def __str__(self) -> str:
        """Return criterion and reason as a sentence for the user."""
        rounding = "labels and rollouts must be those of the stored weights, up to rounding"
        if self.labels:
            return f"{self.reason}: every bit must be equal."
        if self.weights:
            return f"{self.reason}: every bit of the weights must be equal; {rounding}."
        return (
            f"{self.reason}: initial weights must be equal, and {rounding}. Training ends with other networks, because "
            "rounding errors grow."
        )


def criterion_of(zoo: Mapping[str, Any], here: Mapping[str, Any]) -> Criterion:
    """Return what can be asked of a zoo, from its provenance and from that of results of this machine.

    A zoo that was made before a property was recorded lacks it, as results on a CPU lack those of GPUs.
    """
    if differences := list(_differences(zoo, here)):
        return Criterion(False, False, f"not made as it would be here ({'; '.join(differences)})")
    if zoo["backend"] in WITHOUT_BITS and "gpu" in zoo["versions"]:
        return Criterion(False, False, "made by stacks of networks on a GPU, whose size decides about rounding")
    if MEASURED_ON in zoo["versions"]:
        measured = f"same backend, GPU and versions; measured by stacks of networks on {zoo['versions'][MEASURED_ON]}"
        return Criterion(True, False, f"{measured}, here one by one on a CPU")
    return Criterion(True, True, "same backend and machine")


def _differences(zoo: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Yield in what a zoo was made otherwise than it would be here."""
    for key in ("backend", "machine"):
        if here[key] != zoo[key]:
            yield f"{key} {zoo[key]} of the zoo, {here[key]} here"
    for key in (*_DECISIVE, "triton") if here["backend"] == "triton" else _DECISIVE:
        old, new = (versions.get(key) for versions in (zoo["versions"], here["versions"]))
        if old != new:
            yield f"{key} {old or 'unknown'} of the zoo, {new or 'none'} here"
