"""ProbeGen: probe sequences from a deep linear generator that all probes share.

Kahana et al. (2025, "Deep Linear Probe Generators for Weight Space Learning", ICLR) learn probes as the images of
latent codes under a generator without activations: it restricts them to what a few shared factors can express, and the
product of its matrices favours simple ones. Here a probe is a sequence:

    q_n = G_3 G_2 G_1 z_n + b           n = 1..N; z_n a learned code [latent]; q_n logits [T, I]
    u_n = ask(q_n)                      one-hot of the largest logit of each step, or q_n if inputs are no symbols
    embedding = MLP(answers of the network to u_1..u_N)

Questions, answers and the start are those of `probing`: for symbols b starts with BOS in the first step and answers are
log-probabilities; the embeddings start standardised on training networks.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Weights
from rnn_zoos.baselines.encoders.layers import mlp
from rnn_zoos.baselines.encoders.probes.queries import Answers, Questions, answer_size, ask, input_kind, read_answers
from rnn_zoos.baselines.encoders.probes.query_encoder import BOS_LOGIT, QueryEncoder
from rnn_zoos.families.benchmark import InputKind
from rnn_zoos.families.language_strings import BOS
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack


class ProbeGenerator(nn.Module):
    """A deep linear map of N learned codes to N sequences of logits [T, I].

    The matrices start so that the logits have deviation 1. Only the last map has a bias, which is that of all.
    """

    def __init__(self, sequences: int, steps: int, inputs: int, latent: int, layers: int) -> None:
        super().__init__()
        self.steps = steps
        self.codes = nn.Parameter(torch.randn(sequences, latent))
        sizes = [latent] * layers + [steps * inputs]
        self.maps = nn.ParameterList(torch.randn(after, before) / before**0.5 for before, after in pairwise(sizes))
        self.bias = nn.Parameter(torch.zeros(steps, inputs))

    def forward(self) -> Tensor:
        """Return the logits [N, T, I]."""
        hidden: Tensor = self.codes
        for matrix in self.maps:
            hidden = hidden @ matrix.T
        logits: Tensor = hidden.unflatten(1, self.bias.shape) + self.bias
        return logits


class ProbeGen(QueryEncoder):
    """An MLP on the networks' outputs for generated probe sequences.

    By default 4 sequences of 22 steps for symbols, 2 of 50 for other inputs (a digit has 50 steps); codes of 32
    numbers, three linear maps; two hidden layers of 256.

    Args:
        architecture, embedding_size, steps, questions, answers, inputs: As for `QueryEncoder`.
        sequences: N, probe sequences; by default 4 for networks that read symbols, else 2.
        latent: Entries of a code, and of the results of all linear maps but the last.
        generator_layers: Number of linear maps.
        hidden: Units of a hidden layer of the MLP.
        layers: Hidden layers of the MLP.

    Attributes:
        generator: Makes the logits of the probe sequences.
    """

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        sequences: int | None = None,
        steps: int | None = None,
        latent: int = 32,
        generator_layers: int = 3,
        hidden: int = 256,
        layers: int = 2,
        questions: Questions | None = None,
        answers: Answers | None = None,
        inputs: InputKind | None = None,
    ) -> None:
        sequences = sequences or (2 if input_kind(architecture, inputs) == "numbers" else 4)
        super().__init__(architecture, embedding_size, sequences, steps, questions, answers, inputs)
        self.generator = ProbeGenerator(self.sequences, self.steps, architecture.input_size, latent, generator_layers)
        if self.starts_with_bos:
            with torch.no_grad():
                self.generator.bias[0, BOS] = BOS_LOGIT
        features = self.sequences * self.steps * answer_size(architecture, self.answers_form)
        self.head = mlp(features, hidden, layers, embedding_size)

    def probes(self) -> Tensor:
        """Return the probe sequences [N, T, I] that networks read."""
        return ask(self.generator(), self.questions_form)

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z]."""
        assert stack is not None, "checked by Encoder.forward"
        outputs, _ = stack(self.probes())  # [M, N, T, O]
        embeddings: Tensor = self.head(read_answers(outputs, self.answers_form).flatten(1))
        return embeddings
