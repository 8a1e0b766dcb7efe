"""Labels of the loss around the weights, against the exact Hessian and against both implementations of gradients."""

import pytest
import torch
import torch.nn.functional as F
from conftest import ALL_ZOOS, CELLS
from torch.autograd.functional import hessian
from torch.func import functional_call

from rnn_zoos.families import landscape as module
from rnn_zoos.families.labels import Snapshot, measure_labels
from rnn_zoos.families.landscape import LANDSCAPE, Gradients, curvature, landscape, stacked_gradients
from rnn_zoos.families.registry import task_family
from rnn_zoos.generation.trainers.native.trainer import NativeNetwork
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
from rnn_zoos.networks.weights import flatten, unflatten

TASKS = {"formal-languages": 101, "sequential-mnist": 77_000_000, "automata": 1234}
TINY = Architecture("gru", 2, 3, 4, 5)
B, T = 7, 6


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(B, T, 3, generator=generator), torch.randint(5, (B, T), generator=generator)


def weights_of(architecture: Architecture, scale: float = 1.0, run: int = 0) -> torch.Tensor:
    return scale * flatten(architecture, initial_weights(architecture, 0, run))


def gradients_on(batch: tuple[torch.Tensor, torch.Tensor]) -> Gradients:
    return lambda moved: stacked_gradients(TINY, moved[0], *batch)[None]


def exact_hessian(weights: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the Hessian [P, P] in float64, by torch's own transform of another implementation of the loss."""
    network = RecurrentNetwork(TINY).double()

    def loss(flat: torch.Tensor) -> torch.Tensor:
        outputs = functional_call(network, unflatten(TINY, flat), inputs.double())
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    return hessian(loss, weights.double())


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_eigenvalue_and_trace_are_those_of_the_exact_hessian(batch, scale):
    weights = weights_of(TINY, scale)
    expected = exact_hessian(weights, *batch)
    count, generator = len(weights), torch.Generator().manual_seed(5)
    signs = torch.randint(2, (2 * 40, count), generator=generator).double() * 2 - 1
    eigenvalue, trace = (found.item() for found in curvature(gradients_on(batch), weights[None], signs[None]))
    eigenvalues = torch.linalg.eigvalsh(expected)
    assert eigenvalue == pytest.approx(eigenvalues[-1].item(), rel=1e-2)
    # Outside the subspace of 40 directions is little, and it is estimated.
    assert trace == pytest.approx(expected.trace().item(), abs=0.02 * eigenvalues.abs().sum().item())


def test_the_trace_is_exact_on_average_with_few_directions(batch):
    """With one direction for the subspace, nearly all of the trace is estimated."""
    weights = weights_of(TINY, 2.0)
    expected, generator = exact_hessian(weights, *batch), torch.Generator().manual_seed(6)
    traces = []
    for _ in range(60):
        signs = torch.randint(2, (2, len(weights)), generator=generator).double() * 2 - 1
        traces.append(curvature(gradients_on(batch), weights[None], signs[None])[1].item())
    found = torch.tensor(traces)
    assert abs(found.mean() - expected.trace()) < 3 * found.std() / 60**0.5
    assert found.std() < abs(expected.trace()), "otherwise the comparison would prove little"


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_stacks_and_of_the_native_code_are_those_of_autograd(batch, cell, monkeypatch):
    architecture = Architecture(cell, 2, 3, 9, 5)
    some = torch.stack([weights_of(architecture, 1.5, run) for run in range(3)])
    for number, gradients in enumerate(stacked_gradients(architecture, some, *batch)):
        network = RecurrentNetwork(architecture, unflatten(architecture, some[number]))
        F.cross_entropy(network(batch[0]).flatten(0, 1), batch[1].flatten()).backward()
        expected = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
        assert torch.allclose(gradients, expected, rtol=1e-4, atol=1e-6)
    monkeypatch.setattr(module, "_PARAMETERS_AT_ONCE", 2 * architecture.num_parameters)
    assert torch.allclose(stacked_gradients(architecture, some, *batch)[2], gradients, rtol=1e-5, atol=1e-7)
    native = NativeNetwork(architecture).loss_gradients(some, *batch)
    assert torch.allclose(native, stacked_gradients(architecture, some, *batch), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("zoo", ALL_ZOOS)
def test_both_implementations_give_the_same_labels_up_to_their_rounding(zoo):
    family = task_family(zoo)
    architecture = family.architecture("lstm", 2, 9)
    weights = unflatten(architecture, weights_of(architecture, 1.5))
    found, expected = (
        measure_labels(family, Snapshot(network(architecture, weights), 0, 3, TASKS[zoo], 100, None), [*LANDSCAPE])
        for network in (NativeNetwork, RecurrentNetwork)
    )
    for name, label in LANDSCAPE.items():
        assert abs(found[name] - expected[name]) <= label.rounding * (1 + abs(expected[name])), name
    assert found["gradient_norm"] > 0 and found["hessian_eigenvalue"] > 0


@pytest.mark.parametrize("zoo", ALL_ZOOS)
def test_the_batch_is_the_same_for_all_snapshots_of_a_run_and_not_in_its_training(zoo, monkeypatch):
    family = task_family(zoo)
    architecture = family.architecture("rnn", 1, 5)
    seen = []

    def record(architecture, weights, *batch):
        seen.append(batch)
        return stacked_gradients(architecture, weights, *batch)

    monkeypatch.setattr(module, "stacked_gradients", record)
    network = RecurrentNetwork(architecture, unflatten(architecture, weights_of(architecture)))
    for run, step in ((3, 0), (3, 100), (4, 0)):
        landscape(family, Snapshot(network, 0, run, TASKS[zoo], step, None))
    first, later, other = seen[0], seen[len(seen) // 3], seen[-1]
    assert first[0].shape[0] == 32
    assert torch.equal(first[0], later[0]) and torch.equal(first[1], later[1]) and not torch.equal(first[0], other[0])
    sampler = family.sampler(0, [3], [TASKS[zoo]], 32)
    assert not torch.equal(sampler.batch(sampler.draw(0, 1)[:, 0])[0][0], first[0])


def test_norm_and_distance_are_those_of_all_weights():
    family = task_family("automata")
    architecture = family.architecture("lstm", 2, 5)
    start = initial_weights(architecture, 7, 3)
    moved = {name: tensor + 0.01 * number for number, (name, tensor) in enumerate(start.items())}
    snapshot = Snapshot(RecurrentNetwork(architecture, moved), 7, 3, 1234, 100, None)
    found = measure_labels(family, snapshot, ["weight_norm", "distance_from_start"])
    squares = sum(float(tensor.double().square().sum()) for tensor in moved.values())
    distances = sum((0.01 * number) ** 2 * tensor.numel() for number, tensor in enumerate(start.values()))
    assert found == pytest.approx({"weight_norm": squares**0.5, "distance_from_start": distances**0.5}, rel=1e-5)
    fresh = Snapshot(RecurrentNetwork(architecture, start), 7, 3, 1234, 0, None)
    assert measure_labels(family, fresh, ["distance_from_start"]) == {"distance_from_start": 0}
