"""Controls: features that ignore what a network computes. An encoder is useful if its embeddings predict more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.baselines.downstream.protocols import Features
from rnn_zoos.baselines.downstream.targets import targets_of
from rnn_zoos.baselines.emulation.data import Biases, SplitData, ZooData
from rnn_zoos.baselines.encoders.encoder import Weights
from rnn_zoos.baselines.encoders.feature_encoder import map_architectures
from rnn_zoos.baselines.encoders.weights.statistics import MAX_LAYERS, padded_statistics, weight_statistics
from rnn_zoos.errors import UnknownNameError
from rnn_zoos.families.run_table import VARIED
from rnn_zoos.format.files import Array
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.symmetry.biases import bias_differences


def _constant(split: SplitData) -> Array:
    """No information: predictors can only return the mean, or the most frequent class, of the training rows."""
    return np.zeros((len(split), 1))


def _step(split: SplitData) -> Array:
    """The training step of the snapshot, one-hot."""
    return split.one_hot("step")


def _hyperparameters(split: SplitData) -> Array:
    """The hyperparameters in which runs may differ: the weight decay and what they draw; classes one-hot."""
    manifest = split.zoo.manifest
    drawn = {name: target for name, target in targets_of(manifest.zoo, manifest.settings).items() if name in VARIED}
    numbers = [target.values(split) for target in drawn.values() if target.kind == "number"]
    classes = [name for name, target in drawn.items() if target.kind == "classes"]
    if "weight_decay" not in drawn:
        classes.append("weight_decay")
    return np.concatenate([*numbers, *(split.one_hot(name) for name in classes)], axis=1)


def _task(split: SplitData) -> Array:
    """The task, one-hot: predictors can return the mean of each training task, and one constant for unseen tasks."""
    return split.one_hot("task")


def _bias_differences(split: SplitData) -> Array:
    """Mean absolute value, standard deviation and largest absolute value of b_ih - b_hh.

    Both biases get the same gradient, so their difference is not trained: it only shrinks with learning rate and weight
    decay, and shows both of them and the step.
    """

    def summary(architecture: Architecture, weights: Weights) -> Tensor:
        differences = bias_differences(architecture, weights)
        size = differences.abs()
        return torch.stack([size.mean(1), differences.std(1), size.amax(1)], dim=1)

    return map_architectures(split.networks, summary).cpu().numpy()


def _statistics(split: SplitData) -> Array:
    """Statistics of every weight tensor; in a zoo of several architectures, padded, with the architecture."""
    mixed = split.zoo.manifest.shard_architectures is not None
    return map_architectures(split.networks, padded_statistics if mixed else weight_statistics).cpu().numpy()


def _weight_norm(split: SplitData) -> Array:
    """Euclidean norm of all weights."""

    def norm(_: Architecture, weights: Weights) -> Tensor:
        squares = [tensor.double().flatten(1).square().sum(dim=1) for tensor in weights.values()]
        return torch.stack(squares).sum(dim=0).sqrt()[:, None]

    return map_architectures(split.networks, norm).cpu().numpy()


def _accuracy(split: SplitData) -> Array:
    """The accuracy of the network itself: in trajectory tasks, that of the early snapshot."""
    return np.asarray(split.labels("accuracy"), np.float64)[:, None]


@dataclass(frozen=True)
class Control:
    """Features of a split's rows, and how labels are predicted from them.

    Attributes:
        features: Function of a split that returns features [R, F].
        predictors: Names of the predictors that are fitted. A single one defines the control, which is named after it;
            its scores are shown whichever predictor is selected.
        permuted: Whether the labels of the training rows are permuted before.
        merged_too: Whether the control is evaluated on merged biases as well. The others read no weights, or only the
            difference of the biases, which is lost in merging.
    """

    features: Callable[[SplitData], Array]
    predictors: tuple[str, ...] = ("linear", "mlp")
    permuted: bool = False
    merged_too: bool = False

    @property
    def shares_features(self) -> bool:
        """Whether another control has the same features: this one has another predictor, or permuted labels."""
        return self.permuted or len(self.predictors) == 1


CONTROLS: Mapping[str, Control] = MappingProxyType(
    {
        "mean": Control(_constant),
        "step only": Control(_step),
        "weight norm": Control(_weight_norm, merged_too=True),
        "accuracy only": Control(_accuracy),
        "hyperparameters only": Control(_hyperparameters),
        "task mean": Control(_task),
        "shortcut b_ih - b_hh": Control(_bias_differences),
        "weight statistics": Control(_statistics, merged_too=True),
        "weight statistics, boosted trees": Control(_statistics, ("boosting",), merged_too=True),
        "weight statistics, permuted labels": Control(_statistics, permuted=True, merged_too=True),
    }
)


def control_of(name: str) -> Control:
    """Return a control by name. Raises UnknownNameError."""
    if name not in CONTROLS:
        raise UnknownNameError.among("control", name, CONTROLS)
    return CONTROLS[name]


def controls_of(biases: Biases, architectures: Sequence[Architecture] = ()) -> list[str]:
    """Return the names of the controls to evaluate on a zoo whose biases are apart or merged.

    Without those of statistics if networks of several architectures have more layers than `padded_statistics`.
    """
    deep = len(architectures) > 1 and any(architecture.num_layers > MAX_LAYERS for architecture in architectures)
    names = [name for name, control in CONTROLS.items() if biases == "apart" or control.merged_too]
    return [name for name in names if not (deep and CONTROLS[name].features is _statistics)]


def control_features(data: ZooData, name: str) -> Features:
    """Return the features of a control for every split. Raises UnknownNameError."""
    control = control_of(name)
    return {split: control.features(rows) for split, rows in data.splits.items()}
