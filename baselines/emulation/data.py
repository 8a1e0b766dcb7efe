"""A zoo as tensors for training encoders: weights, behaviour (inputs and outputs of the networks), labels.

What reads zoos is imported where it is used: trainings on tensors in memory (`memory.py`) need only torch and numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.errors import DeviceError, FormatError, UnknownNameError
from rnn_zoos.families.benchmark import Behaviour, Benchmark
from rnn_zoos.families.family import SPLITS
from rnn_zoos.families.registry import task_family
from rnn_zoos.format.files import Array
from rnn_zoos.machine import existing_device
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.mixed_stack import MixedStack
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.symmetry.biases import merge_biases

if TYPE_CHECKING:
    from rnn_zoos.loaders.where import Where
    from rnn_zoos.loaders.zoo import Zoo

Biases: TypeAlias = Literal["apart", "merged"]
"""apart: the two bias vectors of PyTorch's layers; merged: their sum as bias_ih, and zeros as bias_hh."""

_DECODED = 256  # rows whose rollouts are decoded at once

TRANSFERS: Mapping[str, tuple[tuple[str, str, Any], tuple[str, str, Any]]] = MappingProxyType(
    {
        "cells": (("cell", "==", "lstm"), ("cell", "in", ["gru", "rnn"])),
        "sizes": (("hidden_size", "<=", 32), ("hidden_size", ">=", 48)),
    }
)
"""Transfers across architectures: name -> condition of the networks to train on, and of those to be tested on."""


class SplitData:
    """R rows of one split of a zoo. Weights and rollouts are read when they are first used, and kept in memory.

    Attributes:
        zoo: The zoo.
        index: Index rows, in the order of all tensors.
        biases: Whether the bias vectors of a layer are `apart` or `merged`.
        device: Device of the tensors that are returned.
    """

    def __init__(
        self, zoo: Zoo, split: str, biases: Biases = "apart", device: str = "cpu", where: Where | None = None
    ) -> None:
        self.zoo, self.biases, self.device = zoo, biases, device
        self.index = zoo.index(split, where=where)

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def networks(self) -> NetworkStack:
        """The networks of all rows, ready to run; a `MixedStack` if they have several architectures."""
        return merge_stacks(self.zoo.stacks(self.index, self.device), self.biases)

    @property
    def weights(self) -> dict[str, Tensor]:
        """Stacked weights of all rows, name -> [R, *shape]; of several architectures, what `MixedStack.weights` has."""
        return self.networks.weights

    def stack(self, rows: Tensor) -> NetworkStack:
        """Return the networks of rows [M], ready to run."""
        return self.networks.select(rows)

    def some_networks(self, count: int) -> NetworkStack:
        """Return the first networks, at most `count`, of the first architecture that any row has."""
        (_, stack), *_ = self.networks.groups
        return stack.select(torch.arange(min(count, stack.num_networks)))

    def labels(self, name: str) -> Any:  # noqa: ANN401 - an array of numbers or of strings
        """Return a column of the index, or what the family derives from it, as a numpy array [R].

        Raises:
            UnknownNameError: There is no such column or label.
            FormatError: The zoo lacks it: it was made by a version that did not measure it.
        """
        from rnn_zoos.format.columns import known_columns, require_labels

        manifest, derived = self.zoo.manifest, self._benchmark.derived
        if name in derived:
            return derived[name](self.labels)
        if name not in manifest.columns:  # looked into only then: every batch asks for labels
            known = known_columns(manifest, task_family(manifest.zoo))
            if name not in known:
                raise UnknownNameError.among("label", name, [*known, *derived])
            require_labels(manifest, [name])
        return self.index[name].to_numpy()

    def one_hot(self, column: str) -> Array:
        """Return a feature for every value that a column of the index has in the whole zoo, float64 [R, values]."""
        values = np.unique(self.zoo.index()[column].to_numpy())
        return np.asarray(self.labels(column)[:, None] == values, np.float64)

    @cached_property
    def _stored(self) -> dict[str, Array]:
        """Rollouts as they are stored, name -> [R, rollouts, ...]."""
        return self.zoo.take("rollouts", self.index)

    @property
    def num_rollouts(self) -> int:
        """Number of stored sequences per network."""
        return int(next(iter(self._stored.values())).shape[1])

    def behaviour(self, rows: Tensor, sequences: Tensor) -> Behaviour:
        """Return the behaviour of the networks of rows [M] on stored sequences, numbers [M, B] below `num_rollouts`."""
        if self.device != "cpu":
            return self._on_device.select(rows, sequences)
        return self._read_behaviour(rows, sequences)

    def load(self) -> None:
        """Copy all behaviour to the device, if that is not the CPU; otherwise the first call of `behaviour` does."""
        if self.device != "cpu":
            _ = self._on_device

    @cached_property
    def _on_device(self) -> Behaviour:
        """The behaviour of all rows on all stored sequences, on a device that is not the CPU: it has memory for it."""
        every = torch.arange(self.num_rollouts)
        whole: Behaviour | None = None
        for rows in torch.arange(len(self)).split(_DECODED):
            part = self._read_behaviour(rows, every.expand(len(rows), -1))
            whole = whole or part.empty_like(len(self), self.device)
            whole.copy_rows(rows, part)
        assert whole is not None, "a split has rows"
        return whole

    def _read_behaviour(self, rows: Tensor, sequences: Tensor) -> Behaviour:
        """Return what `behaviour` does, decoded on the CPU."""
        stored = {name: array[rows[:, None].numpy(), sequences.numpy()] for name, array in self._stored.items()}
        read = {name: torch.from_numpy(array) for name, array in self._decode(stored, rows).items()}
        numbers = rows.numpy()
        return self._benchmark.behaviour(read, lambda name: self.labels(name)[numbers])

    @cached_property
    def _benchmark(self) -> Benchmark:
        """What the family of the zoo says. Raises FormatError if it is not benchmarked."""
        return benchmark_of(self.zoo.manifest.zoo)

    def _decode(self, stored: Mapping[str, Array], rows: Tensor) -> Mapping[str, Array]:
        """Return stored rollouts of rows [M], name -> [M, B, ...], with `sequences` as the networks read them."""
        from rnn_zoos.loaders.rollouts import decode_rollouts

        angles = self.labels("angle")[rows.numpy()].tolist() if "angle" in self.index.column_names else None
        return decode_rollouts(self.zoo, stored, angles)


