"""The interface of a family's training data."""

from __future__ import annotations

from typing import Protocol

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
