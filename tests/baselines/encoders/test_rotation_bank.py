"""The rotation bank: rotated digits, and a head that is equivariant to rotations."""

import math

import pytest
import torch

from rnn_zoos import Architecture, NetworkStack, RecurrentNetwork, stack_weights
from rnn_zoos.baselines.encoders.encoder import embeddings_of
from rnn_zoos.baselines.encoders.probes.rotation_bank import CircularHead, RotationBank, rotated_copies
from rnn_zoos.errors import EncoderError
from rnn_zoos.families.rotation import from_tiles, to_tiles

ARCHITECTURE = Architecture("lstm", 1, 16, 8, 10)


def digits(count: int) -> torch.Tensor:
    """Sequences of a zero input and 49 tiles of random pixels."""
    pixels = torch.rand(count, 784, generator=torch.Generator().manual_seed(0)) - 0.4
    return torch.cat([torch.zeros(count, 1, 16), to_tiles(pixels)], dim=1)


def test_copies_are_rotated_by_equal_steps_counter_clockwise():
    copies = rotated_copies(digits(3), 8)
    assert copies.shape == (3, 8, 50, 16) and bool((copies[:, :, 0] == 0).all())
    images = from_tiles(copies[:, :, 1:]).view(3, 8, 28, 28)
    assert torch.equal(images[:, 0], from_tiles(digits(3)[:, 1:]).view(3, 28, 28))
    for quarter in range(4):
        assert torch.equal(images[:, 2 * quarter], torch.rot90(images[:, 0], quarter, dims=(1, 2)))
    assert torch.equal(images[:, 1, 0, 0], images[:, 0].flatten(1).amin(1)), "corners from outside are black"


@pytest.mark.parametrize("shift", [1, 3])
def test_a_rotated_network_rotates_the_fourier_coefficients_and_keeps_the_means(shift):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        head = CircularHead(features=6, angles=7, embedding_size=5, hidden=9, channels=4)
    features = torch.randn(3, 6, 7, generator=torch.Generator().manual_seed(2))
    before, after = head.coefficients(features), head.coefficients(features.roll(shift, dims=2))
    assert torch.allclose(before[..., 0], after[..., 0], atol=1e-5) and before[..., 0].std() > 1e-3
    for harmonic, place in ((1, 1), (2, 3)):
        angle = 2 * math.pi * harmonic * shift / 7
        turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        assert torch.allclose(before[..., place : place + 2] @ turn, after[..., place : place + 2], atol=1e-5)
    assert not torch.allclose(head(features), head(features.roll(shift, dims=2)), atol=1e-4)


def test_features_are_the_answers_of_single_networks_by_digit_step_and_angle():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        weights = stack_weights([RecurrentNetwork(ARCHITECTURE).weights() for _ in range(2)])
        encoder = RotationBank(ARCHITECTURE, 5, digits=3, angles=4, read_steps=(7, 49), hidden=6, channels=3)
    encoder.fit_inputs(weights, digits(5))
    stack = NetworkStack(ARCHITECTURE, weights)
    features = encoder.features(weights, stack).view(2, 3, 2, 20, 4)  # [M, K, steps, answers, A]
    chosen = encoder.questions.view(3, 4, 50, 16)
    outputs, _ = stack(chosen[2, 3][None])
    assert torch.allclose(features[:, 2, 1, :10, 3], outputs[:, 0, 49].softmax(-1), atol=1e-6)
    assert torch.allclose(features[:, 2, 0, :10, 3], outputs[:, 0, 7].softmax(-1), atol=1e-6)
    assert encoder.num_queries == 3 * 4 * 50 and embeddings_of(encoder, weights, stack).shape == (2, 5)


def test_it_needs_networks_and_sequences_of_digits():
    with pytest.raises(EncoderError, match="this architecture has 6 inputs"):
        RotationBank(Architecture("lstm", 1, 6, 8, 6))
    encoder = RotationBank(ARCHITECTURE, digits=3, angles=4)
    for sequences in (None, digits(2), digits(4)[:, :20]):
        with pytest.raises(EncoderError, match="needs 3 training sequences"):
            encoder.fit_inputs({}, sequences)
