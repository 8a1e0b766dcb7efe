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

Networks of several architectures have their features in one form, so that all parameters are shared: a place for every
role that a gate can have (`gate_roles.py`), 0 where a cell lacks it; a learned vector for the first and for the last
layer, and one for each cell and for the logarithm of the number of units, which start at 0, so that a cell that was not
trained on has none. The MLP then reads the mean node of the inputs, of the first, of the last and of all layers, and of
the outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Information, Weights
from rnn_zoos.baselines.encoders.feature_encoder import FittedToNetworks, map_architectures
from rnn_zoos.baselines.encoders.layers import StandardiseGates, mlp
from rnn_zoos.baselines.encoders.weights.gate_roles import ROLES, StandardiseRoles
from rnn_zoos.baselines.encoders.weights.graph_layers import Update, edge_step
from rnn_zoos.errors import EncoderError
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.stack import NetworkStack

RANK = 8
"""R, the channels of a projected node [W s, 1], with the constant."""

KINDS = ("input", "recurrent", "output", "upward")
"""Kinds of edges, see above. A network of one layer lacks the last."""


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
        kinds: Kinds of edges, at least those of the networks that it will read.
        width: D, channels of nodes.
        edge_width: C, channels of edges.
        last: Whether it is the last round, which leaves the edges as they are.
    """

    def __init__(self, kinds: Sequence[str], width: int, edge_width: int, last: bool) -> None:
        super().__init__()
        self.kinds = kinds
        # All that the round needs of a node, by one product: A node + a, then for each kind of edge the projections of
        # rows and columns and their parts of the update.
        parts = [RANK - 1, RANK - 1] if last else [RANK - 1, RANK - 1, edge_width, edge_width]
        self.sizes = [width, *parts * len(kinds)]
        self.of_nodes = nn.Linear(width, sum(self.sizes))
        self.to_rows = nn.ModuleDict({kind: nn.Linear(RANK * edge_width, width, bias=False) for kind in kinds})
        self.to_columns = nn.ModuleDict({kind: nn.Linear(RANK * edge_width, width, bias=False) for kind in kinds})
        self.mixes = nn.ParameterDict()
        if not last:
            self.mixes.update({kind: torch.randn(edge_width, edge_width) / edge_width**0.5 for kind in kinds})
        self.change, self.norm = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(
        self, nodes: Tensor, edges: dict[str, Tensor], ends: Mapping[str, Ends]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return nodes [M, V, D] and edges, kind -> [M copies, A, C, B], after the round; `ends` as of `ends_of`."""
        own, *parts = self.of_nodes(nodes).split(self.sizes, dim=-1)
        per_kind = len(parts) // len(self.kinds)
        messages, new_edges = {}, {}
        for kind, joined in ends.items():
            first = per_kind * self.kinds.index(kind)
            rows, columns, *of_update = parts[first : first + per_kind]
            update: Update | None = (self.mixes[kind], *joined.split(*of_update)) if of_update else None
            rows, columns = (_with_constant(part) for part in joined.split(rows, columns))
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


