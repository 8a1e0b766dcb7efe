"""A zoo as arrays in memory, for training encoders where nothing can read the files of a zoo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.baselines.emulation.data import SplitData, ZooData
from rnn_zoos.families.digit_inputs import tile_inputs
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.sequential_mnist import SequentialMnist
from rnn_zoos.format.files import Array
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import unflatten

if TYPE_CHECKING:
    from rnn_zoos.loaders.zoo import Zoo


@dataclass(frozen=True)
class MemoryManifest:
    """What trainings read of a manifest: name and preset of the zoo, architecture of its networks."""

    zoo: str
    preset: str
    architecture: Architecture

    @property
    def architectures(self) -> tuple[Architecture, ...]:
        """The architectures of its networks: one."""
        return (self.architecture,)


@dataclass(frozen=True)
class MemoryZoo:
    """What trainings read of a zoo."""

    identity: str
    manifest: MemoryManifest


class MemorySplit(SplitData):
    """The R rows of one split.

    Args:
        zoo: What the rows are of.
        family: The task family.
        rows: `run`, `task` and `step` [R], `weights` float32 [R, P], and stored rollouts [R, B, ...] under
            `rollouts.NAME`.
        device: Device of the tensors that are returned.
    """

    def __init__(self, zoo: MemoryZoo, family: TaskFamily, rows: Mapping[str, Array], device: str) -> None:
        self.zoo, self.biases, self.device = cast("Zoo", zoo), "apart", device
        self._family, self._rows = family, rows

    def __len__(self) -> int:
        return len(self._rows["run"])

    @cached_property
    def networks(self) -> NetworkStack:
        """The networks of all rows, ready to run."""
        flat, architecture = torch.from_numpy(self._rows["weights"]).to(self.device), self.zoo.manifest.architecture
        return NetworkStack(architecture, unflatten(architecture, flat))

    def labels(self, name: str) -> Any:  # noqa: ANN401 - an array of numbers
        """Return `run`, `task` (its number) or `step` as a numpy array [R]."""
        return self._rows[name]

    @cached_property
    def _stored(self) -> dict[str, Array]:
        stored = {name: array for name, array in self._rows.items() if name.startswith("rollouts.")}
        return {name.removeprefix("rollouts."): array for name, array in stored.items()}

    def _decode(self, stored: Mapping[str, Array], rows: Tensor) -> Mapping[str, Array]:
        family, others = self._family, dict(stored)
        if not isinstance(family, SequentialMnist):
            return others
        positions = torch.searchsorted(family.digits.numbers, torch.from_numpy(others.pop("images")).long())
        tables = torch.stack([family.table(int(task)) for task in self.labels("task")[rows.numpy()]])
        return {"sequences": tile_inputs(family.digits.images[positions], tables).numpy(), **others}


def memory_data(zoo: MemoryZoo, family: TaskFamily, rows: Mapping[str, Array], device: str) -> ZooData:
    """Return rows as `load_data` returns a zoo; `rows` as for `MemorySplit`, with the column `split`."""
    splits = {}
    for split in np.unique(rows["split"]).tolist():
        chosen = {name: array[rows["split"] == split] for name, array in rows.items()}
        splits[split] = MemorySplit(zoo, family, chosen, device)
    return ZooData(cast("Zoo", zoo), splits, "apart", device)
