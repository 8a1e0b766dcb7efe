"""Networks of several architectures in one stack, against each of them run alone."""

import pytest
import torch

from rnn_zoos.errors import FormatError
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.mixed_stack import MixedStack
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import stack_weights

ARCHITECTURES = [Architecture(cell, n, 5, h, 3) for cell, n, h in [("lstm", 2, 7), ("gru", 1, 4), ("rnn", 3, 6)]]
PLACES = [[4, 0, 6], [1], [5, 3, 2]]  # of the networks of each architecture
INPUTS, STEPS = 2, 6


@pytest.fixture
def networks() -> dict[int, RecurrentNetwork]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        pairs = zip(ARCHITECTURES, PLACES, strict=True)
        return {place: RecurrentNetwork(own) for own, places in pairs for place in places}


@pytest.fixture
def stack(networks) -> MixedStack:
    groups = []
    for architecture, places in zip(ARCHITECTURES, PLACES, strict=True):
        weights = stack_weights([networks[place].weights() for place in places])
        groups.append((torch.tensor(places), NetworkStack(architecture, weights)))
    return MixedStack(groups)


@pytest.mark.parametrize("own_inputs", [False, True])
def test_every_network_gives_the_outputs_that_it_gives_alone(own_inputs, stack, networks):
    generator = torch.Generator().manual_seed(1)
    shape = (7, INPUTS, STEPS, 5) if own_inputs else (INPUTS, STEPS, 5)
    inputs = torch.randn(shape, generator=generator)
    outputs, _ = stack(inputs)
    assert outputs.shape == (7, INPUTS, STEPS, 3) and stack.num_networks == 7
    for place, network in networks.items():
        expected = network(inputs[place] if own_inputs else inputs)
        torch.testing.assert_close(outputs[place], expected, rtol=1e-5, atol=1e-6)


def test_gradients_of_inputs_are_those_of_each_network(stack, networks):
    inputs = torch.randn(7, INPUTS, STEPS, 5, generator=torch.Generator().manual_seed(2), requires_grad=True)
    outputs, _ = stack(inputs)
    outputs.square().sum().backward()
    for place, network in networks.items():
        alone = inputs[place].detach().requires_grad_()
        network(alone).square().sum().backward()
        torch.testing.assert_close(inputs.grad[place], alone.grad, rtol=1e-4, atol=1e-6)


def test_a_state_continues_where_it_ended(stack):
    inputs = torch.randn(7, INPUTS, STEPS, 5, generator=torch.Generator().manual_seed(2))
    whole, _ = stack(inputs)
    first, state = stack(inputs[:, :, :2])
    second, _ = stack(inputs[:, :, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=2), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [[6, 2, 2, 0], [1], [5, 3]])
def test_selected_networks_keep_their_order(rows, stack):
    inputs = torch.randn(INPUTS, STEPS, 5, generator=torch.Generator().manual_seed(2))
    chosen = stack.select(torch.tensor(rows))
    torch.testing.assert_close(chosen(inputs)[0], stack(inputs)[0][rows], rtol=1e-5, atol=1e-6)
    assert torch.equal(chosen.weights["linear.bias"], stack.weights["linear.bias"][rows])


def test_groups_say_which_network_is_where(stack, networks):
    assert [(positions.tolist(), own.architecture) for positions, own in stack.groups] == list(
        zip(PLACES, ARCHITECTURES, strict=True)
    )
    for place, network in networks.items():
        assert torch.equal(stack.weights["linear.bias"][place], network.linear.bias)
    ((positions, own),) = stack.groups[0][1].groups
    assert positions.tolist() == [0, 1, 2] and own is stack.groups[0][1]


def test_other_inputs_and_other_shapes_are_refused(stack):
    with pytest.raises(FormatError, match=r"\[7, B, T, 5\]"):
        stack(torch.zeros(INPUTS, STEPS, 4))
    other = Architecture("gru", 1, 4, 4, 3)
    with torch.random.fork_rng():
        weights = stack_weights([RecurrentNetwork(other).weights()])
    with pytest.raises(FormatError, match="expected one pair"):
        MixedStack([*stack.groups, (torch.tensor([7]), NetworkStack(other, weights))])
