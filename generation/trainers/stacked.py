"""The stacked trainer: many runs at once, by batched matrix products of torch, on any device that torch supports.

It is the readable version of "many runs at once". An update is thousands of small operations on tensors with a leading
axis M, one after the other along the steps. On CUDA the update is captured once and replayed as a CUDA graph, because
launching the operations one by one would cost more than running them. On a CPU it is no faster than the loop trainer,
and is used there only for tests.

Bits. The result of a run must not depend on the other runs in its group. On a CPU, torch's batched operations alone do
not guarantee that: for odd sizes, MKL's products differ by 1e-7 with the position of a matrix in the stack and with the
size of the stack, and so do sigmoids of the last elements of a tensor that does not fill whole vectors (measured with
torch 2.13 and AVX-512; for multiples of 8, nothing differed). So sequences and hidden units are rounded up to multiples
of 8: the additional sequences are left out of the loss; the additional units have zero weights, output zero and get
gradients of exactly zero. Multiples of 8 (the sizes of all presets) cost nothing extra. Several threads would split
long sums according to their number, so one thread is used on a CPU.

On a GPU, the bits of a run do depend on how many runs are stacked: cuBLAS chooses among its products by that number
(found on an H100). There results are reproduced up to rounding only, which `verify` takes into account.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.cuda_graph import WARM_UP, capture_graph, side_stream
from rnn_zoos.denormals import denormals_as_zero
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.sampler import Sampler
from rnn_zoos.generation.trainers.groups import (
    RunGroup,
    default_runs_at_once,
    initial_parameters,
    train_group,
    train_in_groups,
)
from rnn_zoos.generation.trainers.trainer import (
    BETAS,
    EPSILON,
    Report,
    Run,
    TrainedRun,
    TrainingSettings,
    adamw_rates,
)
from rnn_zoos.machine import existing_device
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import unflatten
from rnn_zoos.processes import one_thread

_ALIGNED = 8  # sequences and units: a product of two such sizes fills whole vectors


class StackedTrainer:
    """Trains all given runs at once, or `runs_at_once` of them at a time (by default 1,000 on a GPU).

    A run of the paper's size needs 2.7 MiB (formal-languages) or 3.3 MiB (sequential-mnist) for what autograd saves
    (measured). With temporary tensors, expect 6 to 8 GiB for 1,000 runs (not measured).

    Args:
        device: A torch device; by default "cuda" if there is a GPU, else "cpu".
        runs_at_once: See above.

    Raises:
        DeviceError: If this machine does not have the device.
    """

    def __init__(self, device: str | None = None, runs_at_once: int | None = None) -> None:
        self.device = existing_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.runs_at_once = runs_at_once or default_runs_at_once(self.device)
        self.same_bits = self.device.type == "cpu"

    def train(
        self, family: TaskFamily, settings: TrainingSettings, runs: Sequence[Run], report: Report
    ) -> Iterator[TrainedRun]:
        """Yield the trained runs, in order; see `Trainer.train`."""

        def train(own: TrainingSettings, group: Sequence[Run]) -> list[TrainedRun]:
            with one_thread(), denormals_as_zero():
                return train_group(StackedRunGroup(family, own, group, self.device), group, report)

        yield from train_in_groups(settings, runs, self.runs_at_once, train)


class StackedRunGroup(RunGroup):
    """M runs in training on a device, as stacked tensors.

    Every tensor keeps its place in memory, where a captured update reads and writes it.

    Attributes:
        padded: The architecture with the additional units.
        parameter_indices: int64 [P], the positions of the architecture's parameters in the flat weights of `padded`.
        parameters, first_moment, second_moment: Flat weights of `padded` [M, P'] and moments of AdamW.
        step: int64 [], updates done.
        drawn, rates: What the next update reads: a drawn batch [M, B, ...] and rates [M, 3] (`adamw_rates`).
    """

    def __init__(
        self, family: TaskFamily, settings: TrainingSettings, runs: Sequence[Run], device: torch.device
    ) -> None:
        super().__init__(family, settings, runs, device)
        hidden = self.architecture.hidden_size
        self.padded = replace(self.architecture, hidden_size=hidden + padding(hidden))
        self.parameter_indices = _parameter_indices(self.architecture, self.padded).to(device)
        self.parameters = torch.zeros(len(runs), self.padded.num_parameters, device=device)
        self.parameters[:, self.parameter_indices] = initial_parameters(self.architecture, settings, runs).to(device)
        self.first_moment, self.second_moment = torch.zeros_like(self.parameters), torch.zeros_like(self.parameters)
        self.weight_decay = torch.tensor([[run.weight_decay] for run in runs], device=device)
        self.step = torch.zeros((), dtype=torch.int64, device=device)
        self.drawn = self.sampler.draw(0, 1)[:, 0].contiguous()
        self.rates = adamw_rates(settings, [0], self.rate_scales).to(device)[:, 0].contiguous()
        self._remaining = self.batches()
        self._graph = _captured(self) if device.type == "cuda" else None

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Return `drawn` and `rates` of every update, in order; many updates are drawn at a time."""
        ranges = self.updates_drawn_together(self.drawn.numel() * self.drawn.element_size())
        return _batches(self.sampler, self.settings, self.rate_scales, ranges)

    def load(self, drawn: Tensor, rates: Tensor) -> None:
        """Copy the data of the next update to where the update reads it."""
        self.drawn.copy_(drawn)
        self.rates.copy_(rates)

    def advance(self, updates: int) -> None:
        """Do the next updates of all runs."""
        for drawn, rates in islice(self._remaining, updates):
            self.load(drawn, rates)
            if self._graph is None:
                self.update()
            else:
                self._graph.replay()

    @property
    def state(self) -> tuple[Tensor, ...]:
        """All tensors that an update changes."""
        return self.parameters, self.first_moment, self.second_moment, self.step, self.diverged_at

    def losses_and_gradients(self) -> tuple[Tensor, Tensor]:
        """Return, for `drawn`, the loss [M] of every run (mean cross-entropy of all B*T) and its gradient [M, P']."""
        inputs, targets = self.sampler.batch(self.drawn)
        count, sequences = inputs.shape[:2]
        if padding(sequences):
            inputs = F.pad(inputs, (0, 0, 0, 0, 0, padding(sequences)))
        parameters = self.parameters.detach().requires_grad_()
        # native=False: a zoo has the same bytes wherever this trainer runs, with or without the native code.
        outputs, _ = NetworkStack(self.padded, unflatten(self.padded, parameters), native=False)(inputs)
        logits = outputs[:, :sequences].flatten(0, 2)
        losses = F.cross_entropy(logits, targets.flatten(), reduction="none").view(count, -1).mean(dim=1)
        # No loss depends on the parameters of another run, so the gradient of the sum holds the gradient of each.
        (gradient,) = torch.autograd.grad(losses.sum(), parameters)
        return losses.detach(), gradient

    def update(self) -> None:
        """Do one update of AdamW with `drawn` and `rates`, without waiting for the device."""
        losses, gradient = self.losses_and_gradients()
        self.step += 1
        self.mark_diverged(~losses.isfinite(), self.step)
        self.first_moment.lerp_(gradient, 1 - BETAS[0])
        self.second_moment.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        rate, step_size, correction = self.rates[..., None].unbind(dim=1)
        change = step_size * self.first_moment / ((self.second_moment.sqrt() / correction).add_(EPSILON))
        moved = self.parameters * (1 - rate * self.weight_decay) - change
        # A mask instead of a product with zero: zero times the NaN of a diverged run would be NaN.
        self.parameters.copy_(torch.where(self.alive[:, None], moved, self.parameters))

    def weights(self) -> Tensor:
        """Return a copy of the flat weights [M, P] of all runs, without the additional units."""
        return self.parameters[:, self.parameter_indices]


def _batches(
    sampler: Sampler, settings: TrainingSettings, rate_scales: Sequence[float], ranges: Sequence[range]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield drawn batches [M, B, ...] and rates [M, 3] of ranges of updates. It does not keep a group in memory."""
    for updates in ranges:
        drawn = sampler.draw(updates.start, len(updates))
        rates = adamw_rates(settings, updates, rate_scales).to(drawn.device)
        yield from zip(drawn.unbind(dim=1), rates.unbind(dim=1), strict=True)


def padding(size: int) -> int:
    """Return how much is missing to a multiple of `_ALIGNED`."""
    return -size % _ALIGNED


def _parameter_indices(architecture: Architecture, padded: Architecture) -> Tensor:
    """Return the positions [P] of a network's parameters in the flat weights of a network with more hidden units."""
    indices = []
    positions = unflatten(padded, torch.arange(padded.num_parameters))
    recurrent = {name for layer in range(architecture.num_layers) for name in architecture.layer_shapes(layer)}
    for name, shape in architecture.parameter_shapes.items():
        blocks = GATES[architecture.cell] if name in recurrent else 1
        kept = positions[name].unflatten(0, (blocks, -1))[:, : shape[0] // blocks].flatten(0, 1)
        indices.append(kept[..., : shape[-1]].flatten())
    return torch.cat(indices)


def _captured(group: StackedRunGroup) -> torch.cuda.CUDAGraph:
    """Return `group.update` as a CUDA graph: forward, loss, backward and AdamW in one launch."""
    device = group.parameters.device
    before = [tensor.clone() for tensor in group.state]
    with side_stream(device):
        for _ in range(WARM_UP):
            group.update()
    graph = capture_graph(group.update, device)
    for tensor, value in zip(group.state, before, strict=True):
        tensor.copy_(value)
    return graph
