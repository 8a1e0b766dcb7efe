"""Labels for all families: size of the weights, and the landscape of the loss around them.

The loss is the cross-entropy on a fixed batch of the run's training data that comes after those it is trained on. All
snapshots of a run are measured on the same batch, with the same random directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.families.columns import Column
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.labels import Label, Snapshot, SnapshotStack
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import flatten, unflatten
from rnn_zoos.randomness import Purpose, random_bits

SEQUENCES = 32
"""Sequences of the batch."""
DIRECTIONS = 4
"""Directions of the subspace in which the largest eigenvalue is searched, and further ones for the trace."""
_LATE = 2**30  # number of an update that no training reaches
_STEP = 1e-3  # how far weights are moved: farther, the gradient curves; less, float32 rounds
_PARAMETERS_AT_ONCE = 2**22  # of networks that run together on a CPU; their activations take many times this
_STACKED_PARAMETERS = 2**25  # the same on a GPU: 16 GB for networks of the zoos' sizes
_COUNTER = 2  # of Purpose.FURTHER_LABELS; those below are labels of `automata`

Gradients = Callable[[Tensor], Tensor]
"""N flat weights of each of M networks, [M, N, P] -> gradients of the loss at each of them, [M, N, P]."""


@runtime_checkable
class HasGradients(Protocol):
    """A network with a faster implementation of `stacked_gradients`, which is its reference implementation."""

    def loss_gradients(self, weights: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return what `stacked_gradients` returns for networks of the same architecture, up to rounding."""
        ...


