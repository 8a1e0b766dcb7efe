"""Fixed questions: random ones, some of the training data, or those of it whose answers tell most about the others."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.baselines.encoders.encoder import FeatureEncoder, Information, Weights, mlp
from rnn_zoos.errors import EncoderError
from rnn_zoos.families.formal_languages import LENGTH
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack

CANDIDATES = 256  # sequences that are chosen from
ASKED = 128  # training networks that are asked them all
_NOISE = 0.1  # of the ridge that predicts answers from answers, in units of the variance of all of them


class RandomProbes(FeatureEncoder):
    """An MLP on answers to sequences that are drawn once and never learned: random symbols, or normal noise."""

    information: ClassVar[Information] = "queries"
    questions: Tensor

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        sequences: int = 2,
        steps: int | None = None,
        hidden: int = 256,
        layers: int = 2,
    ) -> None:
        super().__init__(architecture, embedding_size)
        inputs = architecture.input_size
        writes = inputs == architecture.output_size  # what it reads: symbols
        steps = steps or (LENGTH - 1 if writes else 44)  # 82 and 88 queries, as many as the probing encoders have
        if writes:
            questions = F.one_hot(torch.randint(inputs, (sequences, steps)), inputs).float()
        else:
            questions = torch.randn(sequences, steps, inputs)
        self.seed = int(torch.randint(2**31, ()))  # of what is drawn when data are seen
        self.register_buffer("questions", questions)
        self.head = mlp(sequences * steps * architecture.output_size, hidden, layers, embedding_size)

    @property
    def num_queries(self) -> int:
        """Steps that it runs a network for, to embed it."""
        return int(self.questions.shape[0] * self.questions.shape[1])

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return probabilities of all answers, [M, N T O]."""
        assert stack is not None, "Encoder.forward looks for it"
        return answers(stack, self.questions).flatten(1)


class DataProbes(RandomProbes):
    """The same with sequences drawn from what training networks have read."""

    information: ClassVar[Information] = "data"

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Take the questions. Raises EncoderError without enough sequences."""
        number, steps, _ = self.questions.shape
        if sequences is None or len(sequences) < number or sequences.shape[1] < steps:
            found = None if sequences is None else tuple(sequences.shape)
            raise EncoderError(
                f"{type(self).__name__} asks {number} sequences of the data, of {steps} steps; it was given {found}."
            )
        generator = torch.Generator().manual_seed(self.seed)
        candidates = sequences[torch.randperm(len(sequences), generator=generator)[:CANDIDATES], :steps]
        self.questions.copy_(candidates[self.choose(weights, candidates, generator)])

    def choose(self, weights: Weights, candidates: Tensor, generator: torch.Generator) -> list[int]:
        """Return which of the candidates [C, T, I], in random order, are asked."""
        return list(range(len(self.questions)))


class TellingProbes(DataProbes):
    """The same with those sequences whose answers predict the training networks' answers to all others best."""

    def choose(self, weights: Weights, candidates: Tensor, generator: torch.Generator) -> list[int]:
        """Return the most telling of the candidates [C, T, I], one after the other."""
        rows = torch.randperm(len(next(iter(weights.values()))), generator=generator)[:ASKED]
        stack = NetworkStack(self.architecture, {name: tensor[rows] for name, tensor in weights.items()})
        with torch.no_grad():
            given = torch.stack([answers(stack, one[None]).flatten(1) for one in candidates])
        return most_telling(given, len(self.questions))


def answers(stack: NetworkStack, questions: Tensor) -> Tensor:
    """Return probabilities [M, N, T, O] that M networks answer to questions [N, T, I]."""
    outputs, _ = stack(questions)
    return outputs.softmax(dim=-1)


def most_telling(given: Tensor, number: int) -> list[int]:
    """Choose `number` of C questions greedily, by the answers [C, M, A] that M networks gave.

    What is chosen next leaves least of the variance of all answers, between networks, to ridge regression on the
    answers chosen so far. With kernels K = Y Y' of answers, Y, centred over networks, K_all (of all) and K_S (of the
    chosen), and ridge r, regression leaves r^2 tr((K_S + r)^-1 K_all (K_S + r)^-1).
    """
    centred = given - given.mean(dim=1, keepdim=True)
    kernels = centred @ centred.transpose(1, 2)
    everything = kernels.sum(dim=0)
    ridge = _NOISE * everything.diagonal().mean() / len(given)
    known, chosen = ridge * torch.eye(given.shape[1], device=given.device), list[int]()
    for _ in range(number):
        left = [
            torch.inf if question in chosen else unexplained(known + kernel, everything)
            for question, kernel in enumerate(kernels)
        ]
        chosen.append(min(range(len(left)), key=left.__getitem__))
        known = known + kernels[chosen[-1]]
    return chosen


def unexplained(known: Tensor, everything: Tensor) -> float:
    """Return tr(known^-1 everything known^-1) of symmetric matrices [M, M]: with K_S + r, what is left over r^2."""
    inverse = torch.linalg.inv(known)
    return float((inverse @ everything * inverse).sum())
