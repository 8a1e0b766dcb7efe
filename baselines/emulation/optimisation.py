"""One update of an encoder and of the modules that are trained with it: AdamW, gradient clipping, one-cycle rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor, nn

from rnn_zoos.errors import EncoderError


class UpdateSettings(Protocol):
    """What `Optimisation` needs of the settings of a training."""

    @property
    def weight_decay(self) -> float:
        """Weight decay of AdamW."""

    @property
    def clip(self) -> float:
        """Largest norm of the gradient of a part."""

    def rate(self, update: int) -> float:
        """Return the learning rate of an update, counted from 0."""


class Optimisation:
    """Updates the parameters of several modules by AdamW.

    Attributes:
        optimizer: AdamW over the parameters of all parts, in their order.
    """

    def __init__(self, parts: Sequence[nn.Module], settings: UpdateSettings, name: str) -> None:
        """Start without moments.

        Args:
            parts: The modules to train. The gradient of each is clipped on its own.
            settings: Learning rate, weight decay and clipping.
            name: Which training this is, for error messages.
        """
        self.parts, self.settings, self.name = parts, settings, name
        parameters = chain.from_iterable(part.parameters() for part in parts)
        self.optimizer = torch.optim.AdamW(parameters, weight_decay=settings.weight_decay, fused=True)

    def step(self, loss: Tensor, update: int) -> float:
        """Minimise a loss by one update, counted from 0; return the loss. Raises EncoderError if it is not finite."""
        if not bool(loss.isfinite()):
            raise EncoderError(
                f"The loss of {self.name} is {loss.item()} at update {update}. "
                "Lower the learning rate, or bound the encoder's activations."
            )
        self.optimizer.zero_grad()
        loss.backward()
        for part in self.parts:
            nn.utils.clip_grad_norm_(part.parameters(), self.settings.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(update)
        self.optimizer.step()
        return loss.item()


def one_cycle(highest: float, updates: int, update: int) -> float:
    """Return the learning rate of update 0 to `updates` - 1: a cosine from 0.04 `highest` up to it, and down again.

    It rises during the first tenth of the updates and falls during the others.
    """
    peak = max(1, updates // 10)
    fraction = (update + 1) / peak if update < peak else 1 - (update + 1 - peak) / max(1, updates - peak)
    return highest * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * fraction)))
