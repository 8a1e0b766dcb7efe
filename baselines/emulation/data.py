"""A zoo as tensors for training encoders: weights, behaviour (inputs and outputs of the networks), labels.

What reads zoos is imported where it is used: trainings on tensors in memory (`memory.py`) need only torch and numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

import torch
from torch import Tensor

from rnn_zoos.errors import BackendError, FormatError, UnknownNameError
from rnn_zoos.families.benchmark import Behaviour, Benchmark
from rnn_zoos.families.family import SPLITS
from rnn_zoos.families.registry import task_family
from rnn_zoos.format.files import Array
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.symmetry.biases import merge_biases

if TYPE_CHECKING:
    from rnn_zoos.loaders.zoo import Zoo

Biases: TypeAlias = Literal["apart", "merged"]
"""apart: the two bias vectors of PyTorch's layers; merged: their sum as bias_ih, and zeros as bias_hh."""


class SplitData:
    """The R rows of one split of a zoo. Weights and rollouts are read when they are first used, and kept in memory.

    Attributes:
        zoo: The zoo.
        index: Index rows of the split, in the order of all tensors.
        biases: Whether the bias vectors of a layer are `apart` or `merged`.
        device: Device of the tensors that are returned.
    """

    def __init__(self, zoo: Zoo, split: str, biases: Biases = "apart", device: str = "cpu") -> None:
        self.zoo, self.biases, self.device = zoo, biases, device
        self.index = zoo.index(split)

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Stacked weights of all rows, name -> [R, *shape]."""
        weights = self.zoo.stack(self.index, self.device).weights
        return weights if self.biases == "apart" else merge_biases(self.zoo.manifest.architecture, weights)

    def weights_of(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the stacked weights of rows [M], name -> [M, *shape]."""
        return {name: tensor[rows] for name, tensor in self.weights.items()}

    def stack(self, rows: Tensor) -> NetworkStack:
        """Return the networks of rows [M], ready to run."""
        return NetworkStack(self.zoo.manifest.architecture, self.weights_of(rows))

    def labels(self, name: str) -> Any:  # noqa: ANN401 - an array of numbers or of strings
        """Return a column of the index, or what the family derives from it, as a numpy array [R].

        Raises:
            FormatError: The zoo lacks it.
        """
        from rnn_zoos.format.columns import require_labels

        if name in self._benchmark.derived:
            return self._benchmark.derived[name](self.labels)
        require_labels(self.zoo.manifest, [name])
        return self.index[name].to_numpy()

    @cached_property
    def _stored(self) -> dict[str, Array]:
        """Rollouts as they are stored, name -> [R, rollouts, ...]."""
        from rnn_zoos.loaders.zoo import PLACE

        return self.zoo.take("rollouts", self.index.select(PLACE).to_pydict())

    @property
    def num_rollouts(self) -> int:
        """Number of stored sequences per network."""
        return int(next(iter(self._stored.values())).shape[1])

    def behaviour(self, rows: Tensor, sequences: Tensor) -> Behaviour:
        """Return the behaviour of the networks of rows [M] on stored sequences, numbers [M, B] below `num_rollouts`."""
        stored = {name: array[rows[:, None].numpy(), sequences.numpy()] for name, array in self._stored.items()}
        read = {name: torch.from_numpy(array) for name, array in self._decode(stored, rows).items()}
        numbers = rows.numpy()
        return self._benchmark.behaviour(read, lambda name: self.labels(name)[numbers]).to(self.device)

    @cached_property
    def _benchmark(self) -> Benchmark:
        """What the family of the zoo says. Raises FormatError if it is not benchmarked."""
        return benchmark_of(self.zoo.manifest.zoo)

    def _decode(self, stored: Mapping[str, Array], rows: Tensor) -> Mapping[str, Array]:
        """Return stored rollouts of rows [M], name -> [M, B, ...], with `sequences` as the networks read them."""
        from rnn_zoos.loaders.rollouts import decode_rollouts

        angles = self.labels("angle")[rows.numpy()].tolist() if "angle" in self.index.column_names else None
        return decode_rollouts(self.zoo, stored, angles)


