"""The settings of end-to-end training, apart from its code: presets name them without importing scipy."""

from __future__ import annotations

from dataclasses import dataclass

from rnn_zoos.baselines.emulation.optimisation import one_cycle


@dataclass(frozen=True)
class EndToEndSettings:
    """Settings of end-to-end training.

    Attributes:
        updates: Number of updates.
        networks: M, networks per batch.
        hidden: Hidden units of a head.
        learning_rate: Highest learning rate of the one-cycle schedule.
        weight_decay: Weight decay of AdamW.
        clip: Largest norm of the gradient of encoder and heads together.
    """

    updates: int
    networks: int = 64
    hidden: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    clip: float = 1.0

    def rate(self, update: int) -> float:
        """Return the learning rate of an update, counted from 0."""
        return one_cycle(self.learning_rate, self.updates, update)
