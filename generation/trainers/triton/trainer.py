"""The Triton trainer: many runs at once on an NVIDIA GPU, one program a run, many updates a launch.

A program does whole updates by itself (triton_kernel.py): forward, loss, backward through time and AdamW. It reads
batches that the family's sampler drew ahead on the same device, so Python is called once in 50 updates of all runs.

Not yet run on a GPU: this was written and tested without one, in Triton's interpreter, which runs kernels by numpy and
is far too slow for anything but tests. Speed, and how close tf32x3 comes on the tensor cores, are not known.

What it needs on the device for a run of the paper's size: 2.1 MiB (formal-languages) or 2.5 MiB (sequential-mnist) of
scratch buffer (`KernelShape.scratch`) and 0.2 MiB of parameters, moments and gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from triton import JITFunction

from rnn_zoos.errors import BackendError, DeviceError
from rnn_zoos.families.family import Sampler, TaskFamily
from rnn_zoos.families.formal_languages import LanguageSampler
from rnn_zoos.families.rotation import to_tiles
from rnn_zoos.families.sequential_mnist import DigitSampler
from rnn_zoos.generation.trainers.groups import (
    RunGroup,
    best_at_once,
    existing_device,
    in_groups,
    initial_parameters,
    train_group,
)
from rnn_zoos.generation.trainers.trainer import Report, Run, TrainedRun, TrainingSettings, adamw_rates
from rnn_zoos.generation.trainers.triton.kernel import train_runs
from rnn_zoos.generation.trainers.triton.shape import DENSE, IMAGES, PRECISIONS, SYMBOLS, KernelShape

INTERPRETED = not isinstance(train_runs, JITFunction)
"""Whether TRITON_INTERPRET was set when the kernel was imported."""


class TritonTrainer:
    """Trains all runs that it is given at once, or `at_once` of them at a time (by default 1,000 on a GPU).

    `device` is a CUDA device, by default the first; in Triton's interpreter, the CPU. `precision` of the matrix
    products: tf32x3 (tensor cores, nearly float32) or ieee (float32). `num_warps`: of a program, by default what
    compiles best for the sizes. Raises DeviceError if there is no such device, BackendError for another precision.
    """

    def __init__(
        self,
        device: str | None = None,
        at_once: int | None = None,
        precision: str = PRECISIONS[0],
        num_warps: int | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise BackendError(f"Backend 'triton' has no precision {precision!r}; possible: {', '.join(PRECISIONS)}.")
        self.device = _device(device)
        self.at_once = at_once or best_at_once(self.device)
        self.precision = precision
        self.num_warps = num_warps

    def train(
        self, family: TaskFamily, settings: TrainingSettings, runs: Sequence[Run], report: Report
    ) -> Iterator[TrainedRun]:
        """Yield the trained runs, in order. Raises BackendError if the sizes are too large for the kernel."""
        for group in in_groups(runs, self.at_once):
            stack = TritonStack(family, settings, group, self.device, self.precision, self.num_warps)
            yield from train_group(stack, group, report)


def _device(name: str | None) -> torch.device:
    if INTERPRETED:
        return existing_device(name or "cpu")
    if not torch.cuda.is_available() or torch.version.cuda is None:
        raise DeviceError(
            "Backend 'triton' needs an NVIDIA GPU and a torch built for CUDA; here is none. Possible: --backend "
            "native, stacked or loop."
        )
    device = existing_device(name or "cuda")
    if device.type != "cuda":
        raise DeviceError(f"Backend 'triton' runs on CUDA devices, not on {name!r}. Possible there: --backend native.")
    return device


@dataclass(frozen=True)
class Feed:
    """What the kernel reads of the data, see `triton_kernel.train_runs`; `drawn` and `targets` of some updates."""

    drawn: Tensor
    targets: Tensor
    images: Tensor
    tables: Tensor


class TritonStack(RunGroup):
    """M runs in training on a device.

    parameters, first_moments, second_moments, gradients: [M, row], of which the first P are in use
    (`KernelShape.row`); gradients and losses [M] are those of the last update. scratch: [M, KernelShape.scratch].
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
        self.mode, self.images, self.labels, self.tables = _mode(self.sampler, device)
        first = self.feed(range(1))
        self.update_bytes = first.drawn.nbytes + (first.targets.nbytes if self.mode == DENSE else 0)
        self.shape = KernelShape.of(
            self.named, settings.batch_size, self._steps(), self.mode, precision, self.images.shape[-1]
        )
        self.options = self.shape.options(num_warps)
        self.parameters = torch.zeros(len(runs), self.shape.row, device=device)
        self.parameters[:, : self.shape.num_parameters] = initial_parameters(self.named, settings, runs).to(device)
        self.first_moments, self.second_moments = torch.zeros_like(self.parameters), torch.zeros_like(self.parameters)
        self.gradients, self.losses = torch.zeros_like(self.parameters), torch.zeros(len(runs), device=device)
        self.scratch = torch.empty(len(runs), self.shape.scratch, device=device)
        self.weight_decay = torch.tensor([run.weight_decay for run in runs], device=device)
        self.done = 0
        self.coming = self.ahead(self.update_bytes)
        self.updates = range(0)  # those that are drawn

    def _steps(self) -> int:
        _, targets = self.sampler.batch(self.sampler.draw(0, 1)[:, 0])
        return targets.shape[-1]

    def feed(self, updates: range) -> Feed:
        """Draw the batches of some updates, as the kernel reads them."""
        drawn = self.sampler.draw(updates.start, len(updates))
        if self.mode == DENSE:
            batches = [self.sampler.batch(batch) for batch in drawn.unbind(dim=1)]
            inputs, targets = (torch.stack(part, dim=1) for part in zip(*batches, strict=True))
            return Feed(inputs.contiguous(), targets.int().contiguous(), self.images, self.tables)
        drawn = drawn if self.mode == SYMBOLS else drawn.int()
        return Feed(drawn.contiguous(), self.labels, self.images, self.tables)

    def advance(self, updates: int) -> None:
        """Do the next updates of all runs."""
        while updates:
            if self.done == self.updates.stop:
                self.updates = next(self.coming)
                self.drawn = self.feed(self.updates)
                self.rates = adamw_rates(self.settings, self.updates).to(self.parameters.device)
            count = min(updates, self.updates.stop - self.done)
            self._launch(count)
            self.done += count
            updates -= count

    def _launch(self, updates: int) -> None:
        """Do some of the drawn updates in one launch."""
        with torch.cuda.device(self.parameters.device) if self.parameters.is_cuda else nullcontext():
            train_runs[(len(self.parameters),)](
                self.parameters,
                self.first_moments,
                self.second_moments,
                self.gradients,
                self.losses,
                self.diverged_at,
                self.scratch,
                self.weight_decay,
                self.rates,
                self.drawn.drawn,
                self.drawn.targets,
                self.drawn.images,
                self.drawn.tables,
                self.done,
                updates,
                len(self.updates),
                self.done - self.updates.start,
                self.shape,
                **self.options,
            )

    def weights(self) -> Tensor:
        """Return a copy of the weights [M, P] of all runs."""
        return self.parameters[:, : self.shape.num_parameters].clone()


def _mode(sampler: Sampler, device: torch.device) -> tuple[str, Tensor, Tensor, Tensor]:
    """Return how the kernel gets its data, and what does not change from update to update: images, labels, tables.

    Symbols and digits go to the kernel as drawn, all else as float inputs.
    """
    if isinstance(sampler, DigitSampler):
        tables = to_tiles(sampler.tables).flatten(1).int().contiguous()
        return IMAGES, sampler.images, sampler.labels.int(), tables
    none = torch.zeros(1, 1, dtype=torch.uint8, device=device)
    return SYMBOLS if isinstance(sampler, LanguageSampler) else DENSE, none, none.int(), none.int()
