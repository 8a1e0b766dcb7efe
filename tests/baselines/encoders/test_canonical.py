"""Canonical encoders: invariant to signed permutations, equal to the plain encoders on canonical weights."""

import pytest
import torch
from conftest import CELLS

from rnn_zoos.baselines.encoders.encoder import Encoder, embeddings_of
from rnn_zoos.baselines.encoders.layers import StandardiseGates
from rnn_zoos.baselines.encoders.registry import make_encoder
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.weights import stack_weights
from rnn_zoos.symmetry.canonical import canonical_form
from rnn_zoos.symmetry.signed import SignedPermutation

SIZES = {
    "canonical-flat": {"hidden": 13},
    "canonical-transformer": {"width": 12, "heads": 3, "layers": 2, "feedforward": 9},
}


def architecture(cell: str = "lstm") -> Architecture:
    return Architecture(cell, 3, 4, 5, 6)


def networks(arch: Architecture, count: int) -> dict[str, torch.Tensor]:
    return stack_weights([initial_weights(arch, 11, run) for run in range(count)])


def encoder_of(name: str, arch: Architecture) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        encoder = make_encoder(name, arch, 7, **SIZES[name.removeprefix("plain-")])
    encoder.fit_inputs(networks(arch, 9))
    return encoder


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_signed_permutations_do_not_change_the_embedding_at_all(cell, name):
    arch = architecture(cell)
    weights, encoder = networks(arch, 8), encoder_of(name, arch)
    moved = SignedPermutation.sample(arch, 8, generator=torch.Generator().manual_seed(3)).apply(arch, weights)
    embeddings = embeddings_of(encoder, weights)
    assert torch.equal(embeddings_of(encoder, moved), embeddings)
    incomplete = {**weights, f"{cell}.weight_hh_l1": moved[f"{cell}.weight_hh_l1"]}
    assert (embeddings_of(encoder, incomplete) - embeddings).norm(dim=1).min() > 1e-4, "one tensor alone"


@pytest.mark.parametrize(("name", "plain"), [("canonical-flat", "flat"), ("canonical-transformer", "transformer")])
def test_a_canonical_encoder_is_the_plain_encoder_on_canonical_weights(name, plain):
    arch = architecture("gru")
    encoder, weights = encoder_of(name, arch), networks(arch, 6)
    reference = make_encoder(plain, arch, 7, **SIZES[name])
    part = reference.head if plain == "flat" else reference.transformer
    part.load_state_dict(encoder.head.state_dict())
    reference.fit_inputs(canonical_form(arch, networks(arch, 9))[0])
    expected = embeddings_of(reference, canonical_form(arch, weights)[0])
    assert torch.allclose(embeddings_of(encoder, weights), expected, atol=1e-6)
    assert not torch.allclose(embeddings_of(reference, weights), expected, atol=1e-2)


@pytest.mark.parametrize("name", SIZES)
def test_kept_features_are_the_standardised_canonical_weights(name):
    arch = architecture()
    encoder, weights = encoder_of(name, arch), networks(arch, 6)
    features = encoder.features(weights, None)
    assert features.shape == (6, arch.num_parameters) and not features.requires_grad
    assert torch.equal(encoder.read(features), encoder.embed(weights, None))
    encoder.fit_inputs(weights)
    fitted = encoder.features(weights, None)
    assert abs(fitted.mean().item()) < 1e-5 and fitted.square().mean().item() == pytest.approx(1, abs=1e-4)


def test_ties_break_the_invariance():
    """Two units with equal sums but different recurrent weights keep the order in which they were given."""
    arch = Architecture("rnn", 1, 2, 2, 2)
    weights = {name: tensor[:1].clone() for name, tensor in networks(arch, 1).items()}
    weights["rnn.weight_ih_l0"] = torch.tensor([[[0.25, 0.5], [0.5, 0.25]]])
    swap = SignedPermutation((torch.tensor([[1, 0]]),), (torch.ones(1, 2),))
    encoder = make_encoder("canonical-flat", arch)
    apart = embeddings_of(encoder, swap.apply(arch, weights)) - embeddings_of(encoder, weights)
    assert apart.norm() > 1e-4


def test_flat_standardised_weights_equal_those_with_an_axis_of_gates():
    arch = architecture("gru")
    standardise, weights = StandardiseGates(arch), networks(arch, 6)
    standardise.fit(weights)
    expected = torch.cat([tensor.flatten(1) for tensor in standardise(weights).values()], dim=1)
    assert torch.equal(standardise.flat(weights), expected)
