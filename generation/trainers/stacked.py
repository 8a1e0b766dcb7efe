"""The stacked trainer: many runs at once, by batched matrix products of torch, on any device that torch knows.

It is the readable version of "many at once". An update is thousands of small operations on tensors with a leading axis
M, one after the other along the steps; on CUDA it is captured once and replayed as a CUDA graph, since launching them
one by one would cost more than running them. On a CPU it is no faster than the loop trainer: it is only tested there.

Bits. What a run becomes must not depend on what it is stacked with. On a CPU, torch's batched operations alone do not
promise that: where sizes are odd, MKL's products differ by 1e-7 with a matrix's place in the stack and with the size
of the stack, and so do sigmoids of the last elements of a tensor that does not fill whole vectors (measured with torch
2.13 and AVX-512; where they are multiples of 8, nothing differed). So sequences and hidden units are rounded up to
multiples of 8: the additional sequences are left out of the loss; the additional units have weights of zero, put out
zero and get gradients of exactly zero. Presets with such sizes (all of ours) pay nothing. Several threads would split
long sums according to their number, so on a CPU one thread is used.

Not yet run on a GPU: this was written and tested without one, so `_captured` never ran, and whether cuBLAS gives a run
the same bits in a stack of another size is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.families.family import TaskFamily
from rnn_zoos.generation.trainers.groups import (
    RunGroup,
    best_at_once,
    existing_device,
    in_groups,
    initial_parameters,
    train_group,
)
from rnn_zoos.generation.trainers.trainer import BETAS, EPSILON, Report, Run, TrainedRun, TrainingSettings, adamw_rates
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import unflatten

_ALIGNED = 8  # sequences and units: a product of two such sizes fills whole vectors
_WARM_UP = 3  # updates before a capture, so that cuBLAS and the allocator have what they need


class StackedTrainer:
    """Trains all runs that it is given at once, or `at_once` of them at a time (by default 1,000 on a GPU).

    `device` is a torch device, by default cuda where there is one, else cpu. Raises DeviceError if it is not there.
    A run of the paper's size needs 2.7 MiB (formal-languages) or 3.3 MiB (sequential-mnist) for what autograd saves,
    measured; with what is in work, expect (not measured) 6 to 8 GiB for 1,000 runs.
    """

    def __init__(self, device: str | None = None, at_once: int | None = None) -> None:
        self.device = existing_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.at_once = at_once or best_at_once(self.device)

    def train(
        self, family: TaskFamily, settings: TrainingSettings, runs: Sequence[Run], report: Report
    ) -> Iterator[TrainedRun]:
        """Yield the trained runs, in order."""
        for group in in_groups(runs, self.at_once):
            with _one_thread():
                trained = train_group(TrainingStack(family, settings, group, self.device), group, report)
            yield from trained


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one CPU thread, so that sums are added in an order that no machine or caller decides."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class TrainingStack(RunGroup):
    """M runs in training on a device. Every tensor here keeps its place in memory: a captured update reads them there.

    parameters, first_moment, second_moment: [M, P] with the additional units. step []: updates done. drawn [M, B, ...]
    and rates [3] (`adamw_rates`): what the next update reads.
    """

    def __init__(
        self, family: TaskFamily, settings: TrainingSettings, runs: Sequence[Run], device: torch.device
    ) -> None:
        super().__init__(family, settings, runs, device)
        named = self.named
        self.architecture = replace(named, hidden_size=named.hidden_size + _missing(named.hidden_size))
        self.places = _places(named, self.architecture).to(device)
        self.parameters = torch.zeros(len(runs), self.architecture.num_parameters, device=device)
        self.parameters[:, self.places] = initial_parameters(named, settings, runs).to(device)
        self.first_moment, self.second_moment = torch.zeros_like(self.parameters), torch.zeros_like(self.parameters)
        self.weight_decay = torch.tensor([[run.weight_decay] for run in runs], device=device)
        self.step = torch.zeros((), dtype=torch.int64, device=device)
        self.drawn = self.sampler.draw(0, 1)[:, 0].contiguous()
        self.rates = adamw_rates(settings, [0]).to(device)[0]
        self.coming = self.batches()
        self.fast_update = _captured(self) if device.type == "cuda" else self.update

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what every update reads, in order: `drawn` and `rates`; many updates are drawn at a time."""
        for updates in self.ahead(self.drawn.numel() * self.drawn.element_size()):
            drawn = self.sampler.draw(updates.start, len(updates))
            rates = adamw_rates(self.settings, updates).to(self.rates.device)
            yield from zip(drawn.unbind(dim=1), rates, strict=True)

    def load(self, drawn: Tensor, rates: Tensor) -> None:
        """Put what the next update reads where it reads it."""
        self.drawn.copy_(drawn)
        self.rates.copy_(rates)

    def advance(self, updates: int) -> None:
        """Do the next updates of all runs."""
        for drawn, rates in islice(self.coming, updates):
            self.load(drawn, rates)
            self.fast_update()

    @property
    def state(self) -> tuple[Tensor, ...]:
        """All that an update changes."""
        return self.parameters, self.first_moment, self.second_moment, self.step, self.diverged_at

    def losses_and_gradients(self) -> tuple[Tensor, Tensor]:
        """Return, for `drawn`, the loss [M] of every run (mean cross-entropy of all B*T) and its gradient [M, P]."""
        inputs, targets = self.sampler.batch(self.drawn)
        count, sequences = inputs.shape[:2]
        if _missing(sequences):
            inputs = F.pad(inputs, (0, 0, 0, 0, 0, _missing(sequences)))
        parameters = self.parameters.detach().requires_grad_()
        outputs, _ = NetworkStack(self.architecture, unflatten(self.architecture, parameters))(inputs)
        logits = outputs[:, :sequences].flatten(0, 2)
        losses = F.cross_entropy(logits, targets.flatten(), reduction="none").view(count, -1).mean(dim=1)
        # No loss depends on another run's parameters, so the gradient of the sum holds each run's own.
        (gradient,) = torch.autograd.grad(losses.sum(), parameters)
        return losses.detach(), gradient

    def update(self) -> None:
        """Do one update of AdamW with `drawn` and `rates`, without waiting for the device."""
        losses, gradient = self.losses_and_gradients()
        self.step += 1
        self.mark(~losses.isfinite(), self.step)
        self.first_moment.lerp_(gradient, 1 - BETAS[0])
        self.second_moment.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        rate, step_size, correction = self.rates.unbind()
        change = step_size * self.first_moment / ((self.second_moment.sqrt() / correction).add_(EPSILON))
        moved = self.parameters * (1 - rate * self.weight_decay) - change
        # A mask and no product with zero: zero times what a diverged run holds would be NaN.
        self.parameters.copy_(torch.where(self.alive[:, None], moved, self.parameters))

    def weights(self) -> Tensor:
        """Return a copy of the weights [M, P] of all runs, without additional units."""
        return self.parameters[:, self.places]


def _missing(size: int) -> int:
    return -size % _ALIGNED


def _places(architecture: Architecture, larger: Architecture) -> Tensor:
    """Return where in the flat weights of a network with more hidden units those of the smaller one are: [P]."""
    places = []
    numbers = unflatten(larger, torch.arange(larger.num_parameters))
    for name, shape in architecture.parameter_shapes.items():
        blocks = 1 if name.startswith("linear") else GATES[architecture.cell]
        rows = numbers[name].unflatten(0, (blocks, -1))[:, : shape[0] // blocks].flatten(0, 1)
        places.append(rows[..., : shape[-1]].flatten())
    return torch.cat(places)


def _captured(stack: TrainingStack) -> Callable[[], None]:
    """Return `stack.update` as a CUDA graph: forward, loss, backward and AdamW in one launch. Not yet run on a GPU."""
    before = [tensor.clone() for tensor in stack.state]
    with torch.cuda.device(stack.parameters.device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                stack.update()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            stack.update()
    for tensor, value in zip(stack.state, before, strict=True):
        tensor.copy_(value)
    return graph.replay
