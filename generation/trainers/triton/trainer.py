"""The Triton trainer: many runs at once on an NVIDIA GPU, one program per run, many updates per launch.

A program does whole updates by itself (`kernel.py`): forward, loss, backward through time and AdamW. It reads batches
that the family's sampler drew ahead on the same device, so Python is called only once per 50 updates of all runs.

It was run on an H100, see docs/performance.md. Without a GPU it is tested in Triton's interpreter, which runs kernels
with numpy and is far too slow for anything but tests.

Memory on the device per run of the paper's size: 2.1 MiB (formal-languages) or 2.5 MiB (sequential-mnist) for the
scratch buffer (`KernelShape.scratch`), and 0.2 MiB for parameters, moments and gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor
from triton import JITFunction
from triton.runtime import driver

from rnn_zoos.errors import BackendError, DeviceError
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.rotation import to_tiles
from rnn_zoos.families.sampler import Sampler, SymbolSampler
from rnn_zoos.families.sequential_mnist import DigitSampler
from rnn_zoos.generation.trainers.groups import (
    RUNS_AT_ONCE,
    RunGroup,
    default_runs_at_once,
    initial_parameters,
    train_group,
    train_in_groups,
)
from rnn_zoos.generation.trainers.occupancy import Device, whole_waves
from rnn_zoos.generation.trainers.trainer import Report, Run, TrainedRun, TrainingSettings, adamw_rates, first_sampler
from rnn_zoos.generation.trainers.triton.compile import compile_kernel
from rnn_zoos.generation.trainers.triton.kernel import train_runs
from rnn_zoos.generation.trainers.triton.shape import DENSE, IMAGES, PRECISIONS, SYMBOLS, KernelShape
from rnn_zoos.machine import existing_device
from rnn_zoos.networks.architecture import Architecture

INTERPRETED = not isinstance(train_runs, JITFunction)
"""Whether TRITON_INTERPRET was set when the kernel was imported."""


class TritonTrainer:
    """Trains all given runs at once, or `runs_at_once` of them at a time (by default 1,000 on a GPU).

    A run has the same bits in every group.

    Args:
        device: A CUDA device, by default the first; in Triton's interpreter, the CPU.
        runs_at_once: See above.
        precision: Of the matrix products: "tf32x3" (tensor cores, nearly float32) or "ieee" (float32).
        num_warps: Warps per program, by default what compiles best for the sizes.

    Raises:
        DeviceError: If this machine does not have the device.
        BackendError: If the precision is unknown.
    """

    same_bits = True

    def __init__(
        self,
        device: str | None = None,
        runs_at_once: int | None = None,
        precision: str = PRECISIONS[0],
        num_warps: int | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise BackendError(f"Backend 'triton' has no precision {precision!r}; possible: {', '.join(PRECISIONS)}.")
        self.device = _device(device)
        self.runs_at_once = runs_at_once or default_runs_at_once(self.device)
        self.precision = precision
        self.num_warps = num_warps

    def train(
        self, family: TaskFamily, settings: TrainingSettings, runs: Sequence[Run], report: Report
    ) -> Iterator[TrainedRun]:
        """Yield the trained runs, in order; see `Trainer.train`."""

        def train(own: TrainingSettings, some: Sequence[Run]) -> list[TrainedRun]:
            group = TritonRunGroup(family, own, some, self.device, self.precision, self.num_warps)
            return train_group(group, some, report)

        yield from train_in_groups(settings, runs, self.runs_at_once, train)

    def best_runs_at_once(self, family: TaskFamily, settings: TrainingSettings) -> int | None:
        """Return about 1,000 runs that fill the device a whole number of times; None in the interpreter.

        Compiles the kernel, for Triton's cache on disk, to know how many programs run at the same time.

        Raises:
            BackendError: If the kernel does not support these sizes.
        """
        if INTERPRETED:
            return None
        shape = kernel_shape(family, settings, self.precision)
        return fitting_runs(shape, _properties(self.device), self.num_warps)


def _device(name: str | None) -> torch.device:
    if INTERPRETED:
        return existing_device(name or "cpu")
    if not torch.cuda.is_available() or torch.version.cuda is None:
        raise DeviceError(
            "Backend 'triton' needs an NVIDIA GPU and a torch built for CUDA; this machine has none. Use --backend "
            "native, stacked or loop."
        )
    device = existing_device(name or "cuda")
    if device.type != "cuda":
        raise DeviceError(f"Backend 'triton' runs on CUDA devices, not on {name!r}. Use --backend native there.")
    return device


def _properties(device: torch.device) -> Device:
    """Return the properties of a CUDA device."""
    index = torch.cuda.current_device() if device.index is None else device.index
    of_torch = torch.cuda.get_device_properties(index)
    of_triton = driver.active.utils.get_device_properties(index)
    return Device(
        multiprocessors=of_torch.multi_processor_count,
        registers=of_triton["max_num_regs"],
        shared=of_triton["max_shared_mem"] + 1024,  # a program cannot have the last KiB of a multiprocessor
        warps=of_torch.max_threads_per_multi_processor // of_torch.warp_size,
        capability=10 * of_torch.major + of_torch.minor,
    )


def fitting_runs(shape: KernelShape, device: Device, num_warps: int | None = None) -> int:
    """Return about `RUNS_AT_ONCE` runs that fill a device a whole number of times with programs of this shape."""
    programs = max(1, compile_kernel(shape, num_warps, device).programs_per_multiprocessor)
    return whole_waves(device.multiprocessors * programs, RUNS_AT_ONCE)


def kernel_shape(family: TaskFamily, settings: TrainingSettings, precision: str = PRECISIONS[0]) -> KernelShape:
    """Return the shape of the kernel that trains runs of a family. Raises BackendError for unsupported sizes."""
    sampler = first_sampler(family, settings)
    return _shape(
        settings.architecture(family), settings.batch_size, sampler, _kernel_data(sampler, range(1)), precision
    )


def _shape(
    architecture: Architecture, batch_size: int, sampler: Sampler, data: KernelData, precision: str
) -> KernelShape:
    _, targets = sampler.batch(sampler.draw(0, 1)[:, 0])
    offset = sampler.target_offset if isinstance(sampler, SymbolSampler) else 1
    sizes = {"image_size": data.images.shape[-1], "target_offset": offset}
    return KernelShape.of(architecture, batch_size, targets.shape[-1], data.mode, precision, **sizes)


@dataclass(frozen=True)
class KernelData:
    """The data arguments of the kernel in one mode, see `kernel.train_runs`; `drawn` and `targets` of some updates."""

    mode: str
    drawn: Tensor
    targets: Tensor
    images: Tensor
    tables: Tensor


class TritonRunGroup(RunGroup):
    """M runs in training on a device.

    Attributes:
        shape: What the kernel is specialised on.
        parameters, first_moments, second_moments, gradients: [M, row], of which the first P are in use
            (`KernelShape.row`). The gradients are those of the last update.
        losses: [M], of the last update.
        scratch: [M, KernelShape.scratch].
    """

    def __init__(
        self,
        family: TaskFamily,
        settings: TrainingSettings,
        runs: Sequence[Run],
        device: torch.device,
        precision: str = PRECISIONS[0],
        num_warps: int | None = None,
    ) -> None:
        super().__init__(family, settings, runs, device)
        first = _kernel_data(self.sampler, range(1))
        self.shape = _shape(self.architecture, settings.batch_size, self.sampler, first, precision)
        self.options = self.shape.options(num_warps)
        self.parameters = torch.zeros(len(runs), self.shape.row, device=device)
        initial = initial_parameters(self.architecture, settings, runs)
        self.parameters[:, : self.shape.num_parameters] = initial.to(device)
        self.first_moments, self.second_moments = torch.zeros_like(self.parameters), torch.zeros_like(self.parameters)
        self.gradients, self.losses = torch.zeros_like(self.parameters), torch.zeros(len(runs), device=device)
        self.scratch = torch.empty(len(runs), self.shape.scratch, device=device)
        self.weight_decay = torch.tensor([run.weight_decay for run in runs], device=device)
        self._done = 0
        update_bytes = first.drawn.nbytes + (first.targets.nbytes if first.mode == DENSE else 0)
        self._remaining = iter(self.updates_drawn_together(update_bytes))
        self._drawn = range(0)  # updates whose data is in self._data and self._rates

    def advance(self, updates: int) -> None:
        """Do the next updates of all runs."""
        while updates:
            if self._done == self._drawn.stop:
                self._drawn = next(self._remaining)
                self._data = _kernel_data(self.sampler, self._drawn)
                self._rates = adamw_rates(self.settings, self._drawn, self.rate_scales).to(self.parameters.device)
            count = min(updates, self._drawn.stop - self._done)
            self._launch(count)
            self._done += count
            updates -= count

    def _launch(self, updates: int) -> None:
        """Do some of the drawn updates in one launch."""
        with torch.cuda.device(self.parameters.device) if self.parameters.is_cuda else nullcontext():
            train_runs[(len(self.parameters),)](
                parameters=self.parameters,
                first_moments=self.first_moments,
                second_moments=self.second_moments,
                gradients=self.gradients,
                losses=self.losses,
                diverged_at=self.diverged_at,
                scratch=self.scratch,
                weight_decay=self.weight_decay,
                rates=self._rates,
                drawn=self._data.drawn,
                targets=self._data.targets,
                images=self._data.images,
                tables=self._data.tables,
                first_update=self._done,
                updates=updates,
                ahead=len(self._drawn),
                skip=self._done - self._drawn.start,
                s=self.shape,
                **self.options,
            )

    def weights(self) -> Tensor:
        """Return a copy of the flat weights [M, P] of all runs."""
        return self.parameters[:, : self.shape.num_parameters].clone()


@singledispatch
def _kernel_data(sampler: Sampler, updates: range) -> KernelData:
    """Draw the batches of some updates in the form that the kernel reads. In general: as float inputs."""
    drawn = sampler.draw(updates.start, len(updates))
    batches = [sampler.batch(batch) for batch in drawn.unbind(dim=1)]
    inputs, targets = (torch.stack(part, dim=1) for part in zip(*batches, strict=True))
    unused = torch.zeros(1, 1, dtype=torch.uint8, device=drawn.device)
    return KernelData(DENSE, inputs.contiguous(), targets.int().contiguous(), unused, unused.int())


@_kernel_data.register
def _(sampler: SymbolSampler, updates: range) -> KernelData:
    """Symbols are passed as drawn."""
    drawn = sampler.draw(updates.start, len(updates)).contiguous()
    unused = torch.zeros(1, 1, dtype=torch.uint8, device=drawn.device)
    return KernelData(SYMBOLS, drawn, unused.int(), unused, unused.int())


@_kernel_data.register
def _(sampler: DigitSampler, updates: range) -> KernelData:
    """Digits are passed as drawn, by their indices."""
    drawn = sampler.draw(updates.start, len(updates)).int().contiguous()
    tables = to_tiles(sampler.tables).flatten(1).int().contiguous()
    return KernelData(IMAGES, drawn, sampler.labels.int(), sampler.images, tables)
