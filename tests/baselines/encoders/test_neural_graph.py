"""The neural graph against a message passing written out node by node, its symmetries, and what breaks them."""

import math
from itertools import product

import pytest
import torch
from conftest import CELLS

from rnn_zoos.baselines.encoders.encoder import embeddings_of
from rnn_zoos.baselines.encoders.weights.graph_layers import edge_step, edge_step_reference
from rnn_zoos.baselines.encoders.weights.neural_graph import RANK, NeuralGraphEncoder, Round, ends_of
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.weights import stack_weights
from rnn_zoos.symmetry.signed import SignedPermutation

H = 5
SIZES = {"width": 11, "edge_width": 3}


def architecture(cell: str, layers: int = 3) -> Architecture:
    return Architecture(cell, layers, 4, H, 6)


def networks(arch: Architecture, count: int = 3) -> dict[str, torch.Tensor]:
    return stack_weights([initial_weights(arch, 11, run) for run in range(count)])


def encoder_of(arch: Architecture, layers: int = 2, shared: bool = False) -> NeuralGraphEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        encoder = NeuralGraphEncoder(arch, 7, layers=layers, shared=shared, **SIZES)
        if shared:
            torch.nn.init.normal_(encoder.about)  # it starts at 0
    encoder.fit_inputs(networks(arch, 9))
    return encoder.double()


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("updated", [True, False])
def test_an_edge_step_equals_its_reference_implementation_in_results_and_gradients(updated):
    edges, rows, columns = random(2, 5, 3, 7, seed=0), random(2, 5, 4, seed=1), random(2, 7, 4, seed=2)
    update = (random(3, 3, seed=3), random(2, 5, 3, seed=4), random(2, 7, 3, seed=5)) if updated else ()
    leaves = [tensor.requires_grad_() for tensor in (edges, rows, columns, *update)]
    results = [step(*leaves[:3], update or None) for step in (edge_step, edge_step_reference)]
    assert [tuple(result.shape) for result in results[0]] == [(2, 5, 12), (2, 7, 12), (2, 5, 3, 7)]
    directions = [random(*result.shape, seed=6 + number) for number, result in enumerate(results[0])]
    gradients = []
    for result in results:
        for found, expected in zip(result, results[1], strict=True):
            assert torch.allclose(found, expected, atol=1e-12)
        value = sum((part * direction).sum() for part, direction in zip(result, directions, strict=True))
        gradients.append(torch.autograd.grad(value, leaves))
    for found, expected in zip(*gradients, strict=True):
        assert torch.allclose(found, expected, atol=1e-12) and found.abs().max() > 0
    assert torch.autograd.gradcheck(lambda *tensors: edge_step(*tensors[:3], tensors[3:] or None), leaves)
    assert (results[0][2] - edges).abs().max() > 0.1 or not updated


ONE = torch.ones(1, dtype=torch.float64)
Edge = tuple[str, int, int, torch.Tensor]
"""Kind, row, column and features [C] of an edge; rows and columns are numbers of nodes, in the order of `ends_of`."""


def layer_vector(encoder: NeuralGraphEncoder, layer: int) -> torch.Tensor:
    """Return the learned vector [D] of a layer; if shared, from those of its place, its cell and its size."""
    if not encoder.mixed:
        return encoder.layers[layer, 0]
    arch = encoder.architecture
    first, last = encoder.layers[:, 0]
    about = encoder.about[list(GATES).index(arch.cell)] + math.log(H) * encoder.about[-1]
    return about + (first if layer == 0 else 0) + (last if layer == arch.num_layers - 1 else 0)