def benchmark_of(zoo: str) -> Benchmark:
    """Return what the benchmark needs to know of a zoo. Raises FormatError if its family does not say."""
    benchmark = task_family(zoo).benchmark
    if benchmark is None:
        raise FormatError(f"The family {zoo} has no `benchmark`: it does not say what encoders are to imitate.")
    return benchmark


@dataclass(frozen=True)
class ZooData:
    """A zoo for training encoders, as `load_data` returns it.

    Attributes:
        zoo: The zoo.
        splits: Split name -> its rows: weights, rollouts and labels, read when they are first used.
        biases: Whether the bias vectors of a layer are `apart` or `merged`.
        device: Device of the tensors.

    Example:
        >>> from rnn_zoos.baselines import load_data
        >>> train = load_data("zoos/formal-languages").splits["train"]
        >>> len(train) == len(train.labels("accuracy")) == len(train.weights["linear.bias"])
        True
    """

    zoo: Zoo
    splits: Mapping[str, SplitData]
    biases: Biases = "apart"
    device: str = "cpu"

    @property
    def architecture(self) -> Architecture:
        """Architecture of the networks, the same for all rows.

        Example:
            >>> from rnn_zoos.baselines import load_data
            >>> hidden_size = load_data("zoos/formal-languages").architecture.hidden_size
        """
        return self.zoo.manifest.architecture


def load_data(
    name_or_dir: str | Path, revision: str | None = None, biases: Biases = "apart", device: str = "cpu"
) -> ZooData:
    """Open a zoo for training encoders. Weights and rollouts are read when they are first used.

    Args:
        name_or_dir: Directory of a zoo, or OWNER/NAME of a zoo on the Hub.
        revision: Branch, tag or commit hash on the Hub; None is the main branch. Not allowed for a directory.
        biases: "apart" keeps the two bias vectors of each layer. "merged" replaces them by their sum, which does not
            change the networks: their difference identifies a run, and an encoder could read it instead of what the
            network does.
        device: Torch device of the tensors: "cpu" or "cuda".

    Returns:
        The zoo and its splits.

    Raises:
        FormatError: If it is not a zoo, has no rollouts, or lacks rows in one of the splits train, validation, test
            and ood.
        HubError: If the Hub does not provide it.

    Example:
        >>> from rnn_zoos.baselines import load_data
        >>> data = load_data("zoos/formal-languages", biases="merged")
        >>> sorted(data.splits)
        ['ood', 'test', 'train', 'validation']
    """
    from rnn_zoos.loaders.zoo import open_zoo

    zoo = open_zoo(name_or_dir, revision)
    if not zoo.manifest.rollouts:
        raise FormatError(f"{name_or_dir} has no rollouts, which emulation needs. Use a zoo that has them.")
    missing = set(SPLITS) - set(zoo.splits())
    if missing:
        raise FormatError(
            f"{name_or_dir} has no rows in {', '.join(sorted(missing))}: encoders are selected on validation, and "
            "evaluated on test and ood. Use a zoo with more runs."
        )
    return ZooData(zoo, {split: SplitData(zoo, split, biases, device) for split in zoo.splits()}, biases, device)


def to_biases(name: str) -> Biases:
    """Return a kind of biases by its name. Raises UnknownNameError."""
    for known in get_args(Biases):
        if name == known:
            return cast("Biases", known)
    raise UnknownNameError.among("kind of biases", name, get_args(Biases))


def check_device(name: str) -> str:
    """Return the name of a torch device if this machine has it. Raises BackendError."""
    if name == "cpu" or (name.startswith("cuda") and torch.cuda.is_available()):
        return name
    raise BackendError(f"This machine has no device {name!r}; expected cpu, or cuda with an NVIDIA GPU.")
