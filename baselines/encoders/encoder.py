"""The interface of an encoder: a module that maps the weights of M networks to M embeddings.

Encoders of the project subclass `Encoder`, or a class of `feature_encoder.py`. A plain `nn.Module` that reads nothing
but weights needs neither: `own_module.py` wraps it. `embeddings_of` calls an encoder and checks what it returns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.layers import unit_length
from rnn_zoos.errors import EncoderError
from rnn_zoos.families.benchmark import Benchmark
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack

Weights: TypeAlias = Mapping[str, Tensor]
"""Stacked weights: parameter name -> [M, *shape]."""

Information: TypeAlias = Literal["weights", "queries", "data", "labels"]
"""What an encoder uses: the weights; also outputs of the networks; also sequences of their training data.

"labels" is for references that read labels of a network in place of its weights.
"""


class Encoder(nn.Module, ABC):
    """Maps the weights of M networks to embeddings [M, Z] of length 1.

    A subclass defines `embed`, and sets the class attributes that do not have their default values. The embedding of a
    network must not depend on the other networks of the batch. What `fit_inputs` computes belongs into buffers, which
    `__init__` registers (`register_buffer`); their shapes may change. Saved encoders consist of parameters and buffers.
    An encoder that only reads weights can be any `torch.nn.Module` with `forward(weights)` instead, see `make_encoder`.

    Attributes:
        information: "weights" if `embed` reads weights only, "queries" if it also runs the networks, "data" if it also
            needs sequences of the training data. Unless it is "weights", the encoder is called with a `NetworkStack`.
        augmented: Whether every training step applies a new random signed permutation of hidden units to each network.
            For encoders that are not invariant to the order and the signs of hidden units.
        mixed: Whether one encoder can embed networks of several architectures that share inputs and outputs. It must
            read them by running them, or through `stack.groups`. An encoder that can do so only with the arguments of
            `multi_architecture_options` sets this to False if it is made without them.
        architecture: Architecture of the networks; if `mixed`, the first of several.
        embedding_size: Z, the number of entries of an embedding.

    Args:
        architecture: Architecture of the networks.
        embedding_size: Z, the number of entries of an embedding.

    Example:
        An encoder that reads the bias of the readout:

        >>> import torch
        >>> from rnn_zoos import open_zoo
        >>> from rnn_zoos.baselines import Encoder, embeddings_of
        >>> class ReadoutEncoder(Encoder):
        ...     def __init__(self, architecture, embedding_size=16):
        ...         super().__init__(architecture, embedding_size)
        ...         self.linear = torch.nn.Linear(architecture.output_size, embedding_size)
        ...
        ...     def embed(self, weights, stack):
        ...         return self.linear(weights["linear.bias"])  # [M, O] -> [M, Z]
        >>> zoo = open_zoo("zoos/formal-languages")
        >>> stack = zoo.stack(zoo.index("train"))
        >>> embeddings = embeddings_of(ReadoutEncoder(stack.architecture), stack.weights)
        >>> embeddings.shape[1]
        16
    """

    information: ClassVar[Information] = "weights"
    augmented: ClassVar[bool] = False
    mixed: bool = False

    def __init__(self, architecture: Architecture, embedding_size: int = 16) -> None:
        super().__init__()
        self.architecture = architecture
        self.embedding_size = embedding_size

    def _get_name(self) -> str:  # torch's hook for the name of a module; messages use it
        return type(self).__name__

    @classmethod
    def supports(cls, architecture: Architecture) -> bool:
        """Return whether the encoder can read networks of an architecture. The default is True.

        `rnn-zoos benchmark` without `--encoder` trains the encoders that support the zoo's architecture and
        family.

        Args:
            architecture: Architecture of the networks.

        Returns:
            True if an encoder can be made for the architecture.

        Example:
            >>> from rnn_zoos import open_zoo
            >>> from rnn_zoos.baselines import Encoder
            >>> Encoder.supports(open_zoo("zoos/formal-languages").manifest.architecture)
            True
        """
        return True

    @classmethod
    def supports_family(cls, benchmark: Benchmark) -> bool:
        """Return whether the encoder can query networks of a family. The default is True.

        An architecture does not tell symbols from numbers: this decides beside `supports`.

        Args:
            benchmark: What the family says of its networks.

        Returns:
            True if the encoder can query networks with inputs of the family's kind.

        Example:
            >>> from rnn_zoos.baselines import Encoder
            >>> from rnn_zoos.families.registry import task_family
            >>> Encoder.supports_family(task_family("automata").benchmark)
            True
        """
        return True

    @classmethod
    def family_options(cls, benchmark: Benchmark) -> dict[str, Any]:
        """Return keyword arguments for a zoo of another family than the paper's. The default is none.

        Args:
            benchmark: What the family says of its networks.

        Returns:
            Name -> value, such as what the inputs of the networks are.

        Example:
            >>> from rnn_zoos.baselines import Encoder
            >>> from rnn_zoos.families.registry import task_family
            >>> Encoder.family_options(task_family("automata").benchmark)
            {}
        """
        return {}

    @classmethod
    def multi_architecture_options(cls) -> dict[str, Any]:
        """Return keyword arguments for networks of several architectures. The default is none.

        Returns:
            Name -> value, such as whether parameters are shared among architectures.

        Example:
            >>> from rnn_zoos.baselines import Encoder
            >>> Encoder.multi_architecture_options()
            {}
        """
        return {}

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Adapt to the training networks; called once, before training. The default does nothing.

        The place to compute means and standard deviations, or to choose probe sequences.

        Args:
            weights: Stacked weights of all training networks, name -> [R, *shape].
            sequences: Input sequences [N, T, I] that training networks have read, if `information` is "data";
                otherwise None.

        Raises:
            EncoderError: In subclasses, if the sequences do not suffice.

        Example:
            >>> from rnn_zoos.baselines import load_data, make_encoder
            >>> data = load_data("zoos/formal-languages")
            >>> encoder = make_encoder("statistics", data.architecture)
            >>> encoder.fit_inputs(data.splits["train"].weights)
        """

    def fit_networks(self, networks: NetworkStack, sequences: Tensor | None = None) -> None:
        """Adapt to the training networks; what trains an encoder calls this. The default calls `fit_inputs`.

        Args:
            networks: All training networks, ready to run.
            sequences: As for `fit_inputs`.

        Raises:
            EncoderError: In subclasses, if the sequences do not suffice.

        Example:
            >>> from rnn_zoos.baselines import load_data, make_encoder
            >>> data = load_data("zoos/formal-languages")
            >>> encoder = make_encoder("interactive", data.architecture)
            >>> encoder.fit_networks(data.splits["train"].networks)
        """
        self.fit_inputs(networks.weights, sequences)

    @abstractmethod
    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return the embeddings of M networks, of any length; `forward` scales them to length 1.

        Args:
            weights: Stacked weights, name -> [M, *shape].
            stack: The same networks, ready to run: `outputs, state = stack(inputs)` with inputs [B, T, I] or
                [M, B, T, I] and outputs [M, B, T, O]. None unless the encoder queries networks or is `mixed`.

        Returns:
            Embeddings [M, Z], with gradients to the encoder's parameters.

        Example:
            See the class.
        """

    def forward(self, weights: Weights, stack: NetworkStack | None = None) -> Tensor:
        """Return the embeddings of M networks, scaled to length 1.

        Args:
            weights: Stacked weights, name -> [M, *shape].
            stack: The same networks, ready to run. Required unless `information` is "weights".

        Returns:
            Embeddings [M, Z] of length 1.

        Raises:
            EncoderError: If the encoder runs the networks and `stack` is None.

        Example:
            >>> from rnn_zoos import open_zoo
            >>> from rnn_zoos.baselines import make_encoder
            >>> zoo = open_zoo("zoos/formal-languages")
            >>> stack = zoo.stack(zoo.index("train"))
            >>> embeddings = make_encoder("interactive", stack.architecture)(stack.weights, stack)
        """
        if self.information != "weights" and stack is None:
            raise EncoderError(f"{self._get_name()} runs the networks: pass a NetworkStack of them as `stack`.")
        return unit_length(self.embed(weights, stack))

    @property
    def num_queries(self) -> int:
        """Number of steps that a network is run for to embed it; 0 for encoders that read weights only."""
        return 0


def embeddings_of(encoder: Encoder, weights: Weights, stack: NetworkStack | None = None) -> Tensor:
    """Call an encoder and check what it returns.

    Args:
        encoder: The encoder.
        weights: Stacked weights of M networks, name -> [M, *shape].
        stack: The same networks, ready to run. Required unless `encoder.information` is "weights".

    Returns:
        Embeddings [M, Z] of length 1, as the encoder returned them.

    Raises:
        EncoderError: If the encoder needs `stack` and it is None; if the result is not a tensor [M, Z]; if it is not
            finite; if it has no gradients although the encoder has trainable parameters and gradients are enabled.

    Example:
        >>> from rnn_zoos import open_zoo
        >>> from rnn_zoos.baselines import embeddings_of, make_encoder
        >>> zoo = open_zoo("zoos/formal-languages")
        >>> stack = zoo.stack(zoo.index("train"))
        >>> embeddings = embeddings_of(make_encoder("dws", stack.architecture), stack.weights)
    """
    return check_embeddings(encoder, unchecked_embeddings(encoder, weights, stack), len(next(iter(weights.values()))))


def unchecked_embeddings(encoder: Encoder, weights: Weights, stack: NetworkStack | None) -> Tensor:
    """Call an encoder with what it takes, and return what it returns."""
    takes_stack = encoder.information != "weights" or encoder.mixed
    embeddings: Tensor = encoder(weights, stack) if takes_stack else encoder(weights)
    return embeddings


def check_embeddings(encoder: Encoder, embeddings: object, networks: int) -> Tensor:
    """Return the embeddings that an encoder made of `networks` networks. Raises EncoderError as `embeddings_of`."""
    name, expected = encoder._get_name(), (networks, encoder.embedding_size)
    if not isinstance(embeddings, Tensor) or tuple(embeddings.shape) != expected:
        found = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise EncoderError(f"{name} returned {found} for {networks} networks; expected a tensor {expected}.")
    if not bool(embeddings.isfinite().all()):
        raise EncoderError(
            f"{name} returned values that are not finite. Standardise its inputs, or lower its learning rate."
        )
    trainable = any(parameter.requires_grad for parameter in encoder.parameters())
    if torch.is_grad_enabled() and trainable and not embeddings.requires_grad:
        raise EncoderError(f"{name} returned embeddings without gradients. Remove detach(), numpy or no_grad from it.")
    return embeddings


def count_parameters(encoder: Encoder) -> int:
    """Return the number of trainable parameters of an encoder."""
    return sum(parameter.numel() for parameter in encoder.parameters() if parameter.requires_grad)
