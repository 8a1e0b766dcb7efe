"""The neural graph of several architectures: every network has the embedding that it has alone, by the same weights."""

import pytest
import torch
from conftest import CELLS

from rnn_zoos.baselines.encoders.encoder import embeddings_of
from rnn_zoos.baselines.encoders.layers import split_gates
from rnn_zoos.baselines.encoders.registry import make_encoder
from rnn_zoos.baselines.encoders.weights.gate_roles import GATE_ROLES, ROLES, StandardiseRoles, gate_roles_of
from rnn_zoos.baselines.encoders.weights.neural_graph import NeuralGraphEncoder
from rnn_zoos.errors import EncoderError
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.mixed_stack import MixedStack
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import stack_weights
from rnn_zoos.symmetry.signed import SignedPermutation

SIZES = {"width": 11, "edge_width": 3, "layers": 2}
KNOWN = tuple(
    Architecture(cell, layers, 4, hidden, 3)
    for cell, layers, hidden in (("lstm", 1, 7), ("gru", 3, 1), ("rnn", 2, 9), ("lstm", 3, 2), ("gru", 1, 5))
)
COUNT = 4  # networks of each


def networks(architecture: Architecture, count: int = COUNT) -> dict[str, torch.Tensor]:
    stacked = stack_weights([initial_weights(architecture, 11, run) for run in range(count)])
    return {name: 3 * tensor.double() for name, tensor in stacked.items()}


def mixed_stack(weights: list[dict[str, torch.Tensor]]) -> MixedStack:
    """Return networks of all architectures in a shuffled order."""
    order = torch.randperm(COUNT * len(weights), generator=torch.Generator().manual_seed(4)).split(COUNT)
    stacks = [NetworkStack(Architecture.of(own), own) for own in weights]
    return MixedStack(list(zip(order, stacks, strict=True)))


def encoder_of(known: tuple[Architecture, ...] = KNOWN, cells_matter: bool = True) -> NeuralGraphEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        encoder = make_encoder("neural-graph", known, 6, **SIZES)
        if cells_matter:
            torch.nn.init.normal_(encoder.about)  # it starts at 0
    encoder = encoder.double()
    encoder.fit_networks(mixed_stack([networks(architecture) for architecture in known]))
    return encoder


