"""Canonical forms and alignment in the explorer are those of the package: the same orders, signs and tensors."""

import numpy as np
import pytest
import torch
from conftest import CELLS
from explorer import javascript
from scipy.optimize import linear_sum_assignment

from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.symmetry import SignedPermutation, align, canonical_form

H, V = 7, 5
ALIGN = """
    return input.pairs.map(({ target, source }) => {
        const found = symmetry.align(input.architecture, floats(target), floats(source));
        return [found, symmetry.applySignedPermutation(input.architecture, floats(source), found)];
    });
"""


def architecture_of(cell, layers):
    return Architecture(cell, layers, V, H, 3)


def networks(architecture, count):
    return [initial_weights(architecture, 11, run) for run in range(count)]


def sampled(architecture, seed):
    return SignedPermutation.sample(architecture, generator=torch.Generator().manual_seed(seed))


def noisy(weights, amount, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: tensor + amount * torch.randn(tensor.shape, generator=generator) for name, tensor in weights.items()}


def assert_same(found, tensors, permutation, expected):
    """Compare orders and signs, and tensors bit for bit."""
    assert [layer["order"] for layer in found] == [order.tolist() for order in permutation.orders]
    assert [layer["signs"] for layer in found] == [sign.tolist() for sign in permutation.signs]
    assert list(tensors) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(torch.tensor(tensors[name], dtype=torch.float32), tensor.flatten()), name


@pytest.mark.parametrize("layers", (1, 2, 3))
@pytest.mark.parametrize("cell", CELLS)
def test_canonical_forms_are_those_of_the_package(cell, layers):
    architecture = architecture_of(cell, layers)
    given = networks(architecture, 9)
    given += [sampled(architecture, seed).apply(architecture, weights) for seed, weights in enumerate(given[:4])]
    body = """
        return input.networks.map((one) => {
            const { tensors, permutation } = symmetry.canonicalForm(input.architecture, floats(one));
            return [permutation, tensors];
        });
    """
    for weights, (permutation, tensors) in zip(
        given, javascript(body, {"architecture": architecture, "networks": given}), strict=True
    ):
        expected, by = canonical_form(architecture, weights)
        assert_same(permutation, tensors, by, expected)


@pytest.mark.parametrize("layers", (1, 2, 3))
@pytest.mark.parametrize("cell", CELLS)
def test_alignments_are_those_of_the_package(cell, layers):
    """Of unrelated networks, of permuted copies, and of permuted copies with little and much noise."""
    architecture = architecture_of(cell, layers)
    first, *others = networks(architecture, 4)
    pairs = [(first, other) for other in others]
    for seed, amount in enumerate((0.0, 0.02, 0.1, 0.3)):
        moved = sampled(architecture, seed).apply(architecture, first)
        pairs.append((first, noisy(moved, amount, seed) if amount else moved))
    data = [{"target": target, "source": source} for target, source in pairs]
    found = javascript(ALIGN, {"architecture": architecture, "pairs": data})
    for (target, source), (permutation, tensors) in zip(pairs, found, strict=True):
        by = align(architecture, source, to=target)
        assert_same(permutation, tensors, by, by.apply(architecture, source))
    recovered = {name: torch.tensor(entries, dtype=torch.float32) for name, entries in found[3][1].items()}
    assert all(torch.equal(recovered[name], first[name].flatten()) for name in first)


@pytest.mark.parametrize("cell", CELLS)
def test_alignments_of_networks_with_equal_units_are_those_of_the_package(cell):
    """Equal scores: copies of a unit, and a network of zeros, for which every permutation is as good."""
    architecture = architecture_of(cell, 2)
    target, twins = networks(architecture, 2)
    size = architecture.hidden_size
    for name in architecture.layer_shapes(0):
        rows = twins[name].unflatten(0, (-1, size))
        rows[:, 4] = rows[:, 1]
    zeros = {name: torch.zeros_like(tensor) for name, tensor in twins.items()}
    pairs = [(target, zeros), (zeros, target), (zeros, zeros)]
    data = [{"target": target, "source": source} for target, source in [*pairs, (target, twins)]]
    *found, (permutation, _) = javascript(ALIGN, {"architecture": architecture, "pairs": data})
    for (target, source), (chosen, tensors) in zip(pairs, found, strict=True):
        by = align(architecture, source, to=target)
        assert_same(chosen, tensors, by, by.apply(architecture, source))
    assert sorted(permutation[0]["order"]) == list(range(H))


def test_an_assignment_is_that_of_scipy_also_among_equal_scores():
    generator = np.random.default_rng(6)
    cases = [generator.integers(-top, top + 1, (n, n)).astype(float) for n in (1, 2, 3, 7, 12) for top in (0, 1, 3, 50)]
    cases += [generator.standard_normal((n, n)) for n in (1, 5, 24, 33)]
    body = "return input.map(([size, scores]) => assignment.bestAssignment(new Float64Array(scores), size));"
    found = javascript(body, [[len(scores), scores.flatten().tolist()] for scores in cases])
    for scores, columns in zip(cases, found, strict=True):
        assert columns == linear_sum_assignment(scores, maximize=True)[1].tolist()


def test_scores_that_are_not_finite_are_refused():
    body = """
        return Promise.all(
            [NaN, Infinity, -Infinity].map((score) =>
                failure(() => assignment.bestAssignment(new Float64Array([1, 2, score, 4]), 2)),
            ),
        );
    """
    assert set(javascript(body)) == {"RangeError: Scores are not finite: there is no best assignment."}


@pytest.mark.parametrize("cell", CELLS)
def test_a_permuted_network_has_the_same_function_and_incomplete_permutations_do_not(cell):
    architecture = architecture_of(cell, 3)
    (weights,) = networks(architecture, 1)
    by = sampled(architecture, 1)
    permutation = [
        {"order": order.tolist(), "signs": sign.tolist()} for order, sign in zip(by.orders, by.signs, strict=True)
    ]
    body = """
        const inputs = Float32Array.from({ length: 41 * 5 }, (_, place) => Math.sin(place * place));
        const run = (tensors) => new network.Network(input.architecture, tensors).run(inputs, 41).logits;
        const moved = symmetry.applySignedPermutation(input.architecture, floats(input.weights), input.permutation);
        const kept = [...moved.keys()].map((name) => run(new Map([...moved, [name, floats(input.weights).get(name)]])));
        return [run(floats(input.weights)), run(moved), ...kept];
    """
    data = {"architecture": architecture, "weights": weights, "permutation": permutation}
    original, moved, *kept = (torch.tensor(logits) for logits in javascript(body, data))
    assert (moved - original).abs().max() < 1e-6
    differences = [float((logits - original).abs().max()) for logits in kept[:-1]]
    assert min(differences) > 1e-4 and torch.equal(kept[-1], moved)  # linear.bias is not permuted
