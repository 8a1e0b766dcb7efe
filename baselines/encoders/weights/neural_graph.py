"""Neural graph: message passing on the computation graph of a recurrent network.

Kofinas et al. (2024, "Graph Neural Networks for Learning Equivariant Representations of Neural Networks", ICLR) read
feed-forward networks as graphs: neurons are nodes, weights are edges. Here the graph has recurrent edges, too:

    nodes    inputs, hidden units of all layers, outputs
             features: a learned vector per input, per layer and per output, plus a linear map of the biases
    edges    "input": input -> unit of layer 0               "upward": unit -> unit of the next layer
             "recurrent": unit -> unit of the same layer     "output": unit of the last layer -> output
             features: a linear map of the weights of all gates and a constant; for recurrent edges also of whether
             the edge is a loop

A round of message passing computes new nodes and edges; an edge e joins the nodes s and t:

    message to t     Q (e ⊗ [W s, 1])                every channel of the edge scales every channel of the projected
                                                     node, and is added: feature-wise linear modulation of s by e
    message to s     the same from t, with other matrices, so that units know what reads them
    new node         LayerNorm(node + B ReLU(A node + sum of its messages + a))
    new edge         e + ReLU(U e + V s + T t + b)   not in the last round, after which nothing reads the edges

The messages along one kind of edge are summed and divided by the square root of their number. The embedding is an MLP
of the mean node of the inputs, of every layer and of the outputs.

The units of a layer start alike, so the embedding does not depend on their order; it does depend on their signs. The
parameters of a round are shared by all layers and do not depend on the number of units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Encoder, Information, Weights
from rnn_zoos.baselines.encoders.layers import StandardiseGates, mlp
from rnn_zoos.baselines.encoders.weights.graph_layers import Update, edge_step
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.stack import NetworkStack

RANK = 8
"""R, the channels of a projected node [W s, 1], with the constant."""


@dataclass(frozen=True)
class Ends:
    """The two sets of nodes that the edges of one kind join, of one network: `copies` graphs of rows and columns.

    Attributes:
        copies: Number of pairs of layers with such edges.
        rows: Positions of all rows among the nodes: those of the first graph, then those of the next.
        columns: Positions of all columns.
    """

    copies: int
    rows: slice
    columns: slice

    def split(self, of_rows: Tensor, of_columns: Tensor) -> tuple[Tensor, Tensor]:
        """Return features of rows [M copies, A, F] and columns [M copies, B, F], from those of all nodes [M, *, F]."""
        parts = of_rows[:, self.rows], of_columns[:, self.columns]
        rows, columns = (
            part.reshape(len(part) * self.copies, part.shape[1] // self.copies, part.shape[2]) for part in parts
        )
        return rows, columns


def ends_of(architecture: Architecture) -> dict[str, Ends]:
    """Return the ends of each kind of edge. Nodes are ordered: inputs, units layer by layer, outputs.

    Rows are the nodes that edges lead to. For inputs it is the other way round: matrices with few rows are faster.
    """
    size, depth, inputs = architecture.hidden_size, architecture.num_layers, architecture.input_size
    units = inputs + depth * size
    ends = {
        "input": Ends(1, slice(0, inputs), slice(inputs, inputs + size)),
        "recurrent": Ends(depth, slice(inputs, units), slice(inputs, units)),
        "output": Ends(1, slice(units, units + architecture.output_size), slice(units - size, units)),
    }
    if depth > 1:
        ends["upward"] = Ends(depth - 1, slice(inputs + size, units), slice(inputs, units - size))
    return ends


class Round(nn.Module):
    """One round of message passing.

    Args:
        ends: Ends of each kind of edge.
        width: D, channels of nodes.
        edge_width: C, channels of edges.
        last: Whether it is the last round, which leaves the edges as they are.
    """

    def __init__(self, ends: dict[str, Ends], width: int, edge_width: int, last: bool) -> None:
        super().__init__()
        self.ends = ends
        # All that the round needs of a node, by one product: A node + a, then for each kind of edge the projections of
        # rows and columns and their parts of the update.
        parts = [RANK - 1, RANK - 1] if last else [RANK - 1, RANK - 1, edge_width, edge_width]
        self.sizes = [width, *parts * len(ends)]
        self.of_nodes = nn.Linear(width, sum(self.sizes))
        self.to_rows = nn.ModuleDict({kind: nn.Linear(RANK * edge_width, width, bias=False) for kind in ends})
        self.to_columns = nn.ModuleDict({kind: nn.Linear(RANK * edge_width, width, bias=False) for kind in ends})
        self.mixes = nn.ParameterDict()
        if not last:
            self.mixes.update({kind: torch.randn(edge_width, edge_width) / edge_width**0.5 for kind in ends})
        self.change, self.norm = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, nodes: Tensor, edges: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return nodes [M, V, D] and edges, kind -> [M copies, A, C, B], after the round."""
        own, *parts = self.of_nodes(nodes).split(self.sizes, dim=-1)
        per_kind = len(parts) // len(self.ends)
        messages, new_edges = {}, {}
        for number, (kind, ends) in enumerate(self.ends.items()):
            rows, columns, *of_update = parts[number * per_kind : (number + 1) * per_kind]
            update: Update | None = (self.mixes[kind], *ends.split(*of_update)) if of_update else None
            rows, columns = (_with_constant(part) for part in ends.split(rows, columns))
            to_rows, to_columns, new_edges[kind] = edge_step(edges[kind], rows, columns, update)
            messages[kind] = [
                to_ends[kind](sums).view(len(nodes), -1, nodes.shape[2])
                for to_ends, sums in ((self.to_rows, to_rows), (self.to_columns, to_columns))
            ]
        new_nodes: Tensor = self.norm(nodes + self.change((own + _received(messages)).relu()))
        return new_nodes, new_edges


