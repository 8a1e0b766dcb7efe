"""Signed permutations, merged biases, canonical forms and alignment keep the function and do what they promise."""

import pytest
import torch
from conftest import CELLS

from rnn_zoos.errors import FormatError
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.cells import run_network
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.weights import stack_weights, unstack_weights
from rnn_zoos.symmetry.alignment import align
from rnn_zoos.symmetry.biases import bias_differences, merge_biases, mergeable
from rnn_zoos.symmetry.canonical import canonical_form
from rnn_zoos.symmetry.signed import CANDIDATE, SignedPermutation

H = 7


def architecture(cell: str, layers: int = 3) -> Architecture:
    return Architecture(cell, layers, 3, H, 5)


def networks(cell: str, count: int, layers: int = 3) -> dict[str, torch.Tensor]:
    return stack_weights([initial_weights(architecture(cell, layers), 11, run) for run in range(count)])


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def outputs(cell: str, weights: dict[str, torch.Tensor], layers: int = 3) -> torch.Tensor:
    inputs = torch.randn(4, 6, 3, generator=random(0), dtype=torch.float64)
    exact = [{name: tensor.double() for name, tensor in one.items()} for one in unstack_weights(weights)]
    return torch.stack([run_network(architecture(cell, layers), one, inputs)[0] for one in exact])


@pytest.mark.parametrize("cell", CELLS)
def test_signed_permutations_do_not_change_the_function(cell):
    """Up to rounding: sums are computed in another order."""
    weights = networks(cell, 5)
    changed = SignedPermutation.sample(architecture(cell), 5, generator=random(1)).apply(architecture(cell), weights)
    assert torch.allclose(outputs(cell, changed), outputs(cell, weights), rtol=0, atol=1e-13)
    assert not torch.allclose(changed[f"{cell}.weight_hh_l1"], weights[f"{cell}.weight_hh_l1"])


@pytest.mark.parametrize("cell", CELLS)
def test_sign_changes_keep_the_outputs_bit_for_bit(cell):
    arch, weights = architecture(cell), networks(cell, 2)
    flips = SignedPermutation.sample(arch, 2, generator=random(2))
    flips = SignedPermutation(SignedPermutation.identity(arch, 2).orders, flips.signs)
    assert torch.equal(outputs(cell, flips.apply(arch, weights)), outputs(cell, weights))


