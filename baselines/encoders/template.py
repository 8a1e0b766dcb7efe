"""Copy this file to begin an encoder of your own; `rnn-zoos benchmark --encoder my_module:MyEncoder` measures it."""

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Encoder, Weights, mlp
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack


class MyEncoder(Encoder):
    """Asks every network one learned sequence, and reads its answers together with its readout's biases."""

    information = "queries"  # or "weights": then `stack` is None; or "data": then fit_inputs gets sequences

    def __init__(self, architecture: Architecture, embedding_size: int = 16, steps: int = 10) -> None:
        super().__init__(architecture, embedding_size)
        self.question = nn.Parameter(torch.randn(1, steps, architecture.input_size))
        self.head = mlp((steps + 1) * architecture.output_size, 64, 1, embedding_size)

    @property
    def num_queries(self) -> int:
        """Steps that it runs a network for, to embed it."""
        return self.question.shape[1]

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z] of weights name -> [M, *shape], and of the same networks, callable at once."""
        assert stack is not None
        answers, _ = stack(self.question)  # [M, 1, T, O]
        embeddings: Tensor = self.head(torch.cat([answers.flatten(1), weights["linear.bias"]], dim=1))
        return embeddings