def _with_constant(projected: Tensor) -> Tensor:
    """Append 1 to projected nodes [N, B, R - 1], and divide by the square root of B, the number of messages."""
    joined = torch.cat([projected, torch.ones_like(projected[..., :1])], dim=-1)
    return joined / math.sqrt(projected.shape[1])


def _received(messages: dict[str, list[Tensor]]) -> Tensor:
    """Return the sum of all messages to every node, [M, V, D], from those to rows and columns by kind of edge."""
    to_inputs, to_first = messages["input"]
    to_outputs, to_last = messages["output"]
    to_upper, to_lower = ([message] for message in messages["upward"]) if "upward" in messages else ([], [])
    recurrent = messages["recurrent"][0] + messages["recurrent"][1]
    units = recurrent + torch.cat([to_first, *to_upper], dim=1) + torch.cat([*to_lower, to_last], dim=1)
    return torch.cat([to_inputs, units, to_outputs], dim=1)


class NeuralGraphEncoder(Encoder):
    """Message passing on the computation graph: by default 3 rounds, nodes of 32 channels, edges of 4.

    Made for all cells, and any numbers of layers and units.
    """

    information: ClassVar[Information] = "weights"

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        width: int = 32,
        edge_width: int = 4,
        layers: int = 3,
    ) -> None:
        super().__init__(architecture, embedding_size)
        gates, depth = GATES[architecture.cell], architecture.num_layers
        self.standardise = StandardiseGates(architecture)
        self.inputs = nn.Parameter(torch.randn(architecture.input_size, width))
        self.layers = nn.Parameter(torch.randn(depth, 1, width))
        self.outputs = nn.Parameter(torch.randn(architecture.output_size, width))
        self.unit_biases = nn.Linear(2 * gates, width, bias=False)
        self.output_bias = nn.Linear(1, width, bias=False)
        ends = ends_of(architecture)
        features = {"input": gates + 1, "upward": gates + 1, "recurrent": gates + 2, "output": 2}
        self.edge_maps = nn.ParameterDict(
            {kind: torch.randn(edge_width, features[kind]) / features[kind] ** 0.5 for kind in ends}
        )
        self.rounds = nn.ModuleList(Round(ends, width, edge_width, number == layers - 1) for number in range(layers))
        self.head = mlp((depth + 2) * width, 4 * width, 1, embedding_size)

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Compute means and standard deviations of the training networks' weights."""
        self.standardise.fit(weights)

    def graph(self, weights: Weights) -> tuple[Tensor, dict[str, Tensor]]:
        """Return nodes [M, V, D] and edges, kind -> [M copies, A, C, B], before the first round."""
        tensors = self.standardise(weights)
        layers = [
            [tensors[name] for name in self.architecture.layer_shapes(layer)]
            for layer in range(self.architecture.num_layers)
        ]
        biases = torch.stack([torch.cat(layer[2:], dim=1) for layer in layers], dim=1)  # [M, L, 2 G, H]
        networks = len(biases)
        units = self.layers + self.unit_biases(biases.transpose(2, 3))
        outputs = self.outputs + self.output_bias(tensors["linear.bias"].transpose(1, 2))
        nodes = torch.cat([self.inputs.expand(networks, -1, -1), units.flatten(1, 2), outputs], dim=1)
        matrices = {
            "input": [layers[0][0].transpose(2, 3)],
            "upward": [layer[0] for layer in layers[1:]],
            "recurrent": [layer[1] for layer in layers],
            "output": [tensors["linear.weight"]],
        }
        edges = {kind: self._edges(kind, torch.stack(matrices[kind], dim=1).flatten(0, 1)) for kind in self.edge_maps}
        return nodes, edges

    def _edges(self, kind: str, weights: Tensor) -> Tensor:
        """Return the features [N, A, C, B] of edges with weights [N, G, A, B]."""
        number, _, height, width = weights.shape
        features = [weights.transpose(1, 2), weights.new_ones(()).expand(number, height, 1, width)]
        if kind == "recurrent":
            loops = torch.eye(height, dtype=weights.dtype, device=weights.device)
            features.append(loops[:, None].expand(number, -1, -1, -1))
        joined = torch.cat(features, dim=2).flatten(0, 1)  # [N A, G + 1 or 2, B]
        edges = torch.bmm(self.edge_maps[kind].expand(len(joined), -1, -1), joined)
        return edges.view(number, height, edges.shape[1], width)

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z]."""
        nodes, edges = self.graph(weights)
        for one_round in self.rounds:
            nodes, edges = one_round(nodes, edges)
        size = self.architecture.hidden_size
        groups = [self.architecture.input_size, *[size] * self.architecture.num_layers, self.architecture.output_size]
        pooled = [group.mean(dim=1) for group in nodes.split(groups, dim=1)]
        embeddings: Tensor = self.head(torch.cat(pooled, dim=1))
        return embeddings
