"""Fixed probes: an MLP reads the outputs of a network on probe sequences that are never learned.

The probe sequences are random, drawn from the training data, or selected from the training data by how well the
networks' outputs on them predict their outputs on other sequences. The features, N T O output probabilities, are
computed once per network.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.baselines.encoders.encoder import Information, Weights
from rnn_zoos.baselines.encoders.feature_encoder import FeatureEncoder
from rnn_zoos.baselines.encoders.layers import mlp
from rnn_zoos.baselines.encoders.probes.queries import Answers, answer_size, input_kind, read_answers, responses
from rnn_zoos.errors import EncoderError
from rnn_zoos.families.benchmark import Benchmark, InputKind
from rnn_zoos.families.language_strings import LENGTH
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack

CANDIDATES = 256
"""Sequences of the training data from which probe sequences are chosen."""
SELECTION_NETWORKS = 128
"""Training networks whose responses decide which candidates are selected."""
RIDGE = 0.1
"""Regularisation of the regression of `select_probes`, relative to the mean variance of a candidate's responses."""


class RandomProbes(FeatureEncoder):
    """An MLP on the answers to random probe sequences: uniform symbols, or normal noise for other inputs.

    By default N=2 sequences of T=41 steps (symbols) or 50 steps (other inputs), and two hidden layers of 256.

    Attributes:
        questions: The probe sequences, [N, T, I].
    """

    information: ClassVar[Information] = "queries"
    mixed = True
    questions: Tensor

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        sequences: int = 2,
        steps: int | None = None,
        hidden: int = 256,
        layers: int = 2,
        answers: Answers = "probabilities",
        inputs: InputKind | None = None,
    ) -> None:
        super().__init__(architecture, embedding_size)
        symbols, count = input_kind(architecture, inputs) != "numbers", architecture.input_size
        steps = steps or (LENGTH - 1 if symbols else 50)  # a whole string, a whole digit
        self.answers_form: Answers = answers
        if symbols:
            probes = F.one_hot(torch.randint(count, (sequences, steps)), count).float()
        else:
            probes = torch.randn(sequences, steps, count)
        self.seed = int(torch.randint(2**31, ()))  # of the draws from the training data, in `fit_inputs`
        self.register_buffer("questions", probes)
        self.head = mlp(sequences * steps * answer_size(architecture, answers), hidden, layers, embedding_size)

    @classmethod
    def family_options(cls, benchmark: Benchmark) -> dict[str, Any]:
        """Return the kind of inputs and the length of whole sequences of a zoo."""
        return {"inputs": benchmark.input_kind, "steps": benchmark.steps}

    @property
    def num_queries(self) -> int:
        """Number of steps that a network is run for to embed it."""
        return int(self.questions.shape[0] * self.questions.shape[1])

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return the answers [M, N T O], or [M, N T 2 O] for answers of the form `both`."""
        assert stack is not None, "checked by Encoder.forward"
        outputs, _ = stack(self.questions)
        return read_answers(outputs, self.answers_form).flatten(1)


class DataProbes(RandomProbes):
    """`RandomProbes` with probe sequences drawn from the inputs of training networks."""

    information: ClassVar[Information] = "data"

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Choose the probe sequences from `sequences` [C, T', I]. Raises EncoderError if they are too few or short."""
        number, steps, _ = self.questions.shape
        if sequences is None or len(sequences) < number or sequences.shape[1] < steps:
            found = None if sequences is None else tuple(sequences.shape)
            raise EncoderError(
                f"{type(self).__name__} needs {number} training sequences of at least {steps} steps; found {found}."
            )
        generator = torch.Generator().manual_seed(self.seed)
        candidates = sequences[torch.randperm(len(sequences), generator=generator)[:CANDIDATES], :steps]
        self.questions.copy_(candidates[self.choose(weights, candidates, generator)])

    def choose(self, weights: Weights, candidates: Tensor, generator: torch.Generator) -> list[int]:
        """Return the indices of the N candidates to use; `candidates` [C, T, I] are in random order."""
        return list(range(len(self.questions)))


class DataBank(DataProbes):
    """`DataProbes` with many sequences, and answers on a linear and a logarithmic scale: 16 sequences by default."""

    def __init__(self, architecture: Architecture, embedding_size: int = 16, **options: Any) -> None:  # noqa: ANN401
        super().__init__(architecture, embedding_size, **{"sequences": 16, "answers": "both", **options})


class SelectedProbes(DataProbes):
    """`DataProbes` with those probe sequences that `select_probes` selects (on the command line: telling-probes)."""

    mixed = False

    def choose(self, weights: Weights, candidates: Tensor, generator: torch.Generator) -> list[int]:
        """Return the indices of the N selected candidates [C, T, I], in order of selection."""
        rows = torch.randperm(len(next(iter(weights.values()))), generator=generator)[:SELECTION_NETWORKS]
        stack = NetworkStack(self.architecture, {name: tensor[rows] for name, tensor in weights.items()})
        with torch.no_grad():
            found = torch.stack([responses(stack, candidate[None]).flatten(1) for candidate in candidates])
        return select_probes(found, len(self.questions))


def select_probes(candidate_responses: Tensor, number: int) -> list[int]:
    """Select `number` of C probe sequences greedily, by the responses [C, M, F] of M networks to them.

    Each selection minimises the residual sum of squares of a ridge regression, over networks, from the responses to the
    selected sequences to the responses to all C sequences. With Y_c the responses to sequence c, centred over networks,
    kernels K_c = Y_c Y_c', K_all the sum over all sequences, K_S the sum over selected ones, and ridge r, that is
    r^2 tr((K_S + r)^-1 K_all (K_S + r)^-1).
    """
    centred = candidate_responses - candidate_responses.mean(dim=1, keepdim=True)
    kernels = centred @ centred.transpose(1, 2)  # [C, M, M]
    total = kernels.sum(dim=0)
    ridge = RIDGE * total.diagonal().mean() / len(candidate_responses)
    regularised = ridge * torch.eye(candidate_responses.shape[1], device=candidate_responses.device)  # K_S + r
    selected = list[int]()
    for _ in range(number):
        residuals = [
            torch.inf if candidate in selected else residual_variance(regularised + kernel, total)
            for candidate, kernel in enumerate(kernels)
        ]
        selected.append(min(range(len(residuals)), key=residuals.__getitem__))
        regularised = regularised + kernels[selected[-1]]
    return selected


def residual_variance(regularised: Tensor, total: Tensor) -> float:
    """Return tr(A^-1 K A^-1) of symmetric matrices [M, M], A = `regularised` and K = `total`."""
    inverse = torch.linalg.inv(regularised)
    return float((inverse @ total * inverse).sum())
