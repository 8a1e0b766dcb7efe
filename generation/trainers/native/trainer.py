"""The trainer for CPUs: C++ that does many whole updates per call, one run on one core, all of it in cache.

Forward, loss, backward through time and AdamW are vector code of our own (native_kernel.h), compiled for AVX-512, AVX2
and any other machine; the best that this one has is chosen when it runs. A run takes a few MB. Results are equal to
those of `loop` up to rounding, and equal bit for bit on the same instruction set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnn_zoos.families.family import Sampler, TaskFamily
from rnn_zoos.families.formal_languages import LanguageSampler
from rnn_zoos.families.rotation import NUM_TILES, to_tiles
from rnn_zoos.families.sequential_mnist import MEAN, STD, DigitSampler
from rnn_zoos.generation.trainers.native import _native
from rnn_zoos.generation.trainers.trainer import (
    BETAS,
    EPSILON,
    Report,
    Run,
    TrainedRun,
    TrainingSettings,
    learning_rate,
    segments,
    trained_run,
)
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
from rnn_zoos.networks.weights import flatten

_DRAWN_AHEAD = 200  # updates
_MEASURED_AT_ONCE = 32  # digits: their activations stay in the second-level cache

Pictures = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.float32]]
Feed = Callable[[Tensor, list[float], _native.AdamW], list[float]]
"""Trains on drawn updates [K, B, ...] with K learning rates; returns losses, the last of which may not be finite."""


class NativeTrainer:
    """Trains one run after the other. `instruction_set` is one of `instruction_sets()`, by default the best."""

    at_once: int | None = None

    def __init__(self, instruction_set: str | None = None) -> None:
        self.instruction_set = instruction_set or instruction_sets()[0]

    def train(
        self, family: TaskFamily, settings: TrainingSettings, runs: Sequence[Run], report: Report
    ) -> Iterator[TrainedRun]:
        """Yield the trained runs, in order."""
        for run in runs:
            yield self._train_run(family, settings, run, report)

    def _train_run(self, family: TaskFamily, settings: TrainingSettings, run: Run, report: Report) -> TrainedRun:
        architecture = settings.architecture(family)
        sampler = family.sampler(settings.seed, [run.run], [run.task], settings.batch_size)
        _, targets = sampler.batch(sampler.draw(0, 1)[:, 0])
        trainee = _trainee(architecture, settings.batch_size, targets.shape[-1], self.instruction_set)
        trainee.set_weights(flatten(architecture, initial_weights(architecture, settings.seed, run.run)).numpy())
        feed = _feed(trainee, sampler)
        adamw = _native.AdamW(run.weight_decay, *BETAS, EPSILON)
        snapshots = {0: torch.from_numpy(trainee.weights())} if 0 in settings.snapshots else {}
        for first, last in segments(settings, _DRAWN_AHEAD):
            rates = [learning_rate(settings, update) for update in range(first, last)]
            losses = feed(sampler.draw(first, last - first)[0], rates, adamw)
            weights = torch.from_numpy(trainee.weights())
            diverged = not math.isfinite(losses[-1])
            if last in settings.snapshots and not diverged:
                diverged = not bool(weights.isfinite().all())
                snapshots |= {} if diverged else {last: weights}
            report(settings.num_updates - first if diverged else last - first)
            if diverged:
                return trained_run(architecture, run, snapshots, diverged=True)
        return trained_run(architecture, run, snapshots, diverged=False)


class NativeNetwork(RecurrentNetwork):
    """A network that is measured on digits by the code that trains; in all else a RecurrentNetwork."""

    def measure_digits(self, images: Tensor, labels: Tensor, positions: Tensor, table: Tensor) -> tuple[float, float]:
        """Return what `rnn_zoos.families.sequential_mnist.measure_digits` returns, up to rounding."""
        network = _trainee(self.architecture, _MEASURED_AT_ONCE, NUM_TILES + 1, instruction_sets()[0])
        network.set_weights(flatten(self.architecture, self.state_dict()).numpy())
        loss, right = network.measure_images(positions.numpy(), *_pictures(images, labels, table))
        return loss / (len(positions) * (NUM_TILES + 1)), right / len(positions)


def _trainee(architecture: Architecture, batch_size: int, steps: int, instruction_set: str) -> _native.Trainee:
    return _native.Trainee(
        cell=architecture.cell,
        layers=architecture.num_layers,
        inputs=architecture.input_size,
        hidden=architecture.hidden_size,
        outputs=architecture.output_size,
        batch=batch_size,
        steps=steps,
        instruction_set=instruction_set,
    )


def _pictures(images: Tensor, labels: Tensor, table: Tensor) -> Pictures:
    """Return images, labels, which pixel each input is from, and the input for each value of a pixel."""
    brightness = ((torch.arange(256, dtype=torch.uint8) / 255 - MEAN) / STD).numpy().astype(np.float32)
    return images.numpy(), labels.numpy(), to_tiles(table).flatten().numpy(), brightness


def instruction_sets() -> list[str]:
    """Return the instruction sets of this machine that the trainer is compiled for, the best first."""
    return _native.instruction_sets()


def _feed(trainee: _native.Trainee, sampler: Sampler) -> Feed:
    """Return how to train on what the sampler draws: symbols and digits as drawn, all else as float inputs."""
    if isinstance(sampler, LanguageSampler):
        return lambda drawn, rates, adamw: trainee.train_symbols(drawn.numpy(), rates, adamw)
    if isinstance(sampler, DigitSampler):
        pictures = _pictures(sampler.images, sampler.labels, sampler.tables[0])
        return lambda drawn, rates, adamw: trainee.train_images(drawn.contiguous().numpy(), *pictures, rates, adamw)

    def dense(drawn: Tensor, rates: list[float], adamw: _native.AdamW) -> list[float]:
        batches = [sampler.batch(update[None]) for update in drawn]
        inputs, targets = (torch.cat(part).contiguous().numpy() for part in zip(*batches, strict=True))
        return trainee.train_dense(inputs, targets, rates, adamw)

    return dense
