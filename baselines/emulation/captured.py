"""Updates of a training on a GPU as a CUDA graph: the thousands of small operations of one update are one launch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rnn_zoos.baselines.emulation.optimisation import Optimisation
from rnn_zoos.cuda_graph import captured
from rnn_zoos.symmetry.signed import SignedPermutation


@dataclass(frozen=True)
class Batch:
    """What an update draws.

    Attributes:
        rows: Numbers of the rows of M networks, [M].
        sequences: Numbers of their stored sequences, [M, B].
        permutation: The signed permutations of the networks, if the encoder is trained with them.
    """

    rows: Tensor
    sequences: Tensor
    permutation: SignedPermutation | None

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors."""
        permuted = [] if self.permutation is None else [*self.permutation.orders, *self.permutation.signs]
        return [self.rows, self.sequences, *permuted]

    def to(self, device: str) -> Batch:
        """Return a copy on a device."""
        permutation = None if self.permutation is None else self.permutation.to(device)
        return Batch(self.rows.to(device), self.sequences.to(device), permutation)


class CapturedUpdate:
    """An update as a CUDA graph.

    The first updates of a training are done without it, on a side stream, see `rnn_zoos.cuda_graph`.

    Args:
        loss: Returns the loss of a batch, without waiting for the GPU.
        optimisation: Minimises it.
        batch: A batch of the size of all.
        device: The GPU.
    """

    def __init__(self, loss: Callable[[Batch], Tensor], optimisation: Optimisation, batch: Batch, device: str) -> None:
        self._optimisation, self._batch = optimisation, batch.to(device)
        self._loss = torch.zeros((), device=device)

        def update() -> None:
            value = loss(self._batch)
            self._loss.copy_(value.detach())
            optimisation.minimise(value)

        self._graph = captured(update, device)

    def __call__(self, batch: Batch, update: int) -> float:
        """Do an update, counted from 0, with a batch; return its loss. Raises EncoderError if that is not finite."""
        for place, tensor in zip(self._batch.tensors, batch.tensors, strict=True):
            place.copy_(tensor)
        self._optimisation.set_rate(update)
        self._graph.replay()
        return self._optimisation.finite(self._loss.item(), update)
