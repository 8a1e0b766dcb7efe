"""One update of an encoder and of the modules that are trained with it: AdamW, gradient clipping, one-cycle rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor, nn

from rnn_zoos.errors import EncoderError


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Start torch's global generators from a seed, and restore them at the end: dropout draws from them."""
    gpus = [] if device == "cpu" else [torch.device(device)]
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        yield


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
        parameters: The parameters of each part, for clipping.
        optimizer: AdamW over the parameters of all parts, in their order.
    """

    def __init__(self, parts: Sequence[nn.Module], settings: UpdateSettings, name: str) -> None:
        """Start without moments.

        Args:
            parts: The modules to train. The gradient of each is clipped on its own.
            settings: Learning rate, weight decay and clipping.
            name: Which training this is, for error messages.
        """
        self.settings, self.name = settings, name
        self.parameters = [list(part.parameters()) for part in parts]
        parameters = list(chain.from_iterable(self.parameters))
        on_gpu = any(parameter.is_cuda for parameter in parameters)
        # A CUDA graph reads the rate from a tensor; on a CPU a number is faster.
        rate = torch.tensor(settings.rate(0), device=parameters[0].device) if on_gpu else settings.rate(0)
        self.optimizer = torch.optim.AdamW(
            parameters, rate, weight_decay=settings.weight_decay, fused=True, capturable=on_gpu
        )

    def step(self, loss: Tensor, update: int) -> float:
        """Minimise a loss by one update, counted from 0; return the loss. Raises EncoderError if it is not finite."""
        value = self.finite(loss.item(), update)
        self.set_rate(update)
        self.minimise(loss)
        return value

    def minimise(self, loss: Tensor) -> None:
        """Do an update of all parameters, without waiting for a GPU."""
        self.optimizer.zero_grad()
        loss.backward()
        for parameters in filter(None, self.parameters):  # an encoder may have none
            nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        self.optimizer.step()

    def set_rate(self, update: int) -> None:
        """Set the learning rate to that of an update."""
        rate = self.settings.rate(update)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def finite(self, loss: float, update: int) -> float:
        """Return the loss of an update. Raises EncoderError if it is not finite."""
        if not math.isfinite(loss):
            raise EncoderError(
                f"The loss of {self.name} is {loss} at update {update}. "
                "Lower the learning rate, or bound the encoder's activations."
            )
        return loss


def one_cycle(highest: float, updates: int, update: int) -> float:
    """Return the learning rate of update 0 to `updates` - 1: a cosine from 0.04 `highest` up to it, and down again.

    It rises during the first tenth of the updates and falls during the others.
    """
    peak = max(1, updates // 10)
    fraction = (update + 1) / peak if update < peak else 1 - (update + 1 - peak) / max(1, updates - peak)
    return highest * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * fraction)))
