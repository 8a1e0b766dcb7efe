"""Updates of a training on a GPU as a CUDA graph: the thousands of small operations of one update are one launch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

import torch
from torch import Tensor

from rnn_zoos.baselines.emulation.optimisation import Optimisation
from rnn_zoos.cuda_graph import WARM_UP, capture_graph, side_stream
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


Loss: TypeAlias = Callable[[Batch, bool], Tensor]
"""(batch, whether to check what the encoder returns, which waits for a GPU) -> the loss, with gradients."""


class Updates:
    """Does the updates of a training: on a GPU, all but the first as a CUDA graph.

    It keeps no reference to the training, whose memory on a GPU would otherwise stay until the next garbage collection.

    Attributes:
        captured: The graph, once there is one.

    Args:
        optimisation: Minimises the loss.
        device: The device of the training.
        capturable: Whether computing the loss never waits for a GPU, but for the check.
    """

    def __init__(self, optimisation: Optimisation, device: str, capturable: bool) -> None:
        self._optimisation, self._device, self._capturable = optimisation, device, capturable
        self._warm, self.captured = 0, cast("CapturedUpdate | None", None)

    def do(self, loss: Loss, batch: Batch, update: int) -> float:
        """Do an update, counted from 0, with a batch; return its loss. Raises EncoderError if that is not finite."""
        if self._device == "cpu" or not self._capturable:
            return self._optimisation.step(loss(batch, True), update)
        if self._warm < WARM_UP:
            self._warm += 1
            with side_stream(self._device):
                return self._optimisation.step(loss(batch.to(self._device), True), update)
        if self.captured is None:
            self.captured = CapturedUpdate(loss, self._optimisation, batch, self._device)
        return self.captured.replay(batch, update)


class CapturedUpdate:
    """An update as a CUDA graph.

    Args:
        loss: Returns the loss of a batch.
        optimisation: Minimises it.
        batch: A batch of the size of all.
        device: The GPU.
    """

    def __init__(self, loss: Loss, optimisation: Optimisation, batch: Batch, device: str) -> None:
        self._optimisation, self._batch = optimisation, batch.to(device)
        self._loss = torch.zeros((), device=device)

        def update() -> None:
            value = loss(self._batch, False)
            self._loss.copy_(value.detach())
            optimisation.minimise(value)

        self._graph = capture_graph(update, device)

    def replay(self, batch: Batch, update: int) -> float:
        """Do an update, counted from 0, with a batch; return its loss. Raises EncoderError if that is not finite."""
        for place, tensor in zip(self._batch.tensors, batch.tensors, strict=True):
            place.copy_(tensor)
        self._optimisation.set_rate(update)
        self._graph.replay()
        return self._optimisation.finite(self._loss.item(), update)
