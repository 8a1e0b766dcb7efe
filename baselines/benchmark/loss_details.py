"""Where an emulator's losses come from: total variation by run and by position in the sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rnn_zoos.baselines.emulation.embedding import chunks
from rnn_zoos.baselines.emulation.losses import total_variation
from rnn_zoos.baselines.emulation.training import EmulationRun
from rnn_zoos.format.files import Array


@torch.no_grad()
def position_losses(run: EmulationRun, split: str) -> Array:
    """Return the total variation of every network of a split at every step, [R, T].

    Means over the first `evaluated_sequences` stored sequences of a network, those of `run.losses`.
    """
    data, losses = run.data.splits[split], []
    count = min(run.settings.evaluated_sequences, data.num_rollouts)
    for rows in chunks(data):
        behaviour = data.behaviour(rows, torch.arange(count).expand(len(rows), -1))
        emulated = run.emulator(run.embedder.embed(split, rows), behaviour.inputs)
        losses.append(total_variation(emulated, behaviour.log_probs).mean(dim=1))
    return np.asarray(torch.cat(losses).double().cpu().numpy())


def by_run(losses: Array, runs: Array, tasks: Array) -> dict[str, list[Any]]:
    """Return the mean losses of runs, from those of their snapshots: columns `run`, `task` and `total_variation`.

    Args:
        losses: [R, T].
        runs: [R] run numbers.
        tasks: [R] names of the tasks of the runs.
    """
    numbers, first, of_row = np.unique(runs, return_index=True, return_inverse=True)
    sums = np.bincount(of_row, weights=losses.mean(axis=1))
    return {
        "run": numbers.tolist(),
        "task": tasks[first].tolist(),
        "total_variation": (sums / np.bincount(of_row)).tolist(),
    }