@pytest.mark.parametrize("cell", CELLS)
def test_incomplete_permutations_change_the_function(cell):
    """Leave out one tensor of the permutation, or apply the signs to a gate that must keep its sign."""
    arch, weights = architecture(cell), networks(cell, 2)
    moved = SignedPermutation.sample(arch, 2, generator=random(3))
    changed, exact = moved.apply(arch, weights), outputs(cell, weights)
    for name in weights:
        if name != "linear.bias":
            assert not torch.allclose(outputs(cell, {**changed, name: weights[name]}), exact, atol=1e-4), name
    for gate in range(GATES[cell]):
        if gate != CANDIDATE[cell]:
            wrong = changed[f"{cell}.weight_ih_l0"].clone().unflatten(1, (GATES[cell], H))
            wrong[:, gate] *= moved.signs[0][:, :, None]
            wrong = {**changed, f"{cell}.weight_ih_l0": wrong.flatten(1, 2)}
            assert not torch.allclose(outputs(cell, wrong), exact, atol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_the_group_laws_hold_bit_for_bit(cell):
    arch, weights = architecture(cell), networks(cell, 4)
    first, second = (SignedPermutation.sample(arch, 4, generator=random(seed)) for seed in (4, 5))

    def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
        return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

    assert same(first.inverse().apply(arch, first.apply(arch, weights)), weights)
    assert same(first.apply(arch, first.inverse().apply(arch, weights)), weights)
    assert same(first.then(second).apply(arch, weights), second.apply(arch, first.apply(arch, weights)))
    assert same(SignedPermutation.identity(arch, 4).apply(arch, weights), weights)
    one = SignedPermutation(tuple(o[2] for o in first.orders), tuple(s[2] for s in first.signs))
    alone = one.apply(arch, {name: tensor[2] for name, tensor in weights.items()})
    assert same(alone, {name: tensor[2] for name, tensor in first.apply(arch, weights).items()})


def by_definition(
    arch: Architecture, moved: SignedPermutation, weights: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the permuted weights [*shape] of one network, entry by entry: the reference implementation of `apply`."""
    gates, units, result = GATES[arch.cell], range(arch.hidden_size), {}
    for layer in range(arch.num_layers):
        order, sign = moved.orders[layer].tolist(), moved.signs[layer].tolist()
        for number, name in enumerate(arch.layer_shapes(layer)):
            reads = [layer - 1, layer, None, None][number]  # the layer whose units the columns read
            rows = []
            for gate in range(gates):
                for unit in units:
                    row = weights[name][gate * arch.hidden_size + order[unit]]
                    if reads is not None and reads >= 0:
                        columns = zip(moved.orders[reads].tolist(), moved.signs[reads].tolist(), strict=True)
                        row = torch.stack([row[column] * factor for column, factor in columns])
                    rows.append(row * sign[unit] if gate == CANDIDATE[arch.cell] else row)
            result[name] = torch.stack(rows)
    last = zip(moved.orders[-1].tolist(), moved.signs[-1].tolist(), strict=True)
    columns = [weights["linear.weight"][:, column] * factor for column, factor in last]
    return {**result, "linear.weight": torch.stack(columns, dim=1), "linear.bias": weights["linear.bias"]}


@pytest.mark.parametrize("cell", CELLS)
def test_a_permutation_equals_its_definition_in_weights_and_gradients(cell):
    arch = architecture(cell)
    weights = {name: tensor.clone().requires_grad_() for name, tensor in networks(cell, 3).items()}
    moved = SignedPermutation.sample(arch, 3, generator=random(12))
    found = moved.apply(arch, weights)
    separate = [
        SignedPermutation(tuple(o[m] for o in moved.orders), tuple(s[m] for s in moved.signs)) for m in range(3)
    ]
    expected = stack_weights(
        [by_definition(arch, one, named) for one, named in zip(separate, unstack_weights(weights), strict=True)]
    )
    gradients = []
    for result in (found, expected):
        value = sum((tensor * torch.randn(tensor.shape, generator=random(13))).sum() for tensor in result.values())
        gradients.append(torch.autograd.grad(value, list(weights.values())))
    for name in weights:
        assert torch.equal(found[name], expected[name]), name
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other) and one.abs().min() > 0
    alone = separate[1].apply(arch, {name: tensor[1] for name, tensor in weights.items()})
    assert all(torch.equal(alone[name], found[name][1]) for name in alone), "without an axis of networks"


def test_a_permutation_matches_one_computed_by_hand():
    """Two units are swapped, and the one that is first afterwards is negated."""
    arch = Architecture("rnn", 1, 1, 2, 1)
    weights = {
        "rnn.weight_ih_l0": torch.tensor([[1.0], [2.0]]),
        "rnn.weight_hh_l0": torch.tensor([[3.0, 4.0], [5.0, 6.0]]),
        "rnn.bias_ih_l0": torch.tensor([7.0, 8.0]),
        "rnn.bias_hh_l0": torch.tensor([9.0, 10.0]),
        "linear.weight": torch.tensor([[11.0, 12.0]]),
        "linear.bias": torch.tensor([13.0]),
    }
    moved = SignedPermutation((torch.tensor([1, 0]),), (torch.tensor([-1.0, 1.0]),)).apply(arch, weights)
    assert moved["rnn.weight_ih_l0"].tolist() == [[-2], [1]] and moved["linear.weight"].tolist() == [[-12, 11]]
    assert moved["rnn.weight_hh_l0"].tolist() == [[6, -5], [-4, 3]] and moved["linear.bias"].tolist() == [13]
    assert moved["rnn.bias_ih_l0"].tolist() == [-8, 7] and moved["rnn.bias_hh_l0"].tolist() == [-10, 9]


def test_samples_are_uniform_and_reproducible():
    arch = Architecture("lstm", 1, 1, 3, 1)
    drawn = SignedPermutation.sample(arch, 6000, generator=random(6))
    codes = (drawn.orders[0] * torch.tensor([9, 3, 1])).sum(dim=1)
    _, counts = codes.unique(return_counts=True)
    assert len(counts) == 6 and counts.min() > 850 and abs(drawn.signs[0].mean()) < 0.03
    again = SignedPermutation.sample(arch, 6000, generator=random(6))
    assert torch.equal(again.orders[0], drawn.orders[0]) and torch.equal(again.signs[0], drawn.signs[0])


def test_gradients_flow_and_mismatched_arguments_are_rejected():
    arch, weights = architecture("gru"), networks("gru", 2)
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
    moved = SignedPermutation.sample(arch, 2, generator=random(7)).apply(arch, leaves)
    sum((tensor**2).sum() for tensor in moved.values()).backward()
    assert all(torch.allclose(leaf.grad, 2 * leaf) for leaf in leaves.values())
    with pytest.raises(FormatError, match=r"has the shapes .*expected 3 times \(2, 7\)"):
        SignedPermutation.sample(arch, 3, generator=random(0)).apply(arch, weights)
    with pytest.raises(FormatError, match="align takes the named weights of one network each"):
        align(arch, weights, weights)
    one = unstack_weights(leaves)[0]
    assert align(arch, one, one).orders[0].tolist() == list(range(H)), "weights that are parameters, too"
    with pytest.raises(FormatError, match="not finite: the network has diverged"):
        align(arch, one, one | {"linear.bias": torch.full((5,), torch.nan)})


@pytest.mark.parametrize("cell", CELLS)
def test_merging_biases_keeps_the_function_and_removes_their_difference(cell):
    arch, weights = architecture(cell), networks(cell, 3)
    merged = merge_biases(arch, weights)
    assert torch.allclose(outputs(cell, merged), outputs(cell, weights), atol=1e-6)
    assert not torch.equal(merged[f"{cell}.bias_ih_l1"], weights[f"{cell}.bias_ih_l1"])
    rows = mergeable(arch)
    assert (merged[f"{cell}.bias_hh_l2"][:, rows] == 0).all() and rows.sum() == (2 * H if cell == "gru" else len(rows))
    twice = merge_biases(arch, merged)
    assert all(torch.equal(twice[name], merged[name]) for name in merged)
    shifted = {**weights, f"{cell}.bias_ih_l0": weights[f"{cell}.bias_ih_l0"] + rows}
    shifted[f"{cell}.bias_hh_l0"] = weights[f"{cell}.bias_hh_l0"] - rows.float()
    both = merge_biases(arch, shifted)
    assert all(torch.allclose(both[name], merged[name], atol=1e-6) for name in merged), (
        "merging must remove every trace of the difference"
    )
    assert bias_differences(arch, weights).shape == (3, 3 * int(rows.sum()))
    assert torch.allclose(
        bias_differences(arch, shifted) - bias_differences(arch, weights),
        2.0 * torch.tensor([1.0] * int(rows.sum()) + [0.0] * (2 * int(rows.sum()))),
        atol=1e-6,
    )
    if cell == "gru":
        wrong = {**weights, "gru.bias_ih_l0": weights["gru.bias_ih_l0"] + weights["gru.bias_hh_l0"]}
        wrong["gru.bias_hh_l0"] = torch.zeros_like(weights["gru.bias_hh_l0"])
        assert not torch.allclose(outputs(cell, wrong), outputs(cell, weights), atol=1e-4), (
            "the biases of a GRU's candidate cannot be merged"
        )


@pytest.mark.parametrize("cell", CELLS)
def test_the_canonical_form_is_equal_for_all_permutations_of_a_network_and_differs_between_networks(cell):
    arch, weights = architecture(cell), networks(cell, 6)
    form, by = canonical_form(arch, weights)
    moved = SignedPermutation.sample(arch, 6, generator=random(8)).apply(arch, weights)
    again, _ = canonical_form(arch, moved)
    assert all(torch.equal(again[name], form[name]) for name in form)
    assert all(torch.equal(by.apply(arch, weights)[name], form[name]) for name in form)
    back = by.inverse().apply(arch, form)
    assert all(torch.equal(back[name], weights[name]) for name in weights)
    assert torch.allclose(outputs(cell, form), outputs(cell, weights), atol=1e-12)
    assert not torch.allclose(form[f"{cell}.weight_hh_l0"][0], form[f"{cell}.weight_hh_l0"][1])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_planted_permutations_are_recovered(cell, noise):
    arch = Architecture(cell, 2, 6, 32, 6)
    for seed in range(4):
        network = initial_weights(arch, 3, seed)
        planted = SignedPermutation.sample(arch, generator=random(seed))
        other = planted.apply(arch, network)
        other = {
            name: tensor + noise * torch.randn(tensor.shape, generator=random(9)) for name, tensor in other.items()
        }
        found = align(arch, network, to=other)
        assert all(torch.equal(a, b) for a, b in zip(found.orders, planted.orders, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(found.signs, planted.signs, strict=True))


def test_alignment_reduces_the_distance():
    arch = architecture("lstm")
    for seed in range(5):
        one, other = initial_weights(arch, 5, seed), initial_weights(arch, 6, seed)
        moved = align(arch, one, to=other).apply(arch, one)

        def distance(weights: dict[str, torch.Tensor], to: dict[str, torch.Tensor] = other) -> float:
            return sum(float(((weights[name] - to[name]) ** 2).sum()) for name in weights)

        assert distance(moved) < distance(one)