def stacked_gradients(architecture: Architecture, weights: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the gradients of the cross-entropy of M networks on one batch, or on a batch of each.

    Args:
        architecture: Architecture of the networks.
        weights: Flat weights [M, P].
        inputs: [B, T, I], which a bounded number of networks read at a time; or [M, B, T, I], which all read at once.
        targets: Classes, [B, T] or [M, B, T].

    Returns:
        The gradients of the mean over all steps of all sequences, [M, P].
    """
    at_once = max(1, _PARAMETERS_AT_ONCE // weights.shape[1])
    if inputs.dim() == 3 and len(weights) > at_once:
        parts = [stacked_gradients(architecture, chunk, inputs, targets) for chunk in weights.split(at_once)]
        return torch.cat(parts)
    parameters = weights.detach().requires_grad_()
    with torch.enable_grad():
        # On a CPU native=False: a zoo has the same bits with and without the native code.
        stack = NetworkStack(architecture, unflatten(architecture, parameters), native=weights.is_cuda)
        outputs, _ = stack(inputs)
        wanted = targets.expand(len(weights), *targets.shape[-2:])
        losses = F.cross_entropy(outputs.flatten(0, -2), wanted.flatten(), reduction="sum") / wanted[0].numel()
        (gradients,) = torch.autograd.grad(losses, parameters)
    return gradients


def landscape(family: TaskFamily, snapshot: Snapshot) -> Mapping[str, float]:
    """Return the labels `gradient_norm`, `hessian_eigenvalue` and `hessian_trace` of a snapshot."""
    architecture = snapshot.network.architecture
    inputs, targets = (part[0] for part in _batches(family, snapshot.seed, [snapshot.run], [snapshot.task]))

    def gradients(weights: Tensor) -> Tensor:
        if isinstance(snapshot.network, HasGradients):
            return snapshot.network.loss_gradients(weights[0], inputs, targets)[None]
        return stacked_gradients(architecture, weights[0], inputs, targets)[None]

    weights = flatten(architecture, snapshot.network.weights())[None]
    return _labels(gradients, weights, _signs(snapshot.seed, [snapshot.run], weights))[0]


def landscapes(family: TaskFamily, snapshots: SnapshotStack) -> list[Mapping[str, float]]:
    """Do what `landscape` does for M snapshots."""
    architecture = snapshots.stack.architecture
    pairs = list(zip(snapshots.runs, snapshots.tasks, strict=True))
    distinct = list(dict.fromkeys(pairs))  # snapshots of a run share its batch
    weights = flatten(architecture, snapshots.stack.weights)
    runs, tasks = (list(part) for part in zip(*distinct, strict=True))
    batches = _batches(family, snapshots.seed, runs, tasks, weights.device)
    signs = _signs(snapshots.seed, runs, weights)
    places = torch.tensor([distinct.index(pair) for pair in pairs], device=weights.device)
    found: list[Mapping[str, float]] = []
    for chunk in torch.arange(len(places)).split(max(1, _STACKED_PARAMETERS // (4 * DIRECTIONS * weights.shape[1]))):
        of_run = places[chunk]
        inputs, targets = (part[of_run] for part in batches)

        def gradients(moved: Tensor, inputs: Tensor = inputs, targets: Tensor = targets) -> Tensor:
            copies = [part.repeat_interleave(moved.shape[1], dim=0) for part in (inputs, targets)]
            return stacked_gradients(architecture, moved.flatten(0, 1), *copies).view_as(moved)

        found += _labels(gradients, weights[chunk], signs[of_run])
    return found


def _batches(
    family: TaskFamily, seed: int, runs: Sequence[int], tasks: Sequence[int], device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return the inputs [M, B, T, I] and the classes [M, B, T] that M runs are measured on."""
    sampler = family.sampler(seed, runs, tasks, SEQUENCES, str(device))
    return sampler.batch(sampler.draw(_LATE, 1)[:, 0])


def _signs(seed: int, runs: Sequence[int], weights: Tensor) -> Tensor:
    """Return the random directions of M runs, for weights [*, P] of any networks: float64 [M, 2 `DIRECTIONS`, P]."""
    bits = random_bits(seed, runs, Purpose.FURTHER_LABELS, [_COUNTER], weights.shape[1], weights.device)[:, 0]
    return torch.stack([((bits >> number) & 1).double() * 2 - 1 for number in range(2 * DIRECTIONS)], dim=1)


def _labels(gradients: Gradients, weights: Tensor, signs: Tensor) -> list[Mapping[str, float]]:
    """Return the labels of M networks with weights [M, P]."""
    eigenvalues, traces = curvature(gradients, weights, signs)
    norms = gradients(weights[:, None])[:, 0].double().norm(dim=1)
    values = zip(norms.tolist(), eigenvalues.tolist(), traces.tolist(), strict=True)
    return [dict(zip(("gradient_norm", "hessian_eigenvalue", "hessian_trace"), each, strict=True)) for each in values]


def curvature(gradients: Gradients, weights: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalues and the traces [M] of the Hessians of M networks, from gradients alone.

    Two steps of a block power iteration find the subspace of the eigenvalues that are largest in size. The trace is
    exact in this subspace and estimated in the rest, by Hutchinson's method with the other directions (Hutch++: Meyer
    et al., "Hutch++: Optimal stochastic trace estimation", SOSA 2021).

    Args:
        gradients: Gradients of the loss at several weights of each network.
        weights: The weights, [M, P].
        directions: Random signs, float64 [M, 2 K, P]: K for the subspace, K for the rest.
    """
    half = directions.shape[1] // 2
    products = hessian_products(gradients, weights, directions)
    for _ in range(2):
        basis = torch.linalg.qr(products[:, :half].mT).Q.mT  # [M, K, P]
        products = torch.cat([hessian_products(gradients, weights, basis), products[:, half:]], dim=1)
    inside = basis @ products[:, :half].mT
    finite = inside.isfinite().all(dim=(1, 2))[:, None]  # the gradients of one network may overflow
    symmetric = torch.where(finite[..., None], (inside + inside.mT) / 2, 0)
    eigenvalues = torch.where(finite, torch.linalg.eigvalsh(symmetric), torch.nan)
    rest, along = directions[:, half:], directions[:, half:] @ basis.mT
    outside = ((rest - along @ basis) * (products[:, half:] - along @ products[:, :half])).sum(dim=2)
    return eigenvalues[:, -1], eigenvalues.sum(dim=1) + outside.mean(dim=1)


def hessian_products(gradients: Gradients, weights: Tensor, directions: Tensor) -> Tensor:
    """Return the products of Hessians with directions [M, K, P], float64 [M, K, P], by central differences."""
    lengths = directions.norm(dim=2, keepdim=True)
    moves = (_STEP / lengths * directions).float()
    own, count = weights[:, None], directions.shape[1]
    both = gradients(torch.cat([own + moves, own - moves], dim=1)).double()
    products: Tensor = (both[:, :count] - both[:, count:]) / (2 * _STEP) * lengths
    return products


def _weight_norm(_family: TaskFamily, snapshot: Snapshot) -> float:
    return float(flatten(snapshot.network.architecture, snapshot.network.weights()).double().norm())


def _distance_from_start(_family: TaskFamily, snapshot: Snapshot) -> float:
    architecture = snapshot.network.architecture
    initial = initial_weights(architecture, snapshot.seed, snapshot.run, snapshot.initial_scale)
    pair: Sequence[Mapping[str, Tensor]] = (snapshot.network.weights(), initial)
    now, start = (flatten(architecture, weights).double() for weights in pair)
    return float((now - start).norm())


LANDSCAPE: Mapping[str, Label] = MappingProxyType(
    {
        "weight_norm": Label(Column("float32", "Euclidean norm of all weights"), _weight_norm),
        "distance_from_start": Label(
            Column("float32", "Euclidean distance of all weights from those of step 0"), _distance_from_start
        ),
        "gradient_norm": Label(
            Column("float32", "Euclidean norm of the gradient of the loss on 32 sequences of training data", "nats"),
            landscape,
            measure_stack=landscapes,
        ),
        "hessian_eigenvalue": Label(
            Column("float32", "largest eigenvalue of the Hessian of that loss", "nats"),
            landscape,
            rounding=0.01,
            measure_stack=landscapes,
        ),
        "hessian_trace": Label(
            Column("float32", "trace of the Hessian of that loss, estimated", "nats"),
            landscape,
            rounding=0.05,
            measure_stack=landscapes,
        ),
    }
)
"""Labels that every family can have: an entry of `further_labels` each."""
