"""The encoders by name, and one's own by `module:Class`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from rnn_zoos.baselines.encoders.encoder import Encoder, Weights
from rnn_zoos.errors import EncoderError, UnknownNameError
from rnn_zoos.families.formal_languages import NUM_SYMBOLS
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack

ENCODERS: Mapping[str, str] = MappingProxyType(
    {
        "statistics": "rnn_zoos.baselines.encoders.statistics:StatisticsEncoder",
        "statistics-large": "rnn_zoos.baselines.encoders.statistics:LargeStatisticsEncoder",
        "flat": "rnn_zoos.baselines.encoders.flat:FlatEncoder",
        "transformer": "rnn_zoos.baselines.encoders.transformer:TransformerEncoder",
        "dws": "rnn_zoos.baselines.encoders.dws:DWSEncoder",
        "non-interactive": "rnn_zoos.baselines.encoders.probing:NonInteractiveProbing",
        "interactive": "rnn_zoos.baselines.encoders.probing:InteractiveProbing",
        "random-probes": "rnn_zoos.baselines.encoders.fixed_probes:RandomProbes",
        "data-probes": "rnn_zoos.baselines.encoders.fixed_probes:DataProbes",
        "telling-probes": "rnn_zoos.baselines.encoders.fixed_probes:TellingProbes",
        "self-rollout": "rnn_zoos.baselines.encoders.self_rollout:SelfRollout",
        "self-rollout-soft": "rnn_zoos.baselines.encoders.self_rollout:SoftSelfRollout",
        "self-rollout-short": "rnn_zoos.baselines.encoders.self_rollout:ShortSelfRollout",
    }
)


def make_encoder(name: str, architecture: Architecture, embedding_size: int = 16, **sizes: Any) -> Encoder:  # noqa: ANN401 - an encoder's own sizes
    """Return a new encoder: a name of `ENCODERS`, or `module:Class` of one's own. `sizes` are its further arguments.

    Raises UnknownNameError, and EncoderError for a class that cannot be imported or made, or is no Encoder.
    """
    if ":" not in name and name not in ENCODERS:
        raise UnknownNameError.among("encoder", name, [*ENCODERS, "module:Class"])
    module, _, attribute = ENCODERS.get(name, name).partition(":")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise EncoderError(f"The encoder {name} cannot be imported: {error}. Is its folder in PYTHONPATH?") from error
    if not (isinstance(kind, type) and issubclass(kind, Encoder)):
        raise EncoderError(f"{name} is no subclass of rnn_zoos.baselines.encoders.encoder.Encoder.")
    try:
        return kind(architecture, embedding_size, **sizes)
    except TypeError as error:
        raise EncoderError(f"{name} cannot be made for {architecture}: {error}.") from error


def usable_encoders(architecture: Architecture) -> list[str]:
    """Return the names of the encoders that take networks of an architecture."""
    writes = architecture.input_size == architecture.output_size == NUM_SYMBOLS
    return [name for name in ENCODERS if writes or not name.startswith("self-rollout")]


def embeddings_of(encoder: Encoder, weights: Weights, stack: NetworkStack | None = None) -> Tensor:
    """Call an encoder and check what it returns: [M, Z], finite, with gradients if it has parameters that want them.

    Raises EncoderError, which names the encoder and says what was expected.
    """
    embeddings = encoder(weights, stack) if encoder.information != "weights" else encoder(weights)
    return checked(encoder, embeddings, len(next(iter(weights.values()))))


def checked(encoder: Encoder, embeddings: object, networks: int) -> Tensor:
    """Return an encoder's embeddings of so many networks if they are what they should be. Raises EncoderError."""
    name, expected = type(encoder).__name__, (networks, encoder.embedding_size)
    if not isinstance(embeddings, Tensor) or tuple(embeddings.shape) != expected:
        found = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise EncoderError(f"{name} returned {found} for {networks} networks; expected a tensor {expected}.")
    if not bool(embeddings.isfinite().all()):
        raise EncoderError(f"{name} returned values that are not finite. Standardise its inputs, or lower its rate.")
    trainable = any(parameter.requires_grad for parameter in encoder.parameters())
    if torch.is_grad_enabled() and trainable and not embeddings.requires_grad:
        raise EncoderError(f"{name} returned embeddings without gradients. Remove detach(), numpy or no_grad from it.")
    return embeddings
