"""The encoders by name, and encoders of users as `module:Class`.

A new encoder of the benchmark is an entry of `ENCODERS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rnn_zoos.baselines.encoders.encoder import Encoder
from rnn_zoos.errors import EncoderError, UnknownNameError
from rnn_zoos.networks.architecture import Architecture

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
        "telling-probes": "rnn_zoos.baselines.encoders.fixed_probes:SelectedProbes",
        "self-rollout": "rnn_zoos.baselines.encoders.self_rollout:SelfRollout",
        "self-rollout-soft": "rnn_zoos.baselines.encoders.self_rollout:SoftSelfRollout",
        "self-rollout-short": "rnn_zoos.baselines.encoders.self_rollout:ShortSelfRollout",
    }
)
"""The encoders of the benchmark: name -> `module:Class`. A class is imported when it is first used.

Example:
    >>> from rnn_zoos.baselines import ENCODERS
    >>> "interactive" in ENCODERS
    True
"""


def make_encoder(name: str, architecture: Architecture, embedding_size: int = 16, **sizes: Any) -> Encoder:  # noqa: ANN401 - each encoder has its own sizes
    """Return a new encoder with random parameters, drawn from torch's global random generator.

    Args:
        name: A name in `ENCODERS`, or `module:Class` of another subclass of `Encoder`.
        architecture: Architecture of the networks.
        embedding_size: Z, the number of entries of an embedding.
        **sizes: Further keyword arguments of the encoder's class, such as `hidden`.

    Returns:
        The encoder.

    Raises:
        UnknownNameError: If the name is not in `ENCODERS` and has no colon.
        EncoderError: If the class cannot be imported, is not a subclass of `Encoder`, does not accept the arguments,
            or does not support the architecture.

    Example:
        >>> from rnn_zoos import open_zoo
        >>> from rnn_zoos.baselines import make_encoder
        >>> architecture = open_zoo("zoos/formal-languages").manifest.architecture
        >>> encoder = make_encoder("interactive", architecture, hidden=64)
        >>> same_class = make_encoder("rnn_zoos.baselines.encoders.probing:InteractiveProbing", architecture)
    """
    kind = encoder_class(name)
    try:
        return kind(architecture, embedding_size, **sizes)
    except TypeError as error:
        raise EncoderError(f"{name} cannot be made for {architecture}: {error}.") from error


def encoder_class(name: str) -> type[Encoder]:
    """Return the class of an encoder by name or `module:Class`. Raises UnknownNameError and EncoderError."""
    if ":" not in name and name not in ENCODERS:
        raise UnknownNameError.among("encoder", name, [*ENCODERS, "module:Class"])
    module, _, attribute = ENCODERS.get(name, name).partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise EncoderError(f"The encoder {name} cannot be imported: {error}. Is its folder in PYTHONPATH?") from error
    if not (isinstance(found, type) and issubclass(found, Encoder)):
        raise EncoderError(f"{name} is not a subclass of rnn_zoos.baselines.Encoder.")
    return found


def usable_encoders(architecture: Architecture) -> list[str]:
    """Return the names of the encoders that support an architecture, in the order of `ENCODERS`."""
    return [name for name in ENCODERS if encoder_class(name).supports(architecture)]
