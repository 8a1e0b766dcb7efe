"""How many runs fit into the memory of a device and of its host, by arithmetic that can be tested without a GPU.

The estimates are for the largest tensors, which are known from the sizes; allocators and libraries get the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rnn_zoos.families.family import TaskFamily
from rnn_zoos.generation.trainers.gpu import free_memory
from rnn_zoos.generation.trainers.groups import DRAWN_BYTES
from rnn_zoos.generation.trainers.stacked import padding
from rnn_zoos.generation.trainers.trainer import TrainingSettings, first_sampler
from rnn_zoos.generation.trainers.triton.shape import PRECISIONS, SYMBOLS, KernelShape
from rnn_zoos.networks.architecture import Architecture

_USABLE = 0.9  # of free memory
_DEVICE_BYTES = 4 * DRAWN_BYTES + 2**28  # batches drawn ahead, what drawing takes, digits, workspaces of libraries
_HOST_BYTES = 2**30  # of a process that has loaded torch and CUDA
_SAVED = {"lstm": 10, "gru": 11, "rnn": 3}
"""Floats per sequence, step and hidden unit at the peak of an update of `stacked`: what autograd saves, and gradients.

Measured on a CPU for sizes of up to 64 units: at most 9.2, 9.8 and 2.4. Cells that are not here count as the largest.
"""


@dataclass(frozen=True)
class RunSizes:
    """What the memory of a run depends on: its architecture, B, T, and S, the number of its snapshots."""

    architecture: Architecture
    batch_size: int
    steps: int
    snapshots: int

    @classmethod
    def of(cls, family: TaskFamily, settings: TrainingSettings) -> RunSizes:
        """Return the sizes of the runs of a zoo."""
        sampler = first_sampler(family, settings)
        _, targets = sampler.batch(sampler.draw(0, 1)[:, 0])
        architecture = settings.architecture(family)
        return cls(architecture, settings.batch_size, targets.shape[-1], len(settings.snapshots))


def device_bytes(backend: str, sizes: RunSizes) -> int:
    """Return the bytes on a device of a run in training, with `stacked` or `triton`."""
    if backend == "triton":
        shape = KernelShape.of(sizes.architecture, sizes.batch_size, sizes.steps, SYMBOLS, PRECISIONS[0])
        return 4 * (6 * shape.row + shape.scratch)  # parameters, moments, gradients, copies for a snapshot; buffers
    hidden = sizes.architecture.hidden_size
    a = replace(sizes.architecture, hidden_size=hidden + padding(hidden))
    saved = a.num_layers * a.hidden_size * _SAVED.get(a.cell, max(_SAVED.values())) + 2 * (a.input_size + a.output_size)
    sequences = sizes.batch_size + padding(sizes.batch_size)
    return 4 * (10 * a.num_parameters + sequences * sizes.steps * saved)  # AdamW has temporary copies, too


def host_bytes(sizes: RunSizes) -> int:
    """Return the bytes on the host of a trained run: its snapshots, collected by step and then by run."""
    return 2 * 4 * sizes.architecture.num_parameters * sizes.snapshots


def fitting_runs(free: int, fixed: int, per_run: int) -> int:
    """Return how many runs fit into free memory, of which `fixed` bytes are needed in any case; at least 1."""
    return max(1, (int(_USABLE * free) - fixed) // per_run)


def bounded_runs_at_once(
    backend: str, family: TaskFamily, settings: TrainingSettings, devices: Sequence[str], wanted: int
) -> tuple[int, str | None]:
    """Return how many runs to train together on each of some devices, at most `wanted`, so that they fit into memory.

    Args:
        backend: "stacked" or "triton".
        family: The task family of the zoo.
        settings: Its settings.
        devices: The devices, whose processes share the memory of the host.
        wanted: The number that the user or the backend has chosen.

    Returns:
        The number, and if it is smaller than `wanted` a line for the user.

    Raises:
        BackendError: The backend does not support these sizes.
    """
    sizes, on_host = RunSizes.of(family, settings), host_memory()
    bounds = []
    for name in sorted(set(devices)):
        free = free_memory(torch.device(name))
        if free is not None:
            bounds.append(_Bound(name, free, _DEVICE_BYTES, device_bytes(backend, sizes)))
    if on_host is not None:
        per_run = host_bytes(sizes) + (0 if bounds else device_bytes(backend, sizes))
        bounds.append(_Bound("the host", on_host // len(devices), _HOST_BYTES, per_run))
    smallest = min(bounds, key=lambda bound: bound.runs, default=None)
    if smallest is None or smallest.runs >= wanted:
        return wanted, None
    return smallest.runs, f"{smallest}: {smallest.runs:,} runs are trained at once, not {wanted:,}."


@dataclass(frozen=True)
class _Bound:
    """A memory that bounds the number of runs: its name, its free bytes, those needed in any case and by each run."""

    name: str
    free: int
    fixed: int
    per_run: int

    @property
    def runs(self) -> int:
        return fitting_runs(self.free, self.fixed, self.per_run)

    def __str__(self) -> str:
        return (
            f"Memory of {self.name}: {self.free / 2**30:.1f} GiB are free for a process, of which about "
            f"{self.fixed / 2**30:.1f} GiB and {self.per_run / 2**20:,.1f} MiB per run are needed"
        )


def host_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that new processes can use on this machine, in this container; None if Linux does not tell."""
    amounts = [_meminfo(root / "proc/meminfo"), _cgroup(root / "sys/fs/cgroup")]
    return min((amount for amount in amounts if amount is not None), default=None)


def _meminfo(path: Path) -> int | None:
    fields = dict(line.split(":", 1) for line in path.read_text().splitlines()) if path.is_file() else {}
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def _cgroup(folder: Path) -> int | None:
    """Return what the limit of the control group leaves; files in memory that were not used lately count as free."""
    files = [folder / name for name in ("memory.max", "memory.current", "memory.stat")]
    if not all(file.is_file() for file in files):
        return None
    limit, used, statistics = (file.read_text().strip() for file in files)
    unused = dict(line.split() for line in statistics.splitlines()).get("inactive_file", "0")
    return None if limit == "max" else max(0, int(limit) - int(used) + int(unused))
