"""The reference trainer: torch.nn modules, autograd and torch.optim.AdamW, one run at a time.

It runs on any machine. The faster trainers are tested against it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.denormals import denormals_as_zero
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.generation.trainers.trainer import (
    BETAS,
    EPSILON,
    REPORT_EVERY,
    Report,
    Run,
    TrainedRun,
    TrainingSettings,
    learning_rate,
    settings_of_run,
    trained_run,
)
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
from rnn_zoos.networks.weights import flatten
from rnn_zoos.processes import one_thread

_DRAWN_AHEAD = 200  # updates: drawing costs a fixed time per call, and 200 batches still fit in cache


class LoopTrainer:
    """Trains one run after the other with autograd."""

    runs_at_once: int | None = None
    same_bits = True

    def train(
        self, family: TaskFamily, settings: TrainingSettings, runs: Sequence[Run], report: Report
    ) -> Iterator[TrainedRun]:
        """Yield the trained runs, in order; see `Trainer.train`."""
        for run in runs:
            yield _train_run(family, settings, run, report)


@one_thread()
@denormals_as_zero()
def _train_run(family: TaskFamily, settings: TrainingSettings, run: Run, report: Report) -> TrainedRun:
    settings, architecture = settings_of_run(settings, run), settings.architecture(family)
    initial = initial_weights(architecture, settings.seed, run.run, run.initial_scale)
    network = RecurrentNetwork(architecture, initial)
    optimizer = torch.optim.AdamW(
        network.parameters(), betas=BETAS, eps=EPSILON, weight_decay=run.weight_decay, fused=True
    )
    snapshots = {0: flatten(architecture, network.weights())} if 0 in settings.snapshots else {}
    for step, (inputs, targets) in enumerate(_batches(family, settings, run), start=1):
        rate = learning_rate(settings, step - 1) * run.rate_scale
        loss = _update(network, optimizer, inputs, targets, rate)
        if step in settings.snapshots:
            snapshots[step] = flatten(architecture, network.weights())
        if not math.isfinite(loss) or (step in snapshots and not snapshots[step].isfinite().all()):
            snapshots.pop(step, None)
            reported = (step - 1) // REPORT_EVERY * REPORT_EVERY
            report(settings.num_updates - reported)
            return trained_run(architecture, run, snapshots, diverged=True)
        if step % REPORT_EVERY == 0:
            report(REPORT_EVERY)
    report(settings.num_updates % REPORT_EVERY)
    return trained_run(architecture, run, snapshots, diverged=False)


def _update(
    network: RecurrentNetwork, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor, rate: float
) -> float:
    """Do one update on inputs [B, T, I] and targets [B, T]; return the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = F.cross_entropy(network(inputs).flatten(0, 1), targets.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _batches(family: TaskFamily, settings: TrainingSettings, run: Run) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of a run, one per update: inputs [B, T, I], targets [B, T]."""
    sampler = family.sampler(settings.seed, [run.run], [run.task], settings.batch_size)
    for first in range(0, settings.num_updates, _DRAWN_AHEAD):
        for drawn in sampler.draw(first, min(_DRAWN_AHEAD, settings.num_updates - first)).unbind(dim=1):
            inputs, targets = sampler.batch(drawn)
            yield inputs[0], targets[0]
