"""The encoders by name, and encoders of users as `module:Class`: subclasses of `Encoder`, or any `nn.Module`.

A new encoder of the benchmark is an entry of `ENCODERS`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from torch import nn

from rnn_zoos.baselines.encoders.encoder import Encoder
from rnn_zoos.baselines.encoders.own_module import make_module_encoder
from rnn_zoos.errors import EncoderError, UnknownNameError
from rnn_zoos.families.benchmark import Benchmark
from rnn_zoos.networks.architecture import Architecture

ENCODERS: Mapping[str, str] = MappingProxyType(
    {
        "statistics": "rnn_zoos.baselines.encoders.weights.statistics:StatisticsEncoder",
        "statistics-padded": "rnn_zoos.baselines.encoders.weights.statistics:PaddedStatisticsEncoder",
        "statistics-large": "rnn_zoos.baselines.encoders.weights.statistics:LargeStatisticsEncoder",
        "flat": "rnn_zoos.baselines.encoders.weights.flat:FlatEncoder",
        "transformer": "rnn_zoos.baselines.encoders.weights.transformer:TransformerEncoder",
        "dws": "rnn_zoos.baselines.encoders.weights.dws:DWSEncoder",
        "neural-graph": "rnn_zoos.baselines.encoders.weights.neural_graph:NeuralGraphEncoder",
        "canonical-flat": "rnn_zoos.baselines.encoders.weights.canonical:CanonicalFlatEncoder",
        "canonical-transformer": "rnn_zoos.baselines.encoders.weights.canonical:CanonicalTransformerEncoder",
        "probegen": "rnn_zoos.baselines.encoders.probes.probegen:ProbeGen",
        "non-interactive": "rnn_zoos.baselines.encoders.probes.probing:NonInteractiveProbing",
        "interactive": "rnn_zoos.baselines.encoders.probes.probing:InteractiveProbing",
        "random-probes": "rnn_zoos.baselines.encoders.probes.fixed_probes:RandomProbes",
        "data-probes": "rnn_zoos.baselines.encoders.probes.fixed_probes:DataProbes",
        "data-bank": "rnn_zoos.baselines.encoders.probes.fixed_probes:DataBank",
        "rotation-bank": "rnn_zoos.baselines.encoders.probes.rotation_bank:RotationBank",
        "telling-probes": "rnn_zoos.baselines.encoders.probes.fixed_probes:SelectedProbes",
        "hankel": "rnn_zoos.baselines.encoders.probes.hankel:HankelProbing",
        "self-rollout": "rnn_zoos.baselines.encoders.probes.self_rollout:SelfRollout",
        "self-rollout-by-step": "rnn_zoos.baselines.encoders.probes.self_rollout:StepwiseSelfRollout",
        "self-rollout-branching": "rnn_zoos.baselines.encoders.probes.self_rollout:BranchingSelfRollout",
    }
)
"""The encoders of the benchmark: name -> `module:Class`. A class is imported when it is first used.

Example:
    >>> from rnn_zoos.baselines import ENCODERS
    >>> "interactive" in ENCODERS
    True
"""


_RATES = ("dropout",)  # arguments that are probabilities, not sizes
_FOR_SEVERAL = ("statistics-padded",)  # other encoders are better for networks of one architecture

Architectures: TypeAlias = Architecture | Sequence[Architecture]
"""One architecture, or several whose networks an encoder is to embed."""


def make_encoder(name: str, architecture: Architectures, embedding_size: int = 16, **sizes: Any) -> Encoder:  # noqa: ANN401 - each encoder has its own sizes
    """Return a new encoder with random parameters, drawn from torch's global random generator.

    Your own encoder, as `module:Class`, can be any `torch.nn.Module` whose `forward(weights)` maps stacked weights, a
    dict name -> [M, *shape], to embeddings [M, Z]. If its `__init__` has parameters `architecture` and
    `embedding_size`, they are passed; all other parameters need default values. A subclass of `Encoder` is needed only
    if it runs the networks, is trained on random signed permutations of them, or fits its inputs.

    Args:
        name: A name in `ENCODERS`, or `module:Class` of another subclass of `Encoder` or of `torch.nn.Module`.
        architecture: Architecture of the networks, or a list of several with the same inputs and outputs.
        embedding_size: Z, the number of entries of an embedding.
        **sizes: Further keyword arguments of the encoder's class, such as `hidden`.

    Returns:
        The encoder. Other modules than subclasses of `Encoder` are wrapped in one, which scales their embeddings to
        length 1.

    Raises:
        UnknownNameError: If the name is not in `ENCODERS` and has no colon.
        EncoderError: If the class cannot be imported, is not a subclass of `torch.nn.Module`, does not accept the
            arguments, or does not support the architecture, or several.

    Example:
        >>> from rnn_zoos import open_zoo
        >>> from rnn_zoos.baselines import make_encoder
        >>> architecture = open_zoo("zoos/formal-languages").manifest.architecture
        >>> encoder = make_encoder("interactive", architecture, hidden=64)
        >>> own = make_encoder("rnn_zoos.baselines.encoders.template:MyModule", architecture)
    """
    kind = _class_of(name)
    known = [architecture] if isinstance(architecture, Architecture) else list(architecture)
    if not known:
        raise EncoderError(f"There is no architecture of the networks that {name} is to embed. Give at least one.")
    check_encoder(name, known)
    architecture = known[0]
    if name in ENCODERS:
        _check_sizes(name, {"embedding_size": embedding_size, **sizes})
    if not issubclass(kind, Encoder):
        return make_module_encoder(name, kind, architecture, embedding_size, sizes)
    try:
        return kind(architecture, embedding_size, **sizes_of(name, known, sizes))
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:  # of torch, for sizes such as -1
        raise EncoderError(f"{name} cannot be made for {architecture} with sizes {sizes}: {error}.") from error


def _check_sizes(name: str, sizes: Mapping[str, Any]) -> None:
    """Raise EncoderError for a size below 1, or a rate of dropout that is none.

    With such a size, torch would build empty layers whose outputs ignore their inputs; with such a rate, it would fail
    in training.
    """
    for size, number in sizes.items():
        if size in _RATES:
            if not (isinstance(number, (int, float)) and 0 <= number < 1):
                raise EncoderError(f"{name} cannot be made with {size}={number}; expected at least 0, and below 1.")
        elif isinstance(number, int) and not isinstance(number, bool) and number < 1:
            raise EncoderError(f"{name} cannot be made with {size}={number}; expected at least 1.")


def sizes_of(name: str, architectures: Architectures, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of an encoder with those that it needs for several architectures."""
    kind, several = _class_of(name), not isinstance(architectures, Architecture) and len(architectures) > 1
    return {**(kind.multi_architecture_options() if several and issubclass(kind, Encoder) else {}), **sizes}


