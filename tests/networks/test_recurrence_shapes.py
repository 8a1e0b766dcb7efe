"""The native recurrence equals torch for random shapes, up to the most layers; memory that is missing is an error."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from memory_limit import assert_failed_allocations_are_freed
from shapes import Shape, in_threads, random_shapes
from test_recurrence import parameters, recurrence_of
from torch import Tensor

from rnn_zoos import Architecture, NetworkStack
from rnn_zoos.networks.native.recurrence import Recurrence, _native, instruction_sets

CASES = [60, pytest.param(500, marks=pytest.mark.long)]
Forward = Callable[[Tensor], tuple[Tensor, Sequence[Tensor]]]


def results(forward: Forward, inputs: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Return outputs, last states, and the gradients of a sum that depends on all of them."""
    outputs, states = forward(inputs)
    direction = torch.linspace(-1, 2, outputs.numel()).view(outputs.shape)
    loss = (outputs * direction).sum() + sum((state**2).sum() for state in states)
    return [outputs.detach(), *(s.detach() for s in states), *torch.autograd.grad(loss, [inputs, *leaves])]


def of_stacks(shape: Shape, inputs: Tensor, instruction_set: str) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Return the results of every thread with networks that have a readout, and those of torch."""
    architecture = Architecture(shape.cell, shape.layers, shape.inputs, shape.hidden, shape.outputs)
    weights = parameters(architecture, shape.networks)
    leaves = list(weights.values())

    def natively(inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        outputs, state = recurrence_of(architecture, weights, instruction_set)(inputs)
        return outputs, [tensor for tensor in state if tensor is not None]

    def in_torch(inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        outputs, state = NetworkStack(architecture, weights, native=False)(inputs)
        return outputs, [torch.stack(tensors, dim=1) for tensors in zip(*state, strict=True)]

    return in_threads(shape, lambda: results(natively, inputs, leaves)), results(in_torch, inputs, leaves)


def of_layers(shape: Shape, inputs: Tensor, instruction_set: str) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Return the results of every thread with one network without a readout, and those of a module of torch."""
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[shape.cell]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = kind(shape.inputs, shape.hidden, shape.layers, batch_first=True)
    leaves = list(module.parameters())

    def natively(inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        layers = [[tensor[None] for tensor in layer] for layer in module.all_weights]
        outputs, state = Recurrence(shape.cell, layers, instruction_set=instruction_set)(inputs)
        return outputs, [tensor for tensor in state if tensor is not None]

    def in_torch(inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        outputs, state = module(inputs[0])
        return outputs[None], [tensor[None] for tensor in (state if shape.cell == "lstm" else (state,))]

    first = inputs[:1].detach().requires_grad_()
    return in_threads(shape, lambda: results(natively, first, leaves)), results(in_torch, first, leaves)


@pytest.mark.parametrize("count", CASES)
def test_random_shapes_equal_torch_with_all_gradients_from_several_threads(count):
    sets = instruction_sets()
    for number, shape in enumerate(random_shapes(count)):
        generator = torch.Generator().manual_seed(number)
        size = (shape.networks, shape.batch, shape.steps, shape.inputs)
        inputs = torch.randn(size, generator=generator, requires_grad=True)
        instruction_set = sets[number // 3 % len(sets)]
        found, expected = (of_layers if number % 5 == 4 else of_stacks)(shape, inputs, instruction_set)
        for thread in found:
            for one, first, other in zip(thread, found[0], expected, strict=True):
                assert torch.equal(one, first), (number, instruction_set, shape)
                largest = float(other.abs().max())
                assert torch.allclose(one, other, rtol=1e-4, atol=2e-5 * largest + 1e-7), (number, shape)


def test_networks_that_do_not_fit_into_memory_are_an_error_that_frees_all():
    """The parameters are small, and packed into large rows of whole vectors."""
    code = """
        from rnn_zoos.networks.native._native import Stack

        def make(count):
            shapes = [(count, 1, 1), (count, 1, 1), (count, 1), (count, 1)] * 16
            return Stack("rnn", 16, [np.zeros(shape, np.float32) for shape in shapes], "base")
    """
    assert_failed_allocations_are_freed(code, small=1, medium=100_000, large=400_000, megabytes=400)


def test_sizes_beyond_any_memory_are_refused():
    small = [np.zeros(shape, np.float32) for shape in ((1, 2, 3), (1, 2, 2), (1, 2), (1, 2))]
    stack = _native.Stack("rnn", 1, small, "base")
    with pytest.raises(ValueError, match="batch and steps"):
        stack.tape_size(2**20, 2**20)