def nodes_by_hand(encoder: NeuralGraphEncoder, tensors: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Return the nodes of the first network."""
    arch, nodes = encoder.architecture, [*encoder.inputs]
    for layer in range(arch.num_layers):
        biases = torch.cat([tensors[name][0] for name in list(arch.layer_shapes(layer))[2:]])  # [2 G, H]
        nodes += [layer_vector(encoder, layer) + encoder.unit_biases(biases[:, unit]) for unit in range(H)]
    bias = tensors["linear.bias"][0]
    return nodes + [encoder.outputs[o] + encoder.output_bias(bias[:, o]) for o in range(arch.output_size)]


def edges_by_hand(encoder: NeuralGraphEncoder, tensors: dict[str, torch.Tensor]) -> list[Edge]:
    """Return the edges of the first network."""
    arch, edges = encoder.architecture, []

    def add(kind: str, row: int, column: int, weights: torch.Tensor, *more: torch.Tensor) -> None:
        edges.append((kind, row, column, encoder.edge_maps[kind] @ torch.cat([weights, ONE, *more])))

    for layer in range(arch.num_layers):
        start = arch.input_size + layer * H
        weight_ih, weight_hh = (tensors[name][0] for name in list(arch.layer_shapes(layer))[:2])
        for to, source in product(range(H), range(weight_ih.shape[2])):
            ends = ("input", source, start + to) if layer == 0 else ("upward", start + to, start - H + source)
            add(*ends, weight_ih[:, to, source])
        for to, source in product(range(H), range(H)):
            add("recurrent", start + to, start + source, weight_hh[:, to, source], ONE * (to == source))
    end = arch.input_size + arch.num_layers * H
    for to, source in product(range(arch.output_size), range(H)):
        add("output", end + to, end - H + source, tensors["linear.weight"][0, :, to, source])
    return edges


def passed_by_hand(encoder: NeuralGraphEncoder, weights: dict[str, torch.Tensor], one_round: Round) -> torch.Tensor:
    """Return the nodes [V, D] of the first network after one round, by the formulas of the module's docstring."""
    of_form = (encoder.architecture, weights) if encoder.mixed else (weights,)
    tensors, size = encoder.standardise(*of_form), RANK - 1
    nodes = nodes_by_hand(encoder, tensors)
    parts, width = [one_round.of_nodes(node) for node in nodes], len(nodes[0])
    per_kind = (one_round.of_nodes.out_features - width) // len(one_round.kinds)
    messages = [part[:width] for part in parts]
    others = {"input": (H, encoder.architecture.input_size), "output": (H, encoder.architecture.output_size)}
    for kind, row, column, edge in edges_by_hand(encoder, tensors):
        at = width + per_kind * one_round.kinds.index(kind)
        of_row, of_column = parts[row][at : at + size], parts[column][at + size : at + 2 * size]
        to_row, to_column = others.get(kind, (H, H))  # how many messages each of the two gets
        read = torch.outer(torch.cat([of_column, ONE]), edge).flatten() / to_row**0.5
        messages[row] = messages[row] + one_round.to_rows[kind](read)
        read = torch.outer(torch.cat([of_row, ONE]), edge).flatten() / to_column**0.5
        messages[column] = messages[column] + one_round.to_columns[kind](read)
    pairs = zip(nodes, messages, strict=True)
    return torch.stack([one_round.norm(node + one_round.change(message.relu())) for node, message in pairs])


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_a_round_equals_message_passing_edge_by_edge(cell, layers, shared):
    arch = architecture(cell, layers)
    weights = {name: tensor.double() for name, tensor in networks(arch).items()}
    encoder = encoder_of(arch, shared=shared)
    nodes, edges = encoder.graph(arch, weights)
    gates, pairs = GATES[cell], H * H
    assert sum(part[0].numel() for part in edges.values()) * gates >= sum(
        tensor[0].numel() for name, tensor in weights.items() if tensor.dim() == 3
    )
    assert len(edges["recurrent"]) == 3 * layers and edges["recurrent"][0].numel() == 3 * pairs
    found, _ = encoder.rounds[0](nodes, edges, ends_of(arch))
    assert torch.allclose(found[0], passed_by_hand(encoder, weights, encoder.rounds[0]), atol=1e-10)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_the_embedding_does_not_depend_on_the_order_of_units_but_on_what_is_connected_to_what(cell, layers):
    arch = architecture(cell, layers)
    weights = {name: tensor.double() for name, tensor in networks(arch).items()}
    encoder = encoder_of(arch)
    before = embeddings_of(encoder, weights)
    drawn = SignedPermutation.sample(arch, 3, generator=torch.Generator().manual_seed(2))
    signs = tuple(torch.ones(3, H, dtype=torch.float64) for _ in drawn.signs)
    moved = SignedPermutation(drawn.orders, signs).apply(arch, weights)
    assert torch.allclose(embeddings_of(encoder, moved), before, atol=1e-12)

    def changed(name: str, tensor: torch.Tensor) -> float:
        return (embeddings_of(encoder, {**weights, name: tensor}) - before).norm(dim=1).min().item()

    order = torch.tensor([3, 0, 4, 1, 2])
    weight_hh = weights[f"{cell}.weight_hh_l0"].unflatten(1, (GATES[cell], H))
    assert changed(f"{cell}.weight_hh_l0", weight_hh[:, :, order].flatten(1, 2)) > 1e-4, "rows without columns"
    assert changed(f"{cell}.weight_hh_l0", weights[f"{cell}.weight_hh_l0"][..., order]) > 1e-4, "columns without rows"
    swapped = weights[f"{cell}.weight_ih_l0"][..., [1, 0, 2, 3]]
    assert changed(f"{cell}.weight_ih_l0", swapped) > 1e-4, "two inputs swapped"
    outputs = [1, 0, 2, 3, 4, 5]
    both = {**weights, "linear.weight": weights["linear.weight"][:, outputs]}
    both["linear.bias"] = weights["linear.bias"][:, outputs]
    assert (embeddings_of(encoder, both) - before).norm(dim=1).min() > 1e-4, "two outputs swapped"
    gates = weight_hh.flip(1) if cell != "rnn" else -weight_hh
    assert changed(f"{cell}.weight_hh_l0", gates.flatten(1, 2)) > 1e-4, "gates swapped"
    transposed = weight_hh.transpose(2, 3).flatten(1, 2)
    assert changed(f"{cell}.weight_hh_l0", transposed) > 1e-4, "direction of recurrent edges"


def test_a_loop_is_another_edge_than_one_between_two_units():
    arch = architecture("rnn", 1)
    weights = {name: torch.zeros_like(tensor).double() for name, tensor in networks(arch).items()}
    encoder = encoder_of(arch)
    permutation = torch.roll(torch.eye(H, dtype=torch.float64), 1, dims=0)
    loops, ring = ({**weights, "rnn.weight_hh_l0": m.expand(3, H, H)} for m in (torch.eye(H).double(), permutation))
    assert (embeddings_of(encoder, loops) - embeddings_of(encoder, ring)).norm(dim=1).min() > 1e-4


def test_rounds_have_the_same_parameters_for_any_number_of_layers_and_units():
    shapes = [
        {name: tuple(parameter.shape) for name, parameter in NeuralGraphEncoder(arch).rounds.named_parameters()}
        for arch in (Architecture("lstm", 2, 4, 5, 6), Architecture("lstm", 3, 4, 9, 6))
    ]
    assert shapes[0] == shapes[1]


GOLDEN_NAMES = [
    "inputs", "layers", "outputs", "standardise", "unit_biases", "output_bias", "edge_maps", "rounds", "head",
]  # fmt: skip
GOLDEN = torch.tensor([[-0.03515, -0.21330, -0.96037, -0.17593], [-0.14568, -0.21601, -0.96235, -0.07745]])


def test_the_encoder_of_one_architecture_is_that_of_stored_results():
    """Its parameters, their order and its values are what they were before it could embed several architectures."""
    arch = Architecture("lstm", 2, 6, 32, 6)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        encoder = NeuralGraphEncoder(arch, 4)
    names = list(dict.fromkeys(name.partition(".")[0] for name in encoder.state_dict()))
    assert names == GOLDEN_NAMES
    assert sum(parameter.numel() for parameter in NeuralGraphEncoder(arch).parameters()) == 58_272
    weights = networks(arch, 3)
    encoder.fit_inputs(weights)
    torch.testing.assert_close(embeddings_of(encoder, weights)[:2], GOLDEN, atol=1e-3, rtol=0)


def test_all_parameters_get_gradients():
    arch = architecture("gru", 2)
    encoder = encoder_of(arch)
    weights = {name: tensor.double() for name, tensor in networks(arch).items()}
    (embeddings_of(encoder, weights) * random(3, 7, seed=0)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
