"""The interface of a family's training data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

import torch
from torch import Tensor


class Sampler(Protocol):
    """The training data of M runs, addressed by the number of the update (0 is the first), on any device.

    Every trainer takes its batches from here, so each family's data has a single implementation. Drawing (random) and
    building (deterministic) are separate, so that a trainer can draw K updates ahead in a compact form.
    """

    def draw(self, first_update: int, num_updates: int) -> Tensor:
        """Draw the random part of the batches of `num_updates` updates.

        Args:
            first_update: Number of the first of these updates.
            num_updates: K, the number of updates.

        Returns:
            A tensor of integers [M, K, B, ...]. Slice [m, k] depends only on the seed, on run m and its task, and on
            the update `first_update + k`: not on K, nor on the other runs.
        """
        ...

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Build the batches of one update.

        Args:
            drawn: [M, B, ...], `draw(...)[:, k]`.

        Returns:
            Inputs, float32 [M, B, T, I], and target classes, int64 [M, B, T].
        """
        ...


class SymbolSampler(ABC):
    """Training data that is symbols, which the fast trainers read as drawn, without one-hot inputs.

    A drawn sequence has T + `target_offset` numbers, uint8. The first T are the symbols that the network reads; the
    target class of step t is number t + `target_offset`. With an offset of 1 the target is the next symbol; with an
    offset of T, the targets are a second sequence behind the first.

    Attributes:
        num_symbols: I, the number of different symbols.
        target_offset: See above.
    """

    num_symbols: ClassVar[int]
    target_offset: ClassVar[int]

    @abstractmethod
    def draw(self, first_update: int, num_updates: int) -> Tensor:
        """Draw K batches, uint8 [M, K, B, T + target_offset]; see `Sampler.draw`."""

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Return one-hot inputs [M, B, T, I] and target classes [M, B, T] of a drawn batch; see `Sampler.batch`."""
        read, targets = drawn[..., : -self.target_offset], drawn[..., self.target_offset :].long()
        return one_hot(read, self.num_symbols), targets


def one_hot(symbols: Tensor, num_symbols: int) -> Tensor:
    """Return the inputs for symbols [...]: float32 [..., V] on the same device."""
    return torch.eye(num_symbols, device=symbols.device)[symbols.long()]
