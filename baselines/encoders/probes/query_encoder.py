"""What encoders share that query networks with N learned sequences of T steps."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Information
from rnn_zoos.baselines.encoders.feature_encoder import FittedToNetworks
from rnn_zoos.baselines.encoders.layers import standardise_outputs
from rnn_zoos.baselines.encoders.probes.queries import (
    Answers,
    Questions,
    check_questions,
    evenly_spaced,
    input_kind,
)
from rnn_zoos.families.benchmark import Benchmark, InputKind
from rnn_zoos.families.language_strings import NUM_SYMBOLS
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack

BOS_LOGIT = 5.0
"""Initial logit of BOS in first questions; the other logits start with deviation 1, or at 0."""
_FIT_NETWORKS = 256  # training networks that the embeddings are standardised on, before training


class QueryEncoder(FittedToNetworks):
    """An encoder that learns its queries, and whose embeddings start standardised on training networks.

    A subclass defines `head`, which returns the embeddings.

    Args:
        architecture: Architecture of the networks.
        embedding_size: Z, the number of entries of an embedding.
        sequences: N, probe sequences per network.
        steps: T, steps of each; by default 22 for networks that read symbols, else 50 (a digit has 50 steps).
        questions: How logits become questions; by default `symbols` for networks that read symbols, else `raw`.
        answers: How answers are read; by default `log` for networks that read symbols, else `both`.
        inputs: What networks read; by default what the architecture suggests (`queries.input_kind`).

    Attributes:
        starts_with_bos: Whether the first question is to start as BOS: networks write the symbols of the formal
            languages, and questions are symbols.

    Raises:
        UnknownNameError: There is no such form of questions.
    """

    information: ClassVar[Information] = "queries"
    head: nn.Module

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int,
        sequences: int,
        steps: int | None,
        questions: Questions | None,
        answers: Answers | None,
        inputs: InputKind | None,
    ) -> None:
        super().__init__(architecture, embedding_size)
        kind = input_kind(architecture, inputs)
        symbols = kind != "numbers"
        self.sequences, self.steps = sequences, steps or (22 if symbols else 50)
        self.questions_form: Questions = questions or ("symbols" if symbols else "raw")
        self.answers_form: Answers = answers or ("log" if symbols else "both")
        check_questions(self.questions_form)  # `answer_size` checks the form of answers
        # Other networks that write may have another BOS: their first questions are learned like all others.
        writes_letters = kind == "written" and architecture.input_size == NUM_SYMBOLS
        self.starts_with_bos = writes_letters and self.questions_form in ("symbols", "soft")

    @classmethod
    def family_options(cls, benchmark: Benchmark) -> dict[str, Any]:
        """Return the kind of inputs of a zoo."""
        return {"inputs": benchmark.input_kind}

    @property
    def num_queries(self) -> int:
        """Number of steps that a network is run for to embed it."""
        return self.sequences * self.steps

    @torch.no_grad()
    def fit_networks(self, networks: NetworkStack, sequences: Tensor | None = None) -> None:
        """Standardise the embeddings of training networks."""
        chosen = evenly_spaced(networks, _FIT_NETWORKS)
        standardise_outputs(self.head, self.embed(chosen.weights, chosen))
