"""Equivariant layers: they commute with permutations, they are all such maps; the fast form equals the plain one."""

import pytest
import torch
from conftest import CELLS
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from rnn_zoos.baselines.encoders.weights import matrix_features
from rnn_zoos.baselines.encoders.weights.dws import DWSEncoder
from rnn_zoos.baselines.encoders.weights.equivariant import Channels, EquivariantLinear, WeightSpace
from rnn_zoos.baselines.encoders.weights.matrix_features import MatrixMap, Means, map_relu_mean
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.weights import flatten, unflatten
from rnn_zoos.symmetry.signed import SignedPermutation

H = 7
UNEQUAL = Channels([2, 3, 4], [5, 1, 2], [3, 2], 4), Channels([3, 1, 2], [2, 4, 3], [1, 5], 2)


def random_space(layers: int, channels: Channels, seed: int, networks: int = 2) -> WeightSpace:
    generator = torch.Generator().manual_seed(seed)

    def tensor(*shape: int) -> torch.Tensor:
        return torch.randn(networks, *shape, generator=generator, dtype=torch.float64)

    return WeightSpace(
        [tensor(size, H) for size in channels.vectors],
        [tensor(size, H, H) for size in channels.squares],
        [tensor(size, H, H) for size in channels.pairs],
        tensor(channels.scalars),
    )


def permuted(space: WeightSpace, orders: list[torch.Tensor]) -> WeightSpace:
    return WeightSpace(
        [vector[:, :, order] for vector, order in zip(space.vectors, orders, strict=True)],
        [square[:, :, order][:, :, :, order] for square, order in zip(space.squares, orders, strict=True)],
        [
            pair[:, :, upper][:, :, :, lower]
            for pair, upper, lower in zip(space.pairs, orders[1:], orders, strict=False)
        ],
        space.scalars,
    )


def parts(space: WeightSpace) -> list[torch.Tensor]:
    return [*space.vectors, *space.squares, *space.pairs, space.scalars]


