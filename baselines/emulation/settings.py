"""The settings of a training by emulation."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from rnn_zoos.baselines.emulation.emulator import Conditioning
from rnn_zoos.baselines.emulation.optimisation import one_cycle
from rnn_zoos.errors import PresetError, UnknownNameError

Schedule: TypeAlias = Literal["one-cycle", "constant"]
"""How the learning rate changes; see `EmulationSettings.rate`."""

_POSITIVE = ("updates", "evaluate_every", "networks", "sequences", "hidden", "layers", "embedding_size")
_LEAST = MappingProxyType({**dict.fromkeys((*_POSITIVE, "evaluated_sequences"), 1), "training_runs": 0})  # of counts


@dataclass(frozen=True)
class EmulationSettings:
    """Settings of a training by emulation.

    Attributes:
        updates: Number of updates.
        evaluate_every: Updates between two evaluations on `validation`, each of which writes a checkpoint.
        networks: M, networks per batch.
        sequences: B, sequences per network of a batch, drawn from its stored rollouts.
        hidden: Units per layer of the emulator.
        layers: Layers of the emulator.
        embedding_size: Z, the number of entries of an embedding.
        conditioning: `every`: the emulator reads the embedding at every step; `first`: at the first step only.
        learning_rate: Highest learning rate.
        schedule: `one-cycle`, see `rate`, or `constant`.
        weight_decay: Weight decay of AdamW.
        clip: Largest norm of the gradients of encoder and emulator, each.
        evaluated_sequences: Sequences per network in evaluations.
        training_runs: Train on the first of the training runs only, this many; 0 for all.

    Raises:
        PresetError: If a number is out of range.
        UnknownNameError: If there is no such conditioning or schedule.

    Example:
        >>> from rnn_zoos.baselines import EmulationSettings
        >>> settings = EmulationSettings(updates=2000, evaluate_every=200, hidden=64)
    """

    updates: int
    evaluate_every: int
    networks: int = 64
    sequences: int = 1
    hidden: int = 256
    layers: int = 2
    embedding_size: int = 16
    conditioning: Conditioning = "every"
    learning_rate: float = 3e-3
    schedule: Schedule = "one-cycle"
    weight_decay: float = 0.01
    clip: float = 1.0
    evaluated_sequences: int = 8
    training_runs: int = 0

    def __post_init__(self) -> None:
        """Check everything that does not depend on a zoo."""
        for name, least in _LEAST.items():
            number = getattr(self, name)
            if not isinstance(number, int) or number < least:
                raise PresetError(f"{name} is {number}; expected a whole number of at least {least}.")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise PresetError(f"{name} is {getattr(self, name)}; expected a number above 0.")
        if not self.weight_decay >= 0:
            raise PresetError(f"weight_decay is {self.weight_decay}; expected 0 or more.")
        for name, known in (("conditioning", get_args(Conditioning)), ("schedule", get_args(Schedule))):
            if getattr(self, name) not in known:
                raise UnknownNameError.among(name, getattr(self, name), known)

    def rate(self, update: int) -> float:
        """Return the learning rate of an update.

        With the one-cycle schedule, it rises along a cosine during the first tenth of the updates and falls during the
        others, between 4% and 100% of `learning_rate`.

        Args:
            update: Number of the update, counted from 0.

        Returns:
            The learning rate.

        Example:
            >>> from rnn_zoos.baselines import EmulationSettings
            >>> EmulationSettings(updates=100, evaluate_every=10, learning_rate=0.002).rate(9)
            0.002
        """
        if self.schedule == "constant":
            return self.learning_rate
        return one_cycle(self.learning_rate, self.updates, update)
