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
from rnn_zoos.families.labels import Label, Snapshot
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
_PARAMETERS_AT_ONCE = 2**22  # of networks that run together; their activations take many times this
_COUNTER = 2  # of Purpose.FURTHER_LABELS; those below are labels of `automata`

Gradients = Callable[[Tensor], Tensor]
"""Flat weights [M, P] -> gradients of the loss at each of them, [M, P]."""


@runtime_checkable
class HasGradients(Protocol):
    """A network with a faster implementation of `stacked_gradients`, which is its reference implementation."""

    def loss_gradients(self, weights: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return what `stacked_gradients` returns for networks of the same architecture, up to rounding."""
        ...


def stacked_gradients(architecture: Architecture, weights: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the gradients of the cross-entropy of M networks on one batch.

    Args:
        architecture: Architecture of the networks.
        weights: Flat weights [M, P].
        inputs: [B, T, I].
        targets: Classes [B, T].

    Returns:
        The gradients of the mean over all steps of all sequences, [M, P].
    """
    if len(weights) > (at_once := max(1, _PARAMETERS_AT_ONCE // weights.shape[1])):
        parts = [stacked_gradients(architecture, some, inputs, targets) for some in weights.split(at_once)]
        return torch.cat(parts)
    parameters = weights.detach().requires_grad_()
    with torch.enable_grad():
        # native=False: a zoo has the same bits with and without the native code.
        outputs, _ = NetworkStack(architecture, unflatten(architecture, parameters), native=False)(inputs)
        wanted = targets.expand(len(weights), *targets.shape)
        losses = F.cross_entropy(outputs.flatten(0, -2), wanted.flatten(), reduction="sum") / targets.numel()
        (gradients,) = torch.autograd.grad(losses, parameters)
    return gradients


def landscape(family: TaskFamily, of: Snapshot) -> Mapping[str, float]:
    """Return the labels `gradient_norm`, `hessian_eigenvalue` and `hessian_trace` of a snapshot."""
    architecture = of.network.architecture
    sampler = family.sampler(of.seed, [of.run], [of.task], SEQUENCES)
    inputs, targets = (part[0] for part in sampler.batch(sampler.draw(_LATE, 1)[:, 0]))

    def gradients(weights: Tensor) -> Tensor:
        if isinstance(of.network, HasGradients):
            return of.network.loss_gradients(weights, inputs, targets)
        return stacked_gradients(architecture, weights, inputs, targets)

    weights = flatten(architecture, of.network.weights())
    bits = random_bits(of.seed, [of.run], Purpose.FURTHER_LABELS, [_COUNTER], len(weights))[0, 0]
    signs = torch.stack([((bits >> number) & 1).double() * 2 - 1 for number in range(2 * DIRECTIONS)])
    eigenvalue, trace = curvature(gradients, weights, signs)
    return {
        "gradient_norm": gradients(weights[None])[0].double().norm().item(),
        "hessian_eigenvalue": eigenvalue,
        "hessian_trace": trace,
    }


def curvature(gradients: Gradients, weights: Tensor, directions: Tensor) -> tuple[float, float]:
    """Return the largest eigenvalue and the trace of the Hessian, from gradients alone.

    Two steps of a block power iteration find the subspace of the eigenvalues that are largest in size. The trace is
    exact in this subspace and estimated in the rest, by Hutchinson's method with the other directions (Hutch++: Meyer
    et al., "Hutch++: Optimal stochastic trace estimation", SOSA 2021).

    Args:
        gradients: Gradients of the loss at several weights.
        weights: The weights, [P].
        directions: Random signs, float64 [2 K, P]: K for the subspace, K for the rest.
    """
    half = len(directions) // 2
    products = hessian_products(gradients, weights, directions)
    for _ in range(2):
        basis = torch.linalg.qr(products[:half].T).Q.T  # [K, P]
        products = torch.cat([hessian_products(gradients, weights, basis), products[half:]])
    inside = basis @ products[:half].T
    eigenvalues = torch.linalg.eigvalsh((inside + inside.T) / 2)
    rest, along = directions[half:], directions[half:] @ basis.T
    outside = ((rest - along @ basis) * (products[half:] - along @ products[:half])).sum(dim=1)
    return eigenvalues[-1].item(), (eigenvalues.sum() + outside.mean()).item()


def hessian_products(gradients: Gradients, weights: Tensor, directions: Tensor) -> Tensor:
    """Return the products of the Hessian with directions [K, P], float64 [K, P], by central differences."""
    lengths = directions.norm(dim=1, keepdim=True)
    moves = (_STEP / lengths * directions).float()
    both = gradients(torch.cat([weights + moves, weights - moves])).double()
    products: Tensor = (both[: len(moves)] - both[len(moves) :]) / (2 * _STEP) * lengths
    return products


def _weight_norm(_family: TaskFamily, of: Snapshot) -> float:
    return float(flatten(of.network.architecture, of.network.weights()).double().norm())


def _distance_from_start(_family: TaskFamily, of: Snapshot) -> float:
    architecture = of.network.architecture
    initial = initial_weights(architecture, of.seed, of.run, of.initial_scale)
    pair: Sequence[Mapping[str, Tensor]] = (of.network.weights(), initial)
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
        ),
        "hessian_eigenvalue": Label(
            Column("float32", "largest eigenvalue of the Hessian of that loss", "nats"), landscape, rounding=0.01
        ),
        "hessian_trace": Label(
            Column("float32", "trace of the Hessian of that loss, estimated", "nats"), landscape, rounding=0.05
        ),
    }
)
"""Labels that every family can have: an entry of `further_labels` each."""
