"""Numbers that describe the networks of a zoo without training an encoder: what the explorer's maps are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.baselines.emulation.data import SplitData, merge_stacks
from rnn_zoos.baselines.encoders.feature_encoder import map_architectures
from rnn_zoos.baselines.encoders.outliers import inlier_rows, soft_clip
from rnn_zoos.baselines.encoders.probes.queries import read_answers
from rnn_zoos.baselines.encoders.probes.self_rollout import SelfRollout
from rnn_zoos.baselines.encoders.weights.statistics import MAX_LAYERS, padded_statistics
from rnn_zoos.families.registry import task_family
from rnn_zoos.format.files import Array
from rnn_zoos.loaders.explorer.maps import MapFeatures
from rnn_zoos.loaders.zoo import Zoo
from rnn_zoos.networks.stack import NetworkStack

_BATCH = 256  # networks that run at once
_ROUNDING = 1e-6  # of float32: below it a column is constant
_MOST_FEATURES = 2000  # of answers: what principal components are computed of


def zoo_maps(zoo: Zoo, progress: Callable[[float], None] = lambda fraction: None) -> list[MapFeatures]:
    """Return what maps of a zoo can be made of without an encoder.

    - answers: outputs of the networks, as the encoders that probe them read them: along strings that they write
      themselves if they write, else on sequences that some networks of the zoo were trained on, the same for all. Left
      out if the zoo has no rollouts, or its family says nothing of their inputs.
    - statistics: layer-wise statistics of the weights (`padded_statistics`). Left out if a network has more layers than
      these have places for.

    Args:
        zoo: The zoo.
        progress: Called with the fraction of networks that is done.
    """
    index = zoo.index()
    questions = _questions(zoo)
    fits = all(architecture.num_layers <= MAX_LAYERS for architecture in zoo.manifest.architectures)
    answers, statistics = [], []
    for first in range(0, len(index), _BATCH):
        stack = merge_stacks(zoo.stacks(index.slice(first, _BATCH)), "apart")
        with torch.no_grad():
            if questions is not None:
                answers.append(questions(stack).numpy())
            if fits:
                statistics.append(map_architectures(stack, padded_statistics).numpy())
        progress(min(1.0, (first + _BATCH) / len(index)))
    found = [
        MapFeatures("answers", "answers of the networks", np.concatenate(answers)) if answers else None,
        MapFeatures("statistics", "statistics of their weights", _standardised(np.concatenate(statistics)))
        if statistics
        else None,
    ]
    return [features for features in found if features is not None]


def _standardised(values: Array) -> Array:
    """Return columns with mean 0 and standard deviation 1, or all 0: statistics of biases are smaller than others.

    Means and deviations are those of usual rows, and what is far outside is compressed; see `outliers`.
    """
    values = values.astype(np.float64)
    usual = values[inlier_rows(torch.from_numpy(values)).numpy()]
    mean, spread = usual.mean(axis=0), usual.std(axis=0)
    varies = spread > _ROUNDING * (1 + np.abs(mean))
    standardised = np.where(varies, (values - mean) / np.where(varies, spread, 1), 0)
    return np.asarray(soft_clip(torch.from_numpy(standardised)).float().numpy())


def _questions(zoo: Zoo) -> Callable[[NetworkStack], Tensor] | None:
    """Return a function from M networks to their answers [M, F]; None if the networks cannot be asked."""
    benchmark = task_family(zoo.manifest.zoo).benchmark
    if benchmark is None or not zoo.manifest.rollouts or not zoo.splits():
        return None
    architecture = zoo.manifest.architectures[0]
    if SelfRollout.supports(architecture) and SelfRollout.supports_family(benchmark):
        return SelfRollout(architecture).arrange
    sequences = _shared_sequences(zoo)
    steps = sequences.shape[1]
    size = 2 * architecture.output_size * len(sequences)
    every = max(1, -(-steps * size // _MOST_FEATURES))

    def answers(stack: NetworkStack) -> Tensor:
        outputs, _ = stack(sequences)
        return read_answers(outputs[:, :, (steps - 1) % every :: every], "both").flatten(
            1
        )  # the last step is one of them

    return answers


def _shared_sequences(zoo: Zoo) -> Tensor:
    """Return inputs [N, T, I] of some networks of the first split, one sequence of each, evenly among its rows."""
    rows = SplitData(zoo, zoo.splits()[0])
    count = min(8, len(rows))
    chosen = torch.linspace(0, len(rows) - 1, count).long()
    return rows.behaviour(chosen, torch.zeros(count, 1, dtype=torch.int64)).inputs[:, 0]
