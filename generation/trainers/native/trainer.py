"""The trainer for CPUs: C++ that does many whole updates per call, one run on one core, with all of its data in cache.

Forward, loss, backward through time and AdamW are vector code (`kernel.h`), compiled for AVX-512, for AVX2 and for any
other machine; the best that this machine has is chosen at run time. A run takes a few MB. Results are equal to those of
`loop` up to rounding, and equal bit for bit on the same instruction set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import singledispatch

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.errors import BackendError
from rnn_zoos.families.digit_inputs import MEAN, STD
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.rotation import NUM_TILES, to_tiles
from rnn_zoos.families.sampler import Sampler, SymbolSampler
from rnn_zoos.families.sequential_mnist import DigitSampler
from rnn_zoos.generation.trainers.native import _native
from rnn_zoos.generation.trainers.native.limits import unsupported
from rnn_zoos.generation.trainers.trainer import (
    BETAS,
    EPSILON,
    Report,
    Run,
    TrainedRun,
    TrainingSettings,
    learning_rate,
    segments,
    settings_of_run,
    trained_run,
)
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
from rnn_zoos.networks.weights import flatten

_DRAWN_AHEAD = 200  # updates
_EVALUATED_AT_ONCE = 32  # digits: their activations stay in the second-level cache

Train = Callable[[Tensor, list[float], _native.AdamW], list[float]]
"""Trains on drawn updates [K, B, ...] with K learning rates. Returns the losses; only the last may be non-finite."""


class NativeTrainer:
    """Trains one run after the other. `instruction_set` is one of `instruction_sets()`, by default the best."""

    runs_at_once: int | None = None
    same_bits = True

    def __init__(self, instruction_set: str | None = None) -> None:
        self.instruction_set = instruction_set or instruction_sets()[0]

    def train(
        self, family: TaskFamily, settings: TrainingSettings, runs: Sequence[Run], report: Report
    ) -> Iterator[TrainedRun]:
        """Yield the trained runs, in order; see `Trainer.train`."""
        if (problem := unsupported(settings.architecture(family))) is not None:
            raise BackendError(f"Backend 'native' {problem}. Use smaller networks, or --backend loop.")
        for run in runs:
            yield self._train_run(family, settings, run, report)

    def _train_run(self, family: TaskFamily, settings: TrainingSettings, run: Run, report: Report) -> TrainedRun:
        settings, architecture = settings_of_run(settings, run), settings.architecture(family)
        sampler = family.sampler(settings.seed, [run.run], [run.task], settings.batch_size)
        _, targets = sampler.batch(sampler.draw(0, 1)[:, 0])
        initial = flatten(architecture, initial_weights(architecture, settings.seed, run.run, run.initial_scale))
        network = _network(architecture, initial, (settings.batch_size, targets.shape[-1]), self.instruction_set)
        train = _training_on(sampler, network)
        adamw = _native.AdamW(run.weight_decay, *BETAS, EPSILON)
        snapshots = {0: torch.from_numpy(network.weights())} if 0 in settings.snapshots else {}
        for first, end in segments(settings, _DRAWN_AHEAD):
            rates = [learning_rate(settings, update) * run.rate_scale for update in range(first, end)]
            losses = train(sampler.draw(first, end - first)[0], rates, adamw)
            weights = torch.from_numpy(network.weights())
            diverged = not math.isfinite(losses[-1])
            if end in settings.snapshots and not diverged:
                diverged = not bool(weights.isfinite().all())
                snapshots |= {} if diverged else {end: weights}
            report(settings.num_updates - first if diverged else end - first)
            if diverged:
                return trained_run(architecture, run, snapshots, diverged=True)
        return trained_run(architecture, run, snapshots, diverged=False)


class NativeNetwork(RecurrentNetwork):
    """A `RecurrentNetwork` whose digits and gradients are measured by the C++ code of the trainer."""

    def loss_gradients(self, weights: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return what `rnn_zoos.families.landscape.stacked_gradients` returns for this architecture, up to rounding."""
        network = _network(self.architecture, weights[0], (len(targets), targets.shape[1]), instruction_sets()[0])
        batch = inputs[None].contiguous().numpy(), targets[None].contiguous().numpy()
        gradients = []
        for flat in weights:
            network.set_weights(flat.numpy())
            network.train_dense(*batch, [0.0], _native.AdamW(0.0, *BETAS, EPSILON))
            gradients.append(torch.from_numpy(network.gradients()))
        return torch.stack(gradients)

    def measure_digits(self, images: Tensor, labels: Tensor, positions: Tensor, table: Tensor) -> tuple[float, float]:
        """Return what `rnn_zoos.families.digit_inputs.measure_digits` returns, up to rounding."""
        steps = NUM_TILES + 1
        weights = flatten(self.architecture, self.state_dict())
        network = _network(self.architecture, weights, (_EVALUATED_AT_ONCE, steps), instruction_sets()[0])
        loss, correct = network.evaluate_images(positions.numpy(), _images(images, labels, table))
        return loss / (len(positions) * steps), correct / len(positions)


def instruction_sets() -> list[str]:
    """Return the instruction sets of this machine that the trainer is compiled for, the best first."""
    return _native.instruction_sets()


def _network(
    architecture: Architecture, weights: Tensor, batch_shape: tuple[int, int], instruction_set: str
) -> _native.TrainableNetwork:
    """Return a network with flat weights [P] for batches of shape (B, T)."""
    batch, steps = batch_shape
    shape = _native.Shape(
        cell=architecture.cell,
        layers=architecture.num_layers,
        inputs=architecture.input_size,
        hidden=architecture.hidden_size,
        outputs=architecture.output_size,
        batch=batch,
        steps=steps,
    )
    network = _native.TrainableNetwork(shape, instruction_set)
    network.set_weights(weights.numpy())
    return network


def _images(images: Tensor, labels: Tensor, table: Tensor) -> _native.Images:
    """Return the digits, the pixel that each input reads, and the input for each value of a pixel."""
    brightness = ((torch.arange(256, dtype=torch.uint8) / 255 - MEAN) / STD).numpy().astype(np.float32)
    return _native.Images(images.numpy(), labels.numpy(), to_tiles(table).flatten().numpy(), brightness)


@singledispatch
def _training_on(sampler: Sampler, network: _native.TrainableNetwork) -> Train:
    """Return how to train a network on what a sampler draws. In general: on float inputs."""

    def train(drawn: Tensor, rates: list[float], adamw: _native.AdamW) -> list[float]:
        batches = [sampler.batch(update[None]) for update in drawn]
        inputs, targets = (torch.cat(part).contiguous().numpy() for part in zip(*batches, strict=True))
        return network.train_dense(inputs, targets, rates, adamw)

    return train


@_training_on.register
def _(_sampler: SymbolSampler, network: _native.TrainableNetwork) -> Train:
    """Symbols are passed as drawn: one-hot inputs need no product."""
    return lambda drawn, rates, adamw: network.train_symbols(drawn.numpy(), rates, adamw)


@_training_on.register
def _(sampler: DigitSampler, network: _native.TrainableNetwork) -> Train:
    """Digits are passed as drawn, by their indices."""
    images = _images(sampler.images, sampler.labels, sampler.tables[0])
    return lambda drawn, rates, adamw: network.train_images(drawn.contiguous().numpy(), images, rates, adamw)
