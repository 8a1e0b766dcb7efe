"""The three implementations of a network agree: torch.nn, step by step (the reference), and many at once."""

import pytest
import torch
from conftest import CELLS
from torch import Tensor

from rnn_zoos.errors import FormatError
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.cells import run_network
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import stack_weights

M, B, T = 4, 5, 7


def architecture(cell: str, layers: int) -> Architecture:
    return Architecture(cell, num_layers=layers, input_size=3, hidden_size=13, output_size=2)


def leaves(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}


def gradients(outputs: Tensor, tensors: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    probe = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(seed))
    return dict(zip(tensors, torch.autograd.grad((outputs * probe).sum(), tensors.values()), strict=True))


def inputs(*axes: int) -> Tensor:
    return torch.randn(*axes, T, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_cells_match_torch_in_outputs_states_and_gradients(cell, layers):
    shape = architecture(cell, layers)
    weights = leaves(initial_weights(shape, 0, 0))
    network = RecurrentNetwork(shape, weights)
    outputs, state = run_network(shape, weights, inputs(B))
    expected = network(inputs(B))
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-6)
    _, last = network.get_submodule(cell)(inputs(B))
    last = last if isinstance(last, tuple) else (last,)
    for part, tensor in enumerate(last):
        torch.testing.assert_close(torch.stack([s[part] for s in state]), tensor, rtol=1e-5, atol=1e-6)
    expected_gradients = gradients(expected, dict(network.named_parameters()))
    for name, gradient in gradients(outputs, weights).items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_matches_each_of_its_networks(cell, layers):
    shape = architecture(cell, layers)
    single = [leaves(initial_weights(shape, 0, run)) for run in range(M)]
    stacked = leaves(stack_weights([{n: t.detach() for n, t in weights.items()} for weights in single]))
    separate_inputs = inputs(M, B)
    outputs, state = NetworkStack(shape, stacked)(separate_inputs)
    assert outputs.shape == (M, B, T, 2)
    stack_gradients = gradients(outputs, stacked)
    probe = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0))
    for number, weights in enumerate(single):
        expected, expected_state = run_network(shape, weights, separate_inputs[number])
        torch.testing.assert_close(outputs[number], expected, rtol=1e-5, atol=1e-6)
        for layer, tensors in enumerate(expected_state):
            for part, tensor in enumerate(tensors):
                torch.testing.assert_close(state[layer][part][number], tensor, rtol=1e-5, atol=1e-6)
        expected_gradients = torch.autograd.grad((expected * probe[number]).sum(), weights.values())
        for name, gradient in zip(weights, expected_gradients, strict=True):
            torch.testing.assert_close(stack_gradients[name][number], gradient, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_takes_shared_inputs_and_resumes_from_a_state(cell):
    shape = architecture(cell, 2)
    stack = NetworkStack(shape, stack_weights([initial_weights(shape, 0, run) for run in range(M)]))
    shared = inputs(B)
    outputs, last = stack(shared)
    torch.testing.assert_close(outputs, stack(shared.expand(M, -1, -1, -1))[0])
    first, state = stack(shared[:, :4])
    second, resumed = stack(shared[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=2), outputs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(resumed, last, rtol=1e-5, atol=1e-6)


def test_a_stack_rejects_weights_and_inputs_that_do_not_fit():
    shape = architecture("lstm", 2)
    weights = initial_weights(shape, 0, 0)
    with pytest.raises(FormatError, match="expected one, the axis of the networks"):
        NetworkStack(shape, weights)
    stack = NetworkStack(shape, stack_weights([weights, weights]))
    with pytest.raises(FormatError, match=r"expected \[B, T, 3\] or \[2, B, T, 3\]"):
        stack(torch.zeros(5, B, T, 3))
    with pytest.raises(FormatError, match=r"Inputs have shape \(2, 5, 7, 4\)"):
        stack(torch.zeros(5, 7, 4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("cell", CELLS)
def test_fused_cells_of_a_gpu_match_elementary_operations(cell):
    shape = architecture(cell, 2)
    weights = stack_weights([initial_weights(shape, 0, run) for run in range(M)])
    read, results = inputs(M, B).cuda(), []
    for native in (True, False):
        on_gpu = leaves({name: tensor.cuda() for name, tensor in weights.items()})
        stack = NetworkStack(shape, on_gpu, native=native)
        first, state = stack(read[:, :, :3])
        second, state = stack(read[:, :, 3:], state)
        outputs = torch.cat([first, second], dim=2).cpu()
        results.append(
            [outputs, *(part.cpu() for layer in state for part in layer), *gradients(outputs, on_gpu).values()]
        )
    for fused, expected in zip(*results, strict=True):
        torch.testing.assert_close(fused, expected, rtol=1e-4, atol=1e-5)