def merge_stacks(groups: Sequence[tuple[Tensor, NetworkStack]], biases: Biases) -> NetworkStack:
    """Return the networks of the stacks that `Zoo.stacks` returned for at least one row, with biases as asked."""
    if biases == "merged":
        groups = [(rows, NetworkStack(s.architecture, merge_biases(s.architecture, s.weights))) for rows, s in groups]
    return groups[0][1] if len(groups) == 1 else MixedStack(groups)


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
        transfer: Name in `TRANSFERS`, if the splits are those of a transfer across architectures.

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
    transfer: str | None = None

    @cached_property
    def architectures(self) -> tuple[Architecture, ...]:
        """Architectures of the zoo, mostly one. In a transfer, those of the training networks come first.

        Example:
            >>> from rnn_zoos.baselines import load_data
            >>> [architecture.hidden_size for architecture in load_data("zoos/formal-languages").architectures]
            [32]
        """
        known = self.zoo.manifest.architectures
        if self.transfer is None:
            return known
        trained = set(self.splits["train"].index["architecture"].to_pylist())
        return tuple(sorted(known, key=lambda architecture: architecture.name not in trained))

    @property
    def architecture(self) -> Architecture:
        """Architecture of the training networks; of several the first, whose inputs and outputs are those of all.

        Example:
            >>> from rnn_zoos.baselines import load_data
            >>> hidden_size = load_data("zoos/formal-languages").architecture.hidden_size
        """
        return self.architectures[0]