def test_equivariant_maps_commute_with_permutations_of_all_layers():
    linear = EquivariantLinear(3, *UNEQUAL).double()
    space = random_space(3, UNEQUAL[0], 0)
    orders = [torch.randperm(H, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    mapped = linear(space)
    assert [part.shape[1] for part in parts(mapped)] == [3, 1, 2, 2, 4, 3, 1, 5, 2]
    for found, expected in zip(parts(linear(permuted(space, orders))), parts(permuted(mapped, orders)), strict=True):
        assert torch.allclose(found, expected, atol=1e-12)
    for found, moved in zip(parts(mapped)[:-1], parts(permuted(mapped, orders))[:-1], strict=True):
        assert not torch.allclose(found, moved), "the outputs depend on the order of units"


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_equivariant_maps_are_linearly_independent_and_complete(layers):
    """With one channel, they span a space of the dimension that follows from counting partitions.

    Between two tensors there is one map per way of identifying their axes: the product over all layers of
    Bell(number of axes of both tensors that this layer permutes).
    """
    bell = [1, 1, 2, 5, 15]
    axes = [[int(layer == at) for layer in range(layers)] for at in range(layers)]
    axes += [[2 * int(layer == at) for layer in range(layers)] for at in range(layers)]
    axes += [[int(layer in (at, at - 1)) for layer in range(layers)] for at in range(1, layers)]
    axes += [[0] * layers]
    expected = 0
    for one in axes:
        for other in axes:
            count = 1
            for a, b in zip(one, other, strict=True):
                count *= bell[a + b]
            expected += count
    linear = EquivariantLinear(layers, Channels.equal(layers, 1), Channels.equal(layers, 1)).double()
    weights = [parameter for name, parameter in linear.named_parameters() if not name.endswith("bias")]
    assert sum(weight.numel() for weight in weights) == expected
    spaces = [random_space(layers, Channels.equal(layers, 1), seed) for seed in range(6)]
    rows = []
    for space in spaces:
        outputs = torch.cat([part.flatten() for part in parts(linear(space))])
        chosen = torch.randn(40, len(outputs), generator=torch.Generator().manual_seed(9), dtype=torch.float64)
        for direction in chosen:
            gradients = torch.autograd.grad(outputs @ direction, weights, retain_graph=True)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    assert torch.linalg.matrix_rank(torch.stack(rows)) == expected, "independent"


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_no_map_that_commutes_with_the_permutations_of_a_real_network_is_missing(cell, layers):
    """The equivariant maps of a permutation representation have one dimension per orbit of pairs of entries.

    The orbits are found by brute force: two pairs of weights are joined if a permutation of hidden units moves one onto
    the other. With four units, no orbit of a larger layer is missing. Invariant biases: one per orbit of weights.
    """
    arch = Architecture(cell, layers, 1, 4, 1)
    channels, size = DWSEncoder.input_channels(arch), arch.num_parameters
    numbers = torch.arange(size, dtype=torch.float64)
    moves = []
    for layer in range(layers):
        for order in ([1, 0, 2, 3], [1, 2, 3, 0]):  # these two generate all permutations of four
            identity = SignedPermutation.identity(arch)
            orders = [*identity.orders[:layer], torch.tensor(order), *identity.orders[layer + 1 :]]
            moved = SignedPermutation(tuple(orders), identity.signs).apply(arch, unflatten(arch, numbers))
            moves.append(flatten(arch, moved).long())
    linear = EquivariantLinear(layers, channels, channels)
    weights = sum(tensor.numel() for name, tensor in linear.named_parameters() if not name.endswith("bias"))
    assert count_orbits([(move[:, None] * size + move).flatten() for move in moves]) == weights
    assert count_orbits(moves) == linear.to_all.bias.numel()


def count_orbits(moves: list[torch.Tensor]) -> int:
    """Return the number of orbits of the group that permutations [N] of N points generate."""
    size = len(moves[0])
    points = torch.arange(size).repeat(len(moves))
    edges = coo_matrix((torch.ones(len(points)), (points, torch.cat(moves))), shape=(size, size))
    return int(connected_components(edges, directed=False)[0])


def test_the_commutant_of_one_layer_has_as_many_dimensions_as_there_are_maps():
    """By linear algebra: the null space of X -> X P - P X, for the permutation matrices P of a weight space."""
    size = 4 + 16 + 1  # a vector, a square, a scalar
    conditions = []
    for order in ([1, 0, 2, 3], [1, 2, 3, 0]):
        one = torch.eye(4, dtype=torch.float64)[order]
        p = torch.block_diag(one, torch.kron(one, one), torch.ones(1, 1, dtype=torch.float64))
        eye = torch.eye(size, dtype=torch.float64)
        conditions.append(torch.kron(eye, p.T.contiguous()) - torch.kron(p, eye))
    dimensions = size**2 - int(torch.linalg.matrix_rank(torch.cat(conditions)))
    linear = EquivariantLinear(1, Channels.equal(1, 1), Channels.equal(1, 1))
    assert dimensions == 2 + 5 + 1 + 5 + 15 + 2 + 1 + 2 + 1
    assert dimensions == sum(t.numel() for name, t in linear.named_parameters() if not name.endswith("bias"))


@pytest.mark.parametrize("entries", [1, 500, 2**17])
def test_the_fast_layer_equals_the_plain_one_in_results_and_gradients(entries, monkeypatch):
    """However many networks it handles at once: one, two or three, or all."""
    monkeypatch.setattr(matrix_features, "_PART", entries)
    linear = EquivariantLinear(3, *UNEQUAL).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in linear.parameters():
            torch.nn.init.normal_(parameter)
    gradients = []
    for fast in (True, False):
        space = random_space(3, UNEQUAL[0], 0, networks=7)
        leaves = [part.requires_grad_() for part in parts(space)]
        if fast:
            activated, means = linear.with_relu(space, space.means())
        else:
            plain = linear(space)
            vectors, squares, pairs = ([t.relu() for t in p] for p in (plain.vectors, plain.squares, plain.pairs))
            activated = WeightSpace(vectors, squares, pairs, plain.scalars.relu())
            means = activated.means()
        results = [*parts(activated), *[t for m in means for t in (m.rows, m.columns, m.diagonal) if t is not None]]
        generator = torch.Generator().manual_seed(1)
        value = sum((t * torch.randn(t.shape, generator=generator, dtype=torch.float64)).sum() for t in results)
        gradients.append([*results, *torch.autograd.grad(value, [*leaves, *linear.parameters()])])
    assert len(gradients[0]) == 9 + 3 * 3 + 2 * 2 + 9 + len(list(linear.parameters()))
    for found, expected in zip(*gradients, strict=True):
        assert torch.allclose(found, expected, atol=1e-9) and found.abs().max() > 0


@pytest.mark.parametrize("square", [True, False])
def test_gradients_of_mapped_matrices_match_finite_differences(square):
    shapes = [(2, 3, 4, 4 if square else 5), (2, 3), (2, 2, 4), (2, 2, 4 if square else 5)]
    shapes += [(2, 3), (2, 2, 4)] if square else []
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]

    def by_part(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        matrices, means = map_relu_mean(tensors[0], MatrixMap(*tensors[1:]))
        return tuple(part for part in (matrices, means.rows, means.columns, means.diagonal) if part is not None)

    assert torch.autograd.gradcheck(by_part, leaves)
    for used in range(4 if square else 3):  # one result alone
        assert torch.autograd.gradcheck(lambda *tensors, used=used: by_part(*tensors)[used], leaves)
    means = Means.of(leaves[0], square)
    assert means.rows.shape == (2, 3, 4) and (means.diagonal is not None) == square