def embed_alone(encoder: NeuralGraphEncoder, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return embeddings_of(encoder, weights, NetworkStack(Architecture.of(weights), weights))


def test_embeddings_and_gradients_are_those_of_each_network_alone():
    encoder, weights = encoder_of(), [networks(architecture) for architecture in KNOWN]
    leaves = [tensor.requires_grad_() for own in weights for tensor in own.values()] + list(encoder.parameters())
    stack = mixed_stack(weights)
    together = embeddings_of(encoder, stack.weights, stack)
    direction = torch.randn(together.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = torch.autograd.grad((together * direction).sum(), leaves, allow_unused=True)
    value = torch.zeros((), dtype=torch.float64)
    for positions, own in stack.groups:
        for place, position in enumerate(positions.tolist()):
            alone = embed_alone(encoder, {name: tensor[place : place + 1] for name, tensor in own.weights.items()})
            torch.testing.assert_close(together[position], alone[0], atol=1e-10, rtol=0)
            value = value + (alone[0] * direction[position]).sum()
    expected = torch.autograd.grad(value, leaves, allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=0)
        assert one.abs().max() > 0


def test_the_parameters_do_not_depend_on_the_architectures():
    def shapes(known):
        return {name: tuple(tensor.shape) for name, tensor in encoder_of(known).state_dict().items()}

    assert shapes(KNOWN) == shapes(KNOWN[::-1]) == shapes(KNOWN[3:])


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("cell", CELLS)
def test_an_architecture_that_was_not_trained_on_keeps_its_symmetry(cell, layers):
    architecture = Architecture(cell, layers, 4, 6, 3)
    encoder, weights = encoder_of(), networks(architecture)
    before = embed_alone(encoder, weights)
    drawn = SignedPermutation.sample(architecture, COUNT, generator=torch.Generator().manual_seed(2))
    identity = SignedPermutation.identity(architecture, COUNT)
    permuted = SignedPermutation(drawn.orders, identity.signs).apply(architecture, weights)
    torch.testing.assert_close(embed_alone(encoder, permuted), before, atol=1e-10, rtol=0)
    negated = SignedPermutation(identity.orders, drawn.signs).apply(architecture, weights)
    assert (embed_alone(encoder, negated) - before).norm(dim=1).max() > 1e-3, "signs are not promised"


@pytest.mark.parametrize("architecture", KNOWN, ids=lambda known: known.name)
def test_every_gate_of_every_tensor_counts_and_gates_are_told_apart(architecture):
    encoder, weights = encoder_of(), networks(architecture)
    before = embed_alone(encoder, weights)
    for name, tensor in split_gates(architecture, weights).items():
        for gate in range(tensor.shape[1]):
            changed = tensor.clone()
            changed[:, gate] += 0.5
            after = embed_alone(encoder, {**weights, name: changed.flatten(1, 2)})
            assert (after - before).norm(dim=1).min() > 1e-6, (name, gate)
        if tensor.shape[1] > 1:
            swapped = embed_alone(encoder, {**weights, name: tensor.roll(1, dims=1).flatten(1, 2)})
            assert (swapped - before).norm(dim=1).min() > 1e-6, name


def test_cells_with_the_same_candidate_are_told_apart_once_that_is_learned():
    """An rnn, and a gru whose other gates have mean weights, differ in their learned vectors alone."""
    gru, rnn = Architecture("gru", 1, 4, 5, 3), Architecture("rnn", 1, 4, 5, 3)
    for learned in (False, True):
        encoder = encoder_of(cells_matter=learned)
        of_rnn = networks(rnn)
        of_gru = {}
        for name in gru.parameter_shapes:
            kind, roles = gate_roles_of(gru)[name]
            candidate = of_rnn[name.replace("gru", "rnn")]
            means = encoder.standardise.means[kind]
            gates = [candidate if ROLES[role] == "candidate" else means[role].expand_as(candidate) for role in roles]
            of_gru[name] = candidate if name.startswith("linear") else torch.cat(gates, dim=1)
        apart = (embed_alone(encoder, of_gru) - embed_alone(encoder, of_rnn)).norm(dim=1)
        assert (apart.min() > 1e-4) if learned else (apart.max() < 1e-10)


def test_weights_are_standardised_by_kind_and_role_over_all_architectures():
    standardise, stack = StandardiseRoles().double(), mixed_stack([networks(architecture) for architecture in KNOWN])
    standardise.fit(stack)
    moments: dict[tuple[int, int], list[torch.Tensor]] = {}
    for _, own in stack.groups:
        found, places = standardise(own.architecture, own.weights), gate_roles_of(own.architecture)
        for name, tensor in found.items():
            kind, roles = places[name]
            assert tensor.shape[1] == (1 if name.startswith("linear") else len(ROLES))
            absent = [role for role in range(tensor.shape[1]) if role not in roles]
            assert not tensor[:, absent].any()
            for role in roles:
                values = tensor[:, role].flatten(1)
                moments.setdefault((kind, role), []).append(torch.stack([values.mean(1), values.square().mean(1)], 1))
    assert len(moments) == 5 * 4 + 2
    for parts in moments.values():
        expected = torch.tensor([0.0, 1.0], dtype=torch.float64)
        torch.testing.assert_close(torch.cat(parts).mean(dim=0), expected, atol=1e-9, rtol=0)


def test_constant_weights_and_roles_that_were_not_trained_on_become_zero():
    rnn, lstm = Architecture("rnn", 2, 4, 5, 3), Architecture("lstm", 2, 4, 6, 3)
    weights = networks(rnn)
    weights["rnn.bias_hh_l0"] = weights["rnn.bias_hh_l1"] = torch.full((COUNT, 5), 0.1, dtype=torch.float64)
    standardise = StandardiseRoles().double()
    standardise.fit(NetworkStack(rnn, weights))
    found = standardise(lstm, networks(lstm))
    candidate = ROLES.index("candidate")
    for name, tensor in found.items():
        if name.startswith("linear"):
            assert tensor.any()
        else:
            others = [role for role in range(len(ROLES)) if role != candidate]
            assert not tensor[:, others].any() and tensor[:, candidate].any() == ("bias_hh" not in name), name


def test_gates_of_one_role_are_named_for_every_cell():
    assert GATE_ROLES.keys() == GATES.keys()
    assert all(len(set(roles)) == len(roles) == GATES[cell] for cell, roles in GATE_ROLES.items())
    by_name = {cell: [ROLES[role] for role in roles] for cell, roles in GATE_ROLES.items()}
    assert by_name["gru"][1] == by_name["lstm"][1] == "keep"  # z multiplies the old state, as f does
    assert by_name["gru"][2] == by_name["lstm"][2] == by_name["rnn"][0] == "candidate"


def test_what_cannot_be_embedded_is_refused():
    alone = make_encoder("neural-graph", KNOWN[0], 6, **SIZES)
    assert not alone.mixed and NeuralGraphEncoder.mixed
    with pytest.raises(EncoderError, match=r"networks of lstm-1x7; these have the parameters .*for several"):
        embeddings_of(alone, networks(KNOWN[1]))
    stack = mixed_stack([networks(architecture) for architecture in KNOWN])
    with pytest.raises(EncoderError, match="for several"):
        embeddings_of(alone, stack.weights, stack)
    other = networks(Architecture("gru", 1, 3, 5, 3))
    with pytest.raises(EncoderError, match="with 4 inputs and 3 outputs; these have 3 and 3"):
        embed_alone(encoder_of(), other)