def load_data(
    name_or_dir: str | Path,
    revision: str | None = None,
    biases: Biases = "apart",
    device: str = "cpu",
    transfer: str | None = None,
) -> ZooData:
    """Open a zoo for training encoders. Weights and rollouts are read when they are first used.

    Args:
        name_or_dir: Directory of a zoo, or OWNER/NAME of a zoo on the Hub.
        revision: Branch, tag or commit hash on the Hub; None is the main branch. Not allowed for a directory.
        biases: "apart" keeps the two bias vectors of each layer. "merged" replaces them by their sum, which does not
            change the networks: their difference identifies a run, and an encoder could read it instead of what the
            network does.
        device: Torch device of the tensors: "cpu" or "cuda".
        transfer: A name in `TRANSFERS`, for a zoo of several architectures: train, validation and test keep the
            networks of the architectures that it trains on, and `ood` gets the test networks of the others.

    Returns:
        The zoo and its splits.

    Raises:
        FormatError: If it is not a zoo, has no rollouts, or lacks rows in one of the splits train, validation, test
            and ood.
        UnknownNameError: If there is no such transfer or kind of biases.
        DeviceError: If this machine has no such device, or it is neither a CPU nor an NVIDIA GPU.
        HubError: If the Hub does not provide it.

    Example:
        >>> from rnn_zoos.baselines import load_data
        >>> data = load_data("zoos/formal-languages", biases="merged")
        >>> sorted(data.splits)
        ['ood', 'test', 'train', 'validation']
    """
    from rnn_zoos.loaders.zoo import open_zoo

    biases, device = check_biases(biases), _cpu_or_cuda(device)
    zoo = open_zoo(name_or_dir, revision)
    if not zoo.manifest.rollouts:
        raise FormatError(f"{name_or_dir} has no rollouts, which emulation needs. Use a zoo that has them.")
    missing = set(SPLITS) - set(zoo.splits())
    if missing:
        raise FormatError(
            f"{name_or_dir} has no rows in {', '.join(sorted(missing))}: encoders are selected on validation, and "
            "evaluated on test and ood. Use a zoo with more runs."
        )
    splits = {
        split: SplitData(zoo, split_of_zoo, biases, device, where)
        for split, (split_of_zoo, where) in _selected(zoo, transfer).items()
    }
    if empty := [split for split, rows in splits.items() if not len(rows)]:
        raise FormatError(f"{name_or_dir} has no networks for {', '.join(empty)} of the transfer {transfer}.")
    return ZooData(zoo, splits, biases, device, transfer)


def _cpu_or_cuda(name: str) -> str:
    """Return the name of a device that encoders can be trained on. Raises DeviceError."""
    device = existing_device(name)
    if device.type not in ("cpu", "cuda"):  # others can neither run native code nor replay CUDA graphs
        raise DeviceError(f"Encoders cannot be trained on {name!r}; expected cpu, or cuda with an NVIDIA GPU.")
    return str(device)


def _selected(zoo: Zoo, transfer: str | None) -> dict[str, tuple[str, Where | None]]:
    """Return split -> split of the zoo that its rows are in, and which of them it has."""
    if transfer is None:
        return {split: (split, None) for split in zoo.splits()}
    if transfer not in TRANSFERS:
        raise UnknownNameError.among("transfer", transfer, TRANSFERS)
    if zoo.manifest.shard_architectures is None:
        raise FormatError("A transfer across architectures needs a zoo of several, such as those of the preset mixed.")
    known, others = TRANSFERS[transfer]
    return {**{split: (split, [known]) for split in ("train", "validation", "test")}, "ood": ("test", [others])}


def zoo_reference(zoo: Zoo) -> dict[str, str]:
    """Return what results, saved encoders and embeddings say of the zoo that they were made with."""
    return {"name": zoo.manifest.zoo, "preset": zoo.manifest.preset, "sha256": zoo.identity}


def check_biases(name: str) -> Biases:
    """Return a kind of biases by its name. Raises UnknownNameError."""
    for known in get_args(Biases):
        if name == known:
            return cast("Biases", known)
    raise UnknownNameError.among("kind of biases", name, get_args(Biases))
