"""A user's plain `nn.Module` as an encoder: `forward(weights)` maps stacked weights to embeddings.

A subclass of `Encoder` is needed only for what a plain module cannot do: running the networks, random signed
permutations in training, and fitting its inputs to the training networks.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from rnn_zoos.baselines.encoders.encoder import Encoder, Weights, embeddings_of
from rnn_zoos.errors import EncoderError
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import stack_weights

_TRIAL_NETWORKS = 2


class ModuleEncoder(Encoder):
    """Wraps a module whose `forward(weights)` maps stacked weights, name -> [M, *shape], to [M, Z].

    Attributes:
        module: The module.
    """

    def __init__(self, architecture: Architecture, embedding_size: int, module: nn.Module) -> None:
        super().__init__(architecture, embedding_size)
        self.module = module

    def _get_name(self) -> str:
        return type(self.module).__name__

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return what the module returns. Raises EncoderError if it is not a tensor [M, Z] of the weights' type."""
        embeddings, first = self.module(weights), next(iter(weights.values()))
        expected = (len(first), self.embedding_size)
        if not isinstance(embeddings, Tensor) or tuple(embeddings.shape) != expected:
            found = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
            raise EncoderError(
                f"{self._get_name()} returned {found} for {expected[0]} networks; expected a tensor {expected}: one "
                f"embedding of Z={self.embedding_size} numbers per network. Give its __init__ a parameter "
                "`embedding_size`, which is passed Z, and end with a layer of that size."
            )
        if embeddings.dtype != first.dtype:
            raise EncoderError(
                f"{self._get_name()} returned {embeddings.dtype} for weights of {first.dtype}. Return that type: call "
                "float() at its end."
            )
        return embeddings


def make_module_encoder(
    name: str, kind: type[nn.Module], architecture: Architecture, embedding_size: int, sizes: Mapping[str, Any]
) -> ModuleEncoder:
    """Create a module of a class that was given as `name`, and wrap it.

    `architecture` and `embedding_size` are passed to those classes whose `__init__` has parameters of these names;
    `sizes` are passed in any case. Lazy layers get their sizes here. Raises EncoderError if `__init__` needs other
    arguments, or if `forward` does not take the weights alone.
    """
    offered = {"architecture": architecture, "embedding_size": embedding_size}
    signature = inspect.signature(kind)
    arguments = {key: value for key, value in offered.items() if key in signature.parameters} | dict(sizes)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise EncoderError(
            f"{name} cannot be created as {kind.__name__}({', '.join(arguments)}): {error}. Its __init__ may have the "
            "parameters `architecture` and `embedding_size`; give all others default values."
        ) from error
    _check_forward(kind, name)
    module = kind(**arguments)
    if any(isinstance(parameter, UninitializedParameter) for parameter in module.parameters()):
        with torch.no_grad():
            module(_trial_networks(architecture))
    return ModuleEncoder(architecture, embedding_size, module)


def _trial_networks(architecture: Architecture) -> Weights:
    return stack_weights([initial_weights(architecture, 0, run) for run in range(_TRIAL_NETWORKS)])


def _check_forward(kind: type[nn.Module], name: str) -> None:
    """Raise EncoderError unless a module can be called as `module(weights)`."""
    try:
        inspect.signature(kind.forward).bind("self", "weights")
        if kind.forward is not nn.Module.forward:
            return
        problem = "no forward is defined"
    except TypeError as error:
        problem = str(error)
    raise EncoderError(
        f"{name} cannot be called as forward(weights): {problem}. Define forward(self, weights), which maps stacked "
        "weights, name -> [M, *shape], to embeddings [M, Z]; to run the networks as well, subclass "
        "rnn_zoos.baselines.Encoder."
    )


def try_module(encoder: Encoder) -> None:
    """Embed two untrained networks by a wrapped module, so that a wrong output is reported before anything is trained.

    Does nothing for other encoders: they may have to be fitted first. Raises EncoderError as `embeddings_of`.
    """
    if isinstance(encoder, ModuleEncoder):
        with torch.random.fork_rng():
            embeddings_of(encoder, _trial_networks(encoder.architecture))
