"""What an encoder has to beat: features that know nothing of what a network does, or too much of how it was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from rnn_zoos.baselines.downstream.predictors import Features
from rnn_zoos.baselines.emulation.data import Biases, SplitData, ZooData
from rnn_zoos.baselines.encoders.statistics import weight_statistics
from rnn_zoos.errors import UnknownNameError
from rnn_zoos.format.files import Array
from rnn_zoos.symmetry.biases import bias_differences


def _mean(split: SplitData) -> Array:
    """Nothing: predictors can only answer with the mean, or the most frequent class, of the training rows."""
    return np.zeros((len(split), 1))


def _step(split: SplitData) -> Array:
    """How long the network was trained, one feature for every step."""
    return _one_hot(split, "step")


def _hyperparameters(split: SplitData) -> Array:
    """Its weight decay, the only hyperparameter in which runs differ, one feature for every value."""
    return _one_hot(split, "weight_decay")


def _task(split: SplitData) -> Array:
    """Which task it is: predictors can answer with the mean of a task, and for one never seen with that of all."""
    return _one_hot(split, "task")


def _one_hot(split: SplitData, column: str) -> Array:
    """Return a feature for every value that a column of the whole zoo has."""
    values = np.unique(split.zoo.index()[column].to_numpy(zero_copy_only=False).astype(str))
    return np.asarray(split.labels(column).astype(str)[:, None] == values, np.float64)


def _shortcut(split: SplitData) -> Array:
    """Mean, deviation and largest entry of b_ih - b_hh: it only decays with rate and weight decay, it never learns."""
    differences = bias_differences(split.zoo.manifest.architecture, split.weights).cpu()
    size = differences.abs()
    return np.stack([size.mean(1).numpy(), differences.std(1).numpy(), size.amax(1).numpy()], axis=1)


def _statistics(split: SplitData) -> Array:
    """Layer-wise statistics of the weights."""
    return weight_statistics(split.zoo.manifest.architecture, split.weights).cpu().numpy()


@dataclass(frozen=True)
class Control:
    """What is read, and by which predictors; `permuted`: after the labels of training rows were dealt anew."""

    features: Callable[[SplitData], Array]
    predictors: tuple[str, ...] = ("linear", "mlp")
    permuted: bool = False


CONTROLS: Mapping[str, Control] = MappingProxyType(
    {
        "mean": Control(_mean),
        "step only": Control(_step),
        "hyperparameters only": Control(_hyperparameters),
        "task mean": Control(_task),
        "shortcut b_ih - b_hh": Control(_shortcut),
        "weight statistics": Control(_statistics),
        "weight statistics, boosted trees": Control(_statistics, ("boosting",)),
        "weight statistics, permuted labels": Control(_statistics, permuted=True),
    }
)


def controls_of(biases: Biases) -> list[str]:
    """Return the controls that say something: merged biases have no difference, and change nothing but statistics."""
    return list(CONTROLS) if biases == "apart" else [name for name in CONTROLS if name.startswith("weight statistics")]


def control_features(data: ZooData, name: str) -> Features:
    """Return the features of a control for every split. Raises UnknownNameError."""
    if name not in CONTROLS:
        raise UnknownNameError.among("control", name, CONTROLS)
    return {split: CONTROLS[name].features(rows) for split, rows in data.splits.items()}
