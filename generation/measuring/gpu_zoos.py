"""The zoos that are made on a machine with a GPU that has torch, numpy and triton, but nothing that writes zoos.

Their runs are plain numpy files (`writing.raw_runs`), of which `rnn-zoos assemble` makes regular zoos elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnn_zoos.families.family import Measurement, TaskFamily
from rnn_zoos.families.run_table import run_table
from rnn_zoos.generation.measuring.gpu_checks import Sizes
from rnn_zoos.generation.trainers.trainer import Run, TrainedRun
from rnn_zoos.generation.writing.provenance import merge_provenance, provenance
from rnn_zoos.generation.writing.raw_runs import INDEX, RawRuns, all_runs, read_raw, training_settings
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork


@dataclass(frozen=True)
class ZooSizes(Sizes):
    """The settings of a zoo: those of the preset `paper`, which tests compare with its YAML file.

    YAML files are read by packages that a machine with a GPU need not have.
    """

    snapshots: tuple[int, ...] = (0, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
    runs: int = 1000
    weight_decay: tuple[float, ...] = (0.0001,)
    stratified_tasks: bool = False
    evaluation: Mapping[str, int] = field(default_factory=lambda: {"strings": 1000, "rollouts": 100})

    def settings(self) -> dict[str, Any]:
        """Return the settings that training depends on, as raw.json has them."""
        return training_settings(dict(vars(self)))


PAPER: Mapping[str, ZooSizes] = {
    "formal-languages": ZooSizes(),
    "sequential-mnist": ZooSizes(
        weight_decay=(0, 0.001, 0.01, 0.1),
        evaluation={"held_out_digits": 12_000, "fit_digits": 12_000, "test_digits": 10_000, "rollouts": 100},
    ),
}
"""Zoo -> its settings in the preset `paper`."""


@dataclass(frozen=True)
class GpuZoo:
    """A zoo that is made on a GPU.

    Attributes:
        family: Its task family.
        sizes: Its settings.
        preset: Their name.
        directory: The folder of its files.
        device: The device that trains it.
    """

    family: TaskFamily
    sizes: ZooSizes
    preset: str
    directory: Path
    device: str

    @property
    def architecture(self) -> Architecture:
        """The architecture of every network."""
        return self.sizes.architecture(self.family)

    def runs(self) -> list[tuple[Run, str]]:
        """Return all runs, each with its split."""
        table = run_table(self.family, vars(self.sizes))
        splits = self.family.splits(torch.from_numpy(table["task"].copy()))
        return [(Run(*row), str(split)) for row, split in zip(table.tolist(), splits, strict=True)]

    @property
    def is_whole(self) -> bool:
        """Whether all of its runs are trained."""
        return self.is_begun and len(self.raw().runs) == self.sizes.runs

    @property
    def is_begun(self) -> bool:
        """Whether some of its runs are trained."""
        return (self.directory / INDEX).is_file()

    def raw(self) -> RawRuns:
        """Return what there is of its runs. Raises FormatError if there is nothing."""
        return read_raw(self.directory)

    def begin_or_resume(self, backend: str) -> RawRuns:
        """Return what there is of its runs, ready to add more by a backend."""
        made = provenance(backend, self.device)
        if not self.is_begun:
            return RawRuns(self.family.name, self.preset, self.sizes.settings(), self.family.identify_digits(), made)
        raw = self.raw()
        raw.made = merge_provenance([raw.made, made])
        return raw

    def trained(self) -> Iterator[TrainedRun]:
        """Yield the runs that are there."""
        return all_runs(self.directory, self.raw(), self.architecture, self.sizes.snapshots)

    def evaluation(self, **sizes: int) -> Any:  # noqa: ANN401 - the family's own dataclass
        """Return the sizes of an evaluation, with changes. Raises PresetError if there are not enough digits."""
        evaluation = self.family.evaluation_type(**{**self.sizes.evaluation, **sizes})
        self.family.check_evaluation(evaluation)
        return evaluation

    def evaluate(self, run: Run, step: int, weights: Mapping[str, Tensor], evaluation: Any) -> Measurement:  # noqa: ANN401
        """Evaluate a snapshot with the sizes of `evaluation`, on the CPU."""
        network = RecurrentNetwork(self.architecture, weights)
        return self.family.evaluate(network, self.sizes.seed, run.run, run.task, step, evaluation)
