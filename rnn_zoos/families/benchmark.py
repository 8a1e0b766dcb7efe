"""What the benchmark of encoders asks of a family: behaviour to imitate, what inputs are, labels to predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy.typing as npt
import torch
from torch import Tensor

InputKind: TypeAlias = Literal["written", "symbols", "numbers"]
"""written: one-hot symbols, of which networks predict the next. symbols: one-hot symbols. numbers: any inputs."""

TargetKind: TypeAlias = Literal["number", "classes", "angle"]
"""number: regression. classes: classification, all columns must be right. angle: regression on a circle, in degrees."""

Labels: TypeAlias = Callable[[str], npt.NDArray[Any]]
"""Name of a column of the index -> its values for M rows, [M]."""


@dataclass(frozen=True)
class Behaviour:
    """Inputs and outputs of M networks on B sequences each.

    Attributes:
        inputs: What the networks read, [M, B, T, I].
        log_probs: Log-probabilities of their outputs, [M, B, T, O].
        unpadded: True at steps before the padding that follows EOS, bool [M, B, T]; all True for sequences without
            padding.
        classes: The right output of each step, int64 [M, B, T], -1 where nothing counts as right; None for strings that
            networks write.
    """

    inputs: Tensor
    log_probs: Tensor
    unpadded: Tensor
    classes: Tensor | None

    def select(self, networks: Tensor, sequences: Tensor) -> Behaviour:
        """Return the behaviour of some networks [M'] on sequences [M', B'] of each."""
        return self._each(lambda tensor: tensor[networks[:, None], sequences])

    def empty_like(self, networks: int, device: str) -> Behaviour:
        """Return uninitialised tensors of the same form for `networks` networks, on a device."""
        return self._each(lambda tensor: torch.empty(networks, *tensor.shape[1:], dtype=tensor.dtype, device=device))

    def copy_rows(self, networks: Tensor, behaviour: Behaviour) -> None:
        """Replace the behaviour of some networks [M']."""
        for own, other in zip(vars(self).values(), vars(behaviour).values(), strict=True):
            if own is not None:
                own[networks] = other.to(own.device)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Behaviour:
        """Return a copy whose tensors are changed by a function."""
        classes = None if self.classes is None else change(self.classes)
        return Behaviour(change(self.inputs), change(self.log_probs), change(self.unpadded), classes)


@dataclass(frozen=True)
class TargetColumns:
    """Columns that are predicted together: of the index, or of `Benchmark.derived`."""

    kind: TargetKind
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Benchmark:
    """What encoders imitate and predict on zoos of a family.

    Attributes:
        behaviour: Function (decoded rollouts of M rows by name, labels of these rows) -> behaviour, on the CPU.
        targets: Name -> what is predicted from weights; `task` is the task itself, and may be missing. `accuracy` and
            `step` are usual.
        input_kind: What networks read.
        steps: T, steps of a sequence.
        starts_with_bos: Whether the first input is the same constant (BOS) for all sequences.
        derived: Name of a column -> function that computes it from columns of the index.
        accepts: Function (strings of M networks, uint8 [M, B, T], BOS first; labels of these rows) -> which of them are
            right, bool [M, B]; for networks that write. Clones are judged by it; without it, by `Behaviour.classes`.
    """

    behaviour: Callable[[Mapping[str, Tensor], Labels], Behaviour]
    targets: Mapping[str, TargetColumns]
    input_kind: InputKind
    steps: int
    starts_with_bos: bool = False
    derived: Mapping[str, Callable[[Labels], npt.NDArray[Any]]] = field(default_factory=dict)
    accepts: Callable[[Tensor, Labels], Tensor] | None = None


SHARED_TARGETS: Mapping[str, TargetColumns] = {
    "accuracy": TargetColumns("number", ("accuracy",)),
    "step": TargetColumns("classes", ("step",)),
}
"""Targets of every family whose networks have an accuracy."""
