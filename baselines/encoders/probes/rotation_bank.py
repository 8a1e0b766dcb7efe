"""Rotation bank, a method of this project: networks that classify digits are shown the same digits at many angles.

K digits of the training data are rotated by A angles in equal steps; a network reads all of them. Its answers, at some
steps, are features [K F, A] that shift along the circle when the network was trained at another angle. The head keeps
this symmetry (Cohen and Welling, 2016, "Group Equivariant Convolutional Networks", here for A rotations):

    x_a = answers to all digits at angle a                                    [K F]
    u   = ReLU of the circular convolution over all angles of ReLU(W x_a + w) equivariant, [C, A]
    v   = mean over angles of u, and first and second Fourier coefficients    C + 4 C numbers
    embedding = MLP(v) + linear map of v

Digits need not be upright: an unknown angle of a digit is an offset that the convolution can learn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Information, Weights
from rnn_zoos.baselines.encoders.feature_encoder import FeatureEncoder
from rnn_zoos.baselines.encoders.layers import mlp
from rnn_zoos.baselines.encoders.probes.queries import read_answers
from rnn_zoos.errors import EncoderError
from rnn_zoos.families.benchmark import Benchmark
from rnn_zoos.families.rotation import NUM_TILES, TILE, from_tiles, rotation_table, to_tiles
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack

CLASSES = 10
READ_STEPS = (17, 25, 33, 41, 49)
"""Steps whose answers are read by default: from the upper third of a digit on, to its last tile."""


class CircularHead(nn.Module):
    """The head of `RotationBank`: from features [M, K F, A] to embeddings [M, Z].

    Attributes:
        read: Map of the answers at one angle, the same for all angles.
        turn: Circular convolution over all A angles.
        write: MLP from the invariants and coefficients to the embedding.
        skip: Linear map from the same.
    """

    harmonics: Tensor

    def __init__(self, features: int, angles: int, embedding_size: int, hidden: int, channels: int) -> None:
        super().__init__()
        self.read = nn.Linear(features, hidden)
        self.turn = nn.Conv1d(hidden, channels, angles)
        self.write = mlp(5 * channels, 128, 1, embedding_size)
        self.skip = nn.Linear(5 * channels, embedding_size)
        radians = 2 * math.pi * torch.arange(angles) / angles
        waves = [torch.ones(angles), *(wave(k * radians) for k in (1, 2) for wave in (torch.cos, torch.sin))]
        self.register_buffer("harmonics", torch.stack(waves) / angles)  # [5, A]

    def coefficients(self, features: Tensor) -> Tensor:
        """Return means and Fourier coefficients of the convolved features, [M, C, 5]: 1, cos, sin, cos 2, sin 2."""
        read = self.read(features.transpose(1, 2)).relu().transpose(1, 2)  # [M, hidden, A]
        around = torch.cat([read, read[..., :-1]], dim=-1)
        coefficients: Tensor = F.relu(self.turn(around)) @ self.harmonics.T
        return coefficients

    def forward(self, features: Tensor) -> Tensor:
        """Return embeddings [M, Z]."""
        coefficients = self.coefficients(features).flatten(1)
        embeddings: Tensor = self.write(coefficients) + self.skip(coefficients)
        return embeddings


class RotationBank(FeatureEncoder):
    """Reads the answers of networks to K digits at A angles, by default 8 at 24: 9,600 queries.

    Raises EncoderError for networks that do not read tiles of digits.

    Attributes:
        questions: The digits at all angles, [K A, T, I].
    """

    information: ClassVar[Information] = "data"
    mixed = True
    questions: Tensor

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        digits: int = 8,
        angles: int = 24,
        read_steps: Sequence[int] = READ_STEPS,
        hidden: int = 64,
        channels: int = 32,
    ) -> None:
        super().__init__(architecture, embedding_size)
        if not self.supports(architecture):
            raise EncoderError(
                f"A rotation bank shows digits in tiles of {TILE} x {TILE} pixels to networks with {CLASSES} outputs; "
                f"this architecture has {architecture.input_size} inputs and {architecture.output_size} outputs. "
                "Choose another encoder."
            )
        self.digits, self.angles, self.read_steps = digits, angles, list(read_steps)
        self.seed = int(torch.randint(2**31, ()))  # of the choice of digits, in `fit_inputs`
        self.register_buffer("questions", torch.zeros(digits * angles, NUM_TILES + 1, TILE**2))
        answers = 2 * CLASSES * len(self.read_steps) * digits
        self.head = CircularHead(answers, angles, embedding_size, hidden, channels)

    @classmethod
    def supports(cls, architecture: Architecture) -> bool:
        """Return whether the networks read tiles of digits."""
        return (architecture.input_size, architecture.output_size) == (TILE**2, CLASSES)

    @classmethod
    def supports_family(cls, benchmark: Benchmark) -> bool:
        """Return whether networks read numbers, such as pixels."""
        return benchmark.input_kind == "numbers"

    @property
    def num_queries(self) -> int:
        """Number of steps that a network is run for to embed it."""
        return int(self.questions.shape[0] * self.questions.shape[1])

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Choose digits among `sequences` [C, T, I] and rotate them. Raises EncoderError if there are too few."""
        expected = (NUM_TILES + 1, TILE**2)
        if sequences is None or len(sequences) < self.digits or tuple(sequences.shape[1:]) != expected:
            found = None if sequences is None else tuple(sequences.shape)
            raise EncoderError(f"A rotation bank needs {self.digits} training sequences {expected}; found {found}.")
        generator = torch.Generator().manual_seed(self.seed)
        chosen = sequences[torch.randperm(len(sequences), generator=generator)[: self.digits]]
        self.questions.copy_(rotated_copies(chosen, self.angles).flatten(0, 1))

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return the answers [M, K F, A]."""
        assert stack is not None, "checked by Encoder.forward"
        parts = []
        for questions in self.questions.split(2 * self.angles):  # all at once would take gigabytes
            outputs, _ = stack(questions)
            parts.append(read_answers(outputs[:, :, self.read_steps], "both").flatten(2))  # [M, N, F]
        answers: Tensor = torch.cat(parts, dim=1).unflatten(1, (self.digits, self.angles))
        return answers.transpose(2, 3).flatten(1, 2)


def rotated_copies(sequences: Tensor, angles: int) -> Tensor:
    """Return digits as networks read them, [K, T, I], rotated by multiples of 360 / A degrees: [K, A, T, I].

    Pixels that come from outside the image get the smallest value of the sequence's tiles, black.
    """
    first, tiles = sequences[:, :1], sequences[:, 1:]
    pixels = from_tiles(tiles)  # [K, 784]
    pixels = torch.cat([pixels, pixels.amin(dim=1, keepdim=True)], dim=1)
    turned = [to_tiles(pixels[:, rotation_table(360 * step / angles)]) for step in range(angles)]
    return torch.cat([first[:, None].expand(-1, angles, -1, -1), torch.stack(turned, dim=1)], dim=2)
