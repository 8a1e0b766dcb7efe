"""Copy this file to start an encoder. `rnn-zoos benchmark --encoder my_module:MyModule` trains and evaluates it.

`MyModule` only reads weights: any `nn.Module` will do. `MyEncoder` also runs the networks, which needs an `Encoder`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rnn_zoos import Architecture, NetworkStack
from rnn_zoos.baselines import Encoder


class MyModule(nn.Module):
    """An MLP on the bias of the readout. `architecture` and `embedding_size` are passed because they are parameters."""

    def __init__(self, architecture: Architecture, embedding_size: int = 16) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(architecture.output_size, 64), nn.ReLU(), nn.Linear(64, embedding_size))

    def forward(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return embeddings [M, Z] of M networks from their stacked weights, name -> [M, *shape]."""
        embeddings: Tensor = self.mlp(weights["linear.bias"])
        return embeddings


class MyEncoder(Encoder):
    """Runs every network on one learned probe sequence; an MLP reads the outputs, and the bias of the readout."""

    information = "queries"  # "weights": `stack` is None; "data": `fit_inputs` also gets training sequences

    def __init__(self, architecture: Architecture, embedding_size: int = 16, steps: int = 10) -> None:
        super().__init__(architecture, embedding_size)
        self.probe = nn.Parameter(torch.randn(1, steps, architecture.input_size))
        features = (steps + 1) * architecture.output_size
        self.head = nn.Sequential(nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, embedding_size))

    @property
    def num_queries(self) -> int:
        """Number of steps that a network is run for to embed it."""
        return self.probe.shape[1]

    def embed(self, weights: Mapping[str, Tensor], stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z] from weights, name -> [M, *shape], and the same networks, ready to run."""
        assert stack is not None  # checked by Encoder.forward
        outputs, _ = stack(self.probe)  # [M, 1, T, O]
        embeddings: Tensor = self.head(torch.cat([outputs.flatten(1), weights["linear.bias"]], dim=1))
        return embeddings
