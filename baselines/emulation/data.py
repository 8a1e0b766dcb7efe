"""A zoo in memory, as training on it wants it: weights, what the networks read and answered, labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.baselines.emulation.emulator import before_padding
from rnn_zoos.errors import BackendError, FormatError, UnknownNameError
from rnn_zoos.families.family import SPLITS
from rnn_zoos.families.formal_languages import one_hot_inputs
from rnn_zoos.format.files import Array
from rnn_zoos.loaders.rollouts import read_by_networks
from rnn_zoos.loaders.zoo import PLACE, Zoo, open_zoo
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.symmetry.biases import merge_biases

Biases: TypeAlias = Literal["apart", "merged"]
"""Whether weights have the two bias vectors of PyTorch's layers, or b_ih = their sum and b_hh = 0."""


@dataclass(frozen=True)
class Behaviour:
    """What M networks did on B sequences each: inputs [M, B, T, I], their log-probabilities [M, B, T, O].

    `counted` [M, B, T] says which steps of strings come before the padding after EOS; of digits all do. `classes`
    [M, B] are those of the digits; strings have none.
    """

    inputs: Tensor
    log_probs: Tensor
    counted: Tensor
    classes: Tensor | None


class SplitData:
    """The R rows of one split of a zoo; tensors are read when they are asked for, and kept."""

    def __init__(self, zoo: Zoo, split: str, biases: Biases = "apart", device: str = "cpu") -> None:
        self.zoo, self.biases, self.device = zoo, biases, device
        self.index = zoo.index(split)

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Stacked weights, name -> [R, *shape]."""
        weights = self.zoo.stack(self.index, self.device).weights
        return weights if self.biases == "apart" else merge_biases(self.zoo.manifest.architecture, weights)

    def stack(self, rows: Tensor) -> NetworkStack:
        """Return the networks of rows [M] as a callable stack."""
        return NetworkStack(self.zoo.manifest.architecture, self.weights_of(rows))

    def weights_of(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the weights of rows [M]."""
        return {name: tensor[rows] for name, tensor in self.weights.items()}

    def labels(self, name: str) -> Any:  # noqa: ANN401 - an array of numbers or of strings
        """Return a column of the index as a numpy array [R]."""
        return self.index[name].to_numpy()

    @cached_property
    def _stored(self) -> dict[str, Array]:
        """Rollouts as they are stored, name -> [R, 100, ...]."""
        return self.zoo.take("rollouts", self.index.select(PLACE).to_pydict())

    @property
    def num_rollouts(self) -> int:
        """Sequences that are stored of every network."""
        return int(next(iter(self._stored.values())).shape[1])

    def behaviour(self, rows: Tensor, which: Tensor) -> Behaviour:
        """Return what networks of rows [M] did on the sequences `which` [M, B] of theirs."""
        picked = {name: array[rows[:, None].numpy(), which.numpy()] for name, array in self._stored.items()}
        angles = self.labels("angle")[rows.numpy()].tolist() if "angle" in self.index.column_names else None
        read = {name: torch.from_numpy(array) for name, array in read_by_networks(self.zoo, picked, angles).items()}
        if "log_probs" in read:
            inputs, log_probs = one_hot_inputs(read["sequences"]), read["log_probs"].float()
            counted, classes = before_padding(read["sequences"]), None
        else:
            inputs, log_probs = read["sequences"], F.log_softmax(read["logits"].float(), dim=-1)
            counted = torch.ones(log_probs.shape[:-1], dtype=torch.bool)
            classes = read["labels"].long().to(self.device)
        return Behaviour(inputs.to(self.device), log_probs.to(self.device), counted.to(self.device), classes)


@dataclass(frozen=True)
class ZooData:
    """A zoo whose splits are read when they are asked for."""

    zoo: Zoo
    splits: Mapping[str, SplitData]
    biases: Biases = "apart"
    device: str = "cpu"

    @property
    def architecture(self) -> Architecture:
        """The architecture of every network."""
        return self.zoo.manifest.architecture


def load_data(
    name_or_dir: str | Path, revision: str | None = None, biases: Biases = "apart", device: str = "cpu"
) -> ZooData:
    """Open a zoo for training encoders on it. Raises FormatError if it has no rollouts or lacks a split.

    With `biases` merged, the two bias vectors of a layer become one: their difference is a fingerprint of a run, which
    can be read instead of what the network does.
    """
    zoo = open_zoo(name_or_dir, revision)
    if not zoo.manifest.rollouts:
        raise FormatError(f"{name_or_dir} has no rollouts, which emulation learns from. Take a zoo that has them.")
    missing = set(SPLITS) - set(zoo.splits())
    if missing:
        raise FormatError(
            f"{name_or_dir} has no rows in {', '.join(sorted(missing))}: encoders are chosen on validation, and tested "
            "on test and ood. Take a zoo of more runs."
        )
    return ZooData(zoo, {split: SplitData(zoo, split, biases, device) for split in zoo.splits()}, biases, device)


def to_biases(name: str) -> Biases:
    """Return a kind of biases by name. Raises UnknownNameError."""
    for known in get_args(Biases):
        if name == known:
            return cast("Biases", known)
    raise UnknownNameError.among("kind of biases", name, get_args(Biases))


def check_device(name: str) -> str:
    """Return the name of a torch device that is there. Raises BackendError."""
    if name == "cpu" or (name.startswith("cuda") and torch.cuda.is_available()):
        return name
    raise BackendError(f"There is no device {name!r} here; expected cpu, or cuda on a machine with an NVIDIA GPU.")
