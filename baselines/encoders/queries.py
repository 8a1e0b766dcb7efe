"""What encoders share that run the networks on probe sequences."""

from __future__ import annotations

from torch import Tensor

from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack


def writes_symbols(architecture: Architecture) -> bool:
    """Return whether networks of an architecture predict the next symbol of what they read, as the languages' do.

    An architecture does not record what its inputs mean: networks with as many outputs as inputs are taken for such
    networks. Their inputs are distributions over symbols; those of other networks are any real numbers.
    """
    return architecture.input_size == architecture.output_size


def responses(stack: NetworkStack, probes: Tensor) -> Tensor:
    """Run M networks on probe sequences [N, T, I] or [M, N, T, I]; return output probabilities [M, N, T, O]."""
    outputs, _ = stack(probes)
    return outputs.softmax(dim=-1)