class NeuralGraphEncoder(FittedToNetworks):
    """Message passing on the computation graph: by default 3 rounds, nodes of 32 channels, edges of 4.

    Made for all cells, and any numbers of layers and units.

    Args:
        architecture: Architecture of the networks.
        embedding_size: Z, the number of entries of an embedding.
        width: D, channels of nodes.
        edge_width: C, channels of edges.
        layers: Rounds of message passing.
        shared: Whether it embeds networks of all architectures with these inputs and outputs, by the same parameters.
            Otherwise each tensor and gate of one architecture has its own.
    """

    information: ClassVar[Information] = "weights"

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        width: int = 32,
        edge_width: int = 4,
        layers: int = 3,
        shared: bool = False,
    ) -> None:
        super().__init__(architecture, embedding_size)
        self.mixed = shared
        gates = len(ROLES) if shared else GATES[architecture.cell]
        places = 2 if shared else architecture.num_layers  # first and last layer, or each
        kinds = KINDS if shared else tuple(ends_of(architecture))
        self.standardise = StandardiseRoles() if shared else StandardiseGates(architecture)
        self.inputs = nn.Parameter(torch.randn(architecture.input_size, width))
        self.layers = nn.Parameter(torch.randn(places, 1, width))
        self.outputs = nn.Parameter(torch.randn(architecture.output_size, width))
        self.unit_biases = nn.Linear(2 * gates, width, bias=False)
        self.output_bias = nn.Linear(1, width, bias=False)
        features = {"input": gates + 1, "upward": gates + 1, "recurrent": gates + 2, "output": 2}
        self.edge_maps = nn.ParameterDict(
            {kind: torch.randn(edge_width, features[kind]) / features[kind] ** 0.5 for kind in kinds}
        )
        self.rounds = nn.ModuleList(Round(kinds, width, edge_width, number == layers - 1) for number in range(layers))
        self.head = mlp((places + (3 if shared else 2)) * width, 4 * width, 1, embedding_size)
        if shared:
            self.about = nn.Parameter(torch.zeros(len(GATES) + 1, width))

    @classmethod
    def multi_architecture_options(cls) -> dict[str, Any]:
        """Return the argument that shares parameters among architectures."""
        return {"shared": True}

    def fit_networks(self, networks: NetworkStack, sequences: Tensor | None = None) -> None:
        """Compute means and standard deviations of the training networks' weights."""
        if isinstance(self.standardise, StandardiseRoles):
            self.standardise.fit(networks)
        else:
            self.standardise.fit(networks.weights)

    def graph(self, architecture: Architecture, weights: Weights) -> tuple[Tensor, dict[str, Tensor]]:
        """Return nodes [M, V, D] and edges, kind -> [M copies, A, C, B], before the first round."""
        by_role = isinstance(self.standardise, StandardiseRoles)
        tensors = self.standardise(architecture, weights) if by_role else self.standardise(weights)
        layers = [
            [tensors[name] for name in architecture.layer_shapes(layer)] for layer in range(architecture.num_layers)
        ]
        biases = torch.stack([torch.cat(layer[2:], dim=1) for layer in layers], dim=1)  # [M, L, 2 G, H]
        networks = len(biases)
        units = self._layer_vectors(architecture) + self.unit_biases(biases.transpose(2, 3))
        outputs = self.outputs + self.output_bias(tensors["linear.bias"].transpose(1, 2))
        nodes = torch.cat([self.inputs.expand(networks, -1, -1), units.flatten(1, 2), outputs], dim=1)
        matrices = {
            "input": [layers[0][0].transpose(2, 3)],
            "upward": [layer[0] for layer in layers[1:]],
            "recurrent": [layer[1] for layer in layers],
            "output": [tensors["linear.weight"]],
        }
        edges = {
            kind: self._edges(kind, torch.stack(matrices[kind], dim=1).flatten(0, 1)) for kind in ends_of(architecture)
        }
        return nodes, edges

    def _layer_vectors(self, architecture: Architecture) -> Tensor:
        """Return the learned vector of each layer [L, 1, D]; if shared, with that of the cell and of its size."""
        if not self.mixed:
            return self.layers
        ends = torch.zeros(architecture.num_layers, 2)
        ends[0, 0] = ends[-1, 1] = 1.0
        cells = [float(architecture.cell == cell) for cell in GATES]
        about = torch.tensor([*cells, math.log(architecture.hidden_size)])
        vectors: Tensor = ends.to(self.layers) @ self.layers.squeeze(1) + about.to(self.about) @ self.about
        return vectors.unsqueeze(1)

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
        """Return embeddings [M, Z]. Raises EncoderError for networks of an architecture that it was not made for."""
        if not self.mixed:
            shapes = {name: tuple(tensor.shape[1:]) for name, tensor in weights.items()}
            if shapes != self.architecture.parameter_shapes:
                raise EncoderError(
                    f"This neural-graph embeds networks of {self.architecture.name}; these have the parameters "
                    f"{shapes}. Make it for several architectures: make_encoder('neural-graph', [one, another])."
                )
            return self._embed(self.architecture, weights)
        return map_architectures(stack or NetworkStack(self.architecture, weights), self._embed)

    def _embed(self, architecture: Architecture, weights: Weights) -> Tensor:
        """Return embeddings [M, Z] of networks of one architecture."""
        found, own = ((known.input_size, known.output_size) for known in (architecture, self.architecture))
        if found != own:
            raise EncoderError(
                f"This neural-graph embeds networks with {own[0]} inputs and {own[1]} outputs; these have {found[0]} "
                f"and {found[1]}. Make another for them."
            )
        nodes, edges = self.graph(architecture, weights)
        ends = ends_of(architecture)
        for one_round in self.rounds:
            nodes, edges = one_round(nodes, edges, ends)
        embeddings: Tensor = self.head(torch.cat(self._pooled(architecture, nodes), dim=1))
        return embeddings

    def _pooled(self, architecture: Architecture, nodes: Tensor) -> list[Tensor]:
        """Return mean nodes [M, D] of inputs, layers and outputs; if shared, of the first, the last and all layers."""
        size, depth = architecture.hidden_size, architecture.num_layers
        groups = nodes.split([architecture.input_size, *[size] * depth, architecture.output_size], dim=1)
        inputs, *layers, outputs = (group.mean(dim=1) for group in groups)
        if self.mixed:
            layers = [layers[0], layers[-1], torch.stack(layers).mean(dim=0)]
        return [inputs, *layers, outputs]