def code_hash(name: str) -> dict[str, str]:
    """Return the hash of the file that defines an encoder `module:Class`, for the identity of trainings and results.

    It prevents a training from being resumed, or a result from being kept, after the code changed. Empty for the
    encoders of this package, whose version is part of their results.
    """
    if ":" not in name:
        return {}
    file = getattr(sys.modules[_class_of(name).__module__], "__file__", None)
    return {} if file is None else {"code": sha256(Path(file).read_bytes()).hexdigest()[:16]}


def _class_of(name: str) -> type[nn.Module]:
    """Return the class of an encoder by name or `module:Class`. Raises UnknownNameError and EncoderError."""
    if ":" not in name and name not in ENCODERS:
        raise UnknownNameError.among("encoder", name, [*ENCODERS, "module:Class"])
    module, _, attribute = ENCODERS.get(name, name).partition(":")
    if not module or module.startswith("."):
        raise EncoderError(
            f"The encoder {name} has no module before its colon. Expected a name such as my_module:MyModule."
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise EncoderError(f"The encoder {name} cannot be imported: {error}. Is its folder in PYTHONPATH?") from error
    except SyntaxError as error:
        raise EncoderError(f"The encoder {name} cannot be imported: {error}. Correct its file.") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise EncoderError(
            f"{name} is not a subclass of rnn_zoos.baselines.Encoder or of torch.nn.Module, but {found!r}. Give the "
            "class of a module whose forward(weights) returns embeddings."
        )
    return found


def check_encoder(name: str, architectures: Sequence[Architecture]) -> None:
    """Raise UnknownNameError or EncoderError unless there is an encoder of this name for networks like these."""
    kind = _class_of(name)
    if len(architectures) > 1 and not _is_mixed(kind):
        able = ", ".join(usable_encoders(architectures))
        raise EncoderError(
            f"{name} embeds networks of one architecture; these have {len(architectures)} "
            f"({', '.join(each.name for each in architectures)}). Encoders that embed networks of several: {able}."
        )


def is_encoder(name: str) -> bool:
    """Return whether a name is that of a subclass of `Encoder`: not of another module, and not of a reference."""
    return (":" in name or name in ENCODERS) and issubclass(_class_of(name), Encoder)


def encoder_class(name: str) -> type[Encoder]:
    """Return the class of an encoder that is a subclass of `Encoder`. Raises UnknownNameError and EncoderError."""
    found = _class_of(name)
    if not issubclass(found, Encoder):
        raise EncoderError(f"{name} is not a subclass of rnn_zoos.baselines.Encoder. Use make_encoder to wrap it.")
    return found


def usable_encoders(architecture: Architectures, benchmark: Benchmark | None = None) -> list[str]:
    """Return the names of the encoders that support an architecture, or all of several, in the order of `ENCODERS`.

    With `benchmark`, only those that support networks of this family.
    """
    known = [architecture] if isinstance(architecture, Architecture) else list(architecture)
    names = [name for name in ENCODERS if all(encoder_class(name).supports(each) for each in known)]
    if benchmark is not None:
        names = [name for name in names if encoder_class(name).supports_family(benchmark)]
    if len(known) > 1:
        return [name for name in names if _is_mixed(encoder_class(name))]
    return [name for name in names if name not in _FOR_SEVERAL]


def _is_mixed(kind: type[nn.Module]) -> bool:
    """Return whether an encoder of this class embeds networks of several architectures."""
    return issubclass(kind, Encoder) and kind.mixed
