"""Architectures, the three views of weights, and the initial weights."""

from dataclasses import asdict

import pytest
import torch
from conftest import CELLS
from torch import nn

from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
from rnn_zoos.networks.weights import check_weights, flatten, stack_weights, unflatten, unstack_weights


def architecture(cell: str = "lstm") -> Architecture:
    return Architecture(cell, num_layers=3, input_size=2, hidden_size=5, output_size=7)


@pytest.mark.parametrize("cell", CELLS)
def test_names_shapes_and_order_match_torch(cell):
    module = nn.Module()
    module.add_module(cell, {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell](2, 5, 3))
    module.linear = nn.Linear(5, 7)
    shapes = architecture(cell).parameter_shapes
    assert list(shapes.items()) == [(name, tuple(t.shape)) for name, t in module.state_dict().items()]
    assert architecture(cell).num_parameters == sum(p.numel() for p in module.parameters())


def test_parameter_counts_match_the_paper():
    assert Architecture("lstm", 2, 6, 32, 6).num_parameters == 13_766
    assert Architecture("lstm", 2, 16, 32, 10).num_parameters == 15_178


def test_architecture_is_frozen_validated_and_survives_a_round_trip():
    assert Architecture(**asdict(architecture())) == architecture()
    with pytest.raises(AttributeError):
        architecture().hidden_size = 3
    with pytest.raises(UnknownNameError, match="Unknown cell 'lstn'.*Did you mean 'lstm'"):
        Architecture("lstn", 1, 1, 1, 1)
    with pytest.raises(FormatError, match="hidden_size is 0"):
        Architecture("lstm", 1, 1, 0, 1)


@pytest.mark.parametrize("cell", CELLS)
def test_conversions_between_named_flat_and_stacked_weights_are_inverse(cell):
    networks = [initial_weights(architecture(cell), 0, run) for run in range(4)]
    stacked = stack_weights(networks)
    flat = flatten(architecture(cell), stacked)
    assert flat.shape == (4, architecture(cell).num_parameters)
    assert torch.equal(flat[2], flatten(architecture(cell), networks[2]))
    for network, back in zip(networks, unstack_weights(unflatten(architecture(cell), flat)), strict=True):
        assert list(back) == list(network)
        assert all(torch.equal(back[name], network[name]) for name in network)
    state_dict = RecurrentNetwork(architecture(cell), networks[1]).state_dict()
    assert torch.equal(flat[1], torch.cat([tensor.flatten() for tensor in state_dict.values()]))


def test_wrong_weights_are_rejected():
    weights = initial_weights(architecture(), 0, 0)
    assert check_weights(architecture(), weights) == ()
    with pytest.raises(FormatError, match=r"missing \['linear.bias'\]"):
        check_weights(architecture(), {n: t for n, t in weights.items() if n != "linear.bias"})
    with pytest.raises(FormatError, match=r"linear.bias has shape \(8,\); expected \(7,\)"):
        check_weights(architecture(), weights | {"linear.bias": torch.zeros(8)})
    with pytest.raises(FormatError, match="Flat weights"):
        unflatten(architecture(), torch.zeros(3, 5))
    with pytest.raises(FormatError, match="at least one"):
        stack_weights([])
    stacked = stack_weights([weights, weights])
    with pytest.raises(FormatError, match=r"The weights have the leading axes \(2,\); expected those of one network"):
        RecurrentNetwork(architecture(), stacked)
    for other in (torch.zeros(3, 7), torch.zeros(1, 7), torch.zeros(())):
        with pytest.raises(FormatError, match="The first axes of stacked weights are .*expected the number of net"):
            unstack_weights(stacked | {"linear.bias": other})


@pytest.mark.parametrize(
    "other",
    [
        Architecture("gru", 3, 2, 5, 7),
        Architecture("lstm", 2, 2, 5, 7),
        Architecture("lstm", 3, 2, 6, 7),
        Architecture("lstm", 3, 4, 5, 7),
    ],
    ids=str,
)
def test_networks_of_different_architectures_are_not_stacked_and_the_error_names_both(other):
    networks = [initial_weights(own, 0, run) for run, own in enumerate([architecture(), architecture(), other])]
    with pytest.raises(FormatError) as error:
        stack_weights(networks)
    assert f"network 0 is {architecture()}, network 2 is {other}." in str(error.value)


def test_initial_weights_have_torchs_distribution_and_differ_between_runs_and_seeds():
    big = Architecture("lstm", 2, 6, 32, 6)
    flat = flatten(big, initial_weights(big, 0, 0))
    bound = 32**-0.5
    assert flat.abs().max() < bound
    assert abs(flat.std().item() - bound / 3**0.5) < 0.002 and abs(flat.mean().item()) < 0.003
    torch_bounds = [p.abs().max().item() for p in RecurrentNetwork(big).parameters()]
    assert max(torch_bounds) < bound and min(torch_bounds) > 0.5 * bound
    assert not torch.equal(flat, flatten(big, initial_weights(big, 0, 1)))
    assert not torch.equal(flat, flatten(big, initial_weights(big, 1, 0)))


def test_no_tensors_cannot_be_split():
    with pytest.raises(FormatError, match="There are no tensors to be split into networks"):
        unstack_weights({})
