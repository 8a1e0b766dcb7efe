"""References: encoders that read labels in place of weights, to compare emulation losses with.

They are trained like encoders. `constant` shows what an emulator does that knows nothing of the network, and
`step-and-task-known` what one does that knows all labels. An encoder that reads more of a network can do better still.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.baselines.emulation.data import SplitData, ZooData, benchmark_of
from rnn_zoos.baselines.encoders.encoder import Information, Weights
from rnn_zoos.baselines.encoders.feature_encoder import FeatureEncoder
from rnn_zoos.baselines.encoders.layers import mlp
from rnn_zoos.errors import EncoderError
from rnn_zoos.families.benchmark import TargetKind
from rnn_zoos.format.files import Array
from rnn_zoos.networks.stack import NetworkStack

REFERENCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"constant": (), "step-known": ("step",), "step-and-task-known": ("step", "task")}
)
"""Name -> what it knows."""


def references_of(zoo: str) -> list[str]:
    """Return the references that a zoo can have: a family without the target `task` has no labels of it."""
    known = {"step", *(("task",) if "task" in benchmark_of(zoo).targets else ())}
    return [name for name, labels in REFERENCES.items() if known.issuperset(labels)]


_HARMONICS = (1, 2, 3)  # of an angle


class ReferenceEncoder(FeatureEncoder):
    """An MLP on one-hot labels, and on sines and cosines of angles.

    Args:
        data: The zoo.
        known: Any of `step` and `task`.
        embedding_size: Z, the number of entries of an embedding.
    """

    information: ClassVar[Information] = "labels"
    mixed = True

    def __init__(self, data: ZooData, known: tuple[str, ...], embedding_size: int) -> None:
        super().__init__(data.architecture, embedding_size)
        self.known = known
        self.head = mlp(self.label_features(data.splits["train"]).shape[1], 256, 2, embedding_size)

    def label_features(self, split: SplitData) -> Tensor:
        """Return features [R, F] of the rows of a split, from their labels."""
        features = [np.ones((len(split), 1))]
        if "step" in self.known:
            features.append(split.one_hot("step"))
        if "task" in self.known:
            task = benchmark_of(split.zoo.manifest.zoo).targets["task"]
            features += [part for name in task.columns for part in _features(split, name, task.kind)]
        return torch.from_numpy(np.concatenate(features, axis=1)).float()

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Raise EncoderError: weights do not tell labels."""
        raise EncoderError("A reference reads the labels of rows, not weights. Embed rows of a zoo by an Embedder.")


def make_reference(data: ZooData, name: str, embedding_size: int) -> ReferenceEncoder:
    """Return a reference of `REFERENCES` with random parameters, drawn from torch's global random generator.

    Raises EncoderError if the zoo has no labels of what it knows.
    """
    zoo = data.zoo.manifest.zoo
    if name not in (able := references_of(zoo)):
        raise EncoderError(f"The family {zoo} has no target `task`, which {name} knows. Use {', '.join(able)}.")
    return ReferenceEncoder(data, REFERENCES[name], embedding_size)


def _features(split: SplitData, column: str, kind: TargetKind) -> list[Array]:
    """Return features of a column, float64 [R, *] each: sines and cosines of an angle, else one per value."""
    if kind == "angle":
        radians = np.deg2rad(split.labels(column))[:, None] * np.array(_HARMONICS)
        return [np.sin(radians), np.cos(radians)]
    derived = column in benchmark_of(split.zoo.manifest.zoo).derived
    return [split.labels(column)[:, None].astype(np.float64) if derived else split.one_hot(column)]
