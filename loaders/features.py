"""Weights, rollouts and embeddings as features of `datasets`, as its images and audio are.

A column of a feature holds small values that every operation of `datasets` carries along: places in a zoo, or bytes
(`rnn_zoos.loaders.places.STORAGE`). They become tensors when a row is read. Importing this module registers the
features; `register_feature` is experimental, and nothing else in rnn-zoos uses it.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import datasets
import numpy as np
import pyarrow as pa
import safetensors.numpy
import torch
from datasets.features.features import register_feature
from datasets.table import embed_table_storage

from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.format.files import Array
from rnn_zoos.loaders.places import STORAGE, read_rollouts, read_stored_rollouts, read_weights
from rnn_zoos.networks.architecture import Architecture

Library: TypeAlias = Literal["torch", "numpy"]
"""The library whose arrays rows hold."""
Stored: TypeAlias = Mapping[str, Any]
"""A value of `STORAGE`."""
_FIELDS = frozenset(field.name for field in STORAGE)


@dataclass
class _Tensors(ABC):
    """Named tensors: what `Weights` and `Rollouts` have in common. See there."""

    decode: bool = True
    tensors: Library = "torch"
    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "dict"
    pa_type: ClassVar[pa.DataType] = STORAGE

    def __post_init__(self) -> None:
        check_library(self.tensors)

    def __call__(self) -> pa.DataType:
        """Return the Arrow type of the stored values."""
        return self.pa_type

    def decode_example(self, value: Stored, token_per_repo_id: object = None) -> dict[str, Any]:
        """Return the tensors of a stored value: name -> [*shape]. Tensors are returned as they are."""
        arrays = self._read(value) if _is_stored(value) else value
        return {name: as_library(array, self.tensors) for name, array in arrays.items()}

    def encode_example(self, value: Mapping[str, Any] | bytes) -> dict[str, Any]:
        """Return the stored value of named tensors, of the bytes of a safetensors file, or of a stored value.

        Raises TypeError for other values, and FormatError for tensors that do not fit.
        """
        if isinstance(value, bytes):
            value = {"bytes": value}
        elif not _is_stored(value):
            arrays = {name: np.ascontiguousarray(array) for name, array in self._to_store(value).items()}
            value = {"bytes": safetensors.numpy.save(arrays)}
        return {field.name: value.get(field.name) for field in STORAGE}

    def embed_storage(self, storage: pa.StructArray, token_per_repo_id: object = None, **_: object) -> pa.StructArray:
        """Replace places by bytes, so that the values can leave this machine. `push_to_hub` calls it, for example."""
        rows = (None if value is None else self._bytes(value) for value in storage.to_pylist())
        return pa.array([row and {"bytes": row} for row in rows], STORAGE)

    def cast_storage(self, storage: pa.Array) -> pa.StructArray:
        """Return stored values for an Arrow array of stored values, of bytes, or of named tensors as nested lists.

        `map` calls it with what a function returned. Raises TypeError for anything else, of which `map` makes an
        ordinary column, and FormatError for tensors that do not fit.
        """
        kind = storage.type
        if not (pa.types.is_struct(kind) or pa.types.is_null(kind) or pa.types.is_binary(kind)):
            raise TypeError(f"Values of {kind} are no {type(self).__name__}.")
        if kind == STORAGE:
            return storage
        return pa.array([self._from_arrow(value) for value in storage.to_pylist()], STORAGE)

    def flatten(self) -> Any:  # noqa: ANN401 - a feature, or features by name, as `datasets` does
        """Return the feature itself, or, if it is not decoded, the features of what is stored."""
        return self if self.decode else {field.name: datasets.Value(str(field.type)) for field in STORAGE}

    def _from_arrow(self, value: dict[str, Any] | bytes | None) -> dict[str, Any] | None:
        """Return the stored value of a value of any struct; stored values and tensors may be mixed in one array."""
        if isinstance(value, dict):
            value = {name: part for name, part in value.items() if part is not None}
        return self.encode_example(value) if value else None

    def _bytes(self, value: Stored) -> bytes:
        """Return a stored value as the bytes of a safetensors file."""
        return value["bytes"] or safetensors.numpy.save(dict(self._read_to_store(value)))

    @abstractmethod
    def _read(self, value: Stored) -> Mapping[str, Array]:
        """Return the tensors of a stored value as a row has them."""

    @abstractmethod
    def _read_to_store(self, value: Stored) -> Mapping[str, Array]:
        """Return the tensors of a place as its bytes have them."""

    @abstractmethod
    def _to_store(self, value: Mapping[str, Any]) -> Mapping[str, Array]:
        """Return named tensors, arrays or nested lists of a row as arrays to be stored."""


@dataclass
class Weights(_Tensors):
    """The weights of one network: name -> float32 [*shape].

    Args:
        decode: whether a row has the weights; if not, it has what is stored: `bytes`, `zoo`, `file` and `row`.
        tensors: "torch" or "numpy", the type of the weights of a row.
        id: unused; every feature of `datasets` has one.
        architecture: fields of the `Architecture` of all networks; None for networks of several architectures.

    Raises:
        UnknownNameError: for another value of `tensors`.

    Example:
        >>> from rnn_zoos import load_dataset
        >>> from rnn_zoos.loaders import Weights
        >>> train = load_dataset("zoos/formal-languages", split="train")
        >>> places = train.cast_column("weights", Weights(decode=False))
        >>> places[0]["weights"]["file"]
        'shards/train-00000-of-...safetensors'
    """

    architecture: dict[str, Any] | None = None
    _type: str = field(default="RnnZoosWeights", init=False, repr=False)

    def _read(self, value: Stored) -> Mapping[str, Array]:
        weights = read_weights(value)
        if value["bytes"] is None:
            return weights
        return {name: weights[name] for name in Architecture.of(weights).parameter_shapes}  # safetensors sorts by name

    def _read_to_store(self, value: Stored) -> Mapping[str, Array]:
        return read_weights(value)

    def _to_store(self, value: Mapping[str, Any]) -> Mapping[str, Array]:
        weights = {name: np.asarray(tensor, np.float32) for name, tensor in value.items()}
        if not any(name.startswith("linear.") for name in weights):
            raise TypeError(f"{sorted(weights)} are not the parameters of a network.")
        found = Architecture.of(weights)
        if self.architecture is not None and self.architecture != asdict(found):
            raise FormatError(
                f"These weights are of {found}; this column has those of Architecture(**{self.architecture}). For "
                'networks of several architectures, first cast the column: cast_column("weights", Weights()).'
            )
        return {name: weights[name] for name in found.parameter_shapes}


@dataclass
class Rollouts(_Tensors):
    """What one network read and answered: name -> [B, ...]. `load_dataset` says which tensors these are.

    Args:
        decode: whether a row has the tensors; if not, it has what is stored: `bytes`, `zoo`, `file` and `row`.
        tensors: "torch" or "numpy", the type of the tensors of a row.
        id: unused; every feature of `datasets` has one.
        dtypes: name -> numpy dtype of the tensors of a row.

    Raises:
        UnknownNameError: for another value of `tensors`.

    Example:
        >>> from rnn_zoos import load_dataset
        >>> train = load_dataset("zoos/formal-languages", split="train", rollouts=True)
        >>> train.features["rollouts"].dtypes
        {'sequences': 'uint8', 'log_probs': 'float16'}
    """

    dtypes: dict[str, str] | None = None
    _type: str = field(default="RnnZoosRollouts", init=False, repr=False)

    def _read(self, value: Stored) -> Mapping[str, Array]:
        rollouts = read_rollouts(value)
        return {name: rollouts[name] for name in self.dtypes or rollouts}  # safetensors sorts by name

    def _read_to_store(self, value: Stored) -> Mapping[str, Array]:
        return read_stored_rollouts(value)

    def _to_store(self, value: Mapping[str, Any]) -> Mapping[str, Array]:
        if self.dtypes is None or value.keys() != self.dtypes.keys():
            raise TypeError(f"{sorted(value)} are not the tensors of these rollouts.")
        return {name: np.asarray(value[name], dtype) for name, dtype in self.dtypes.items()}


@dataclass
class Embedding:
    """The embedding of one network: float32 [size].

    Args:
        size: Z, the number of its components.
        tensors: "torch" or "numpy", the type of the embedding of a row.
        id: unused; every feature of `datasets` has one.

    Raises:
        UnknownNameError: for another value of `tensors`.

    Example:
        >>> from rnn_zoos.loaders import Embedding
        >>> Embedding(16)()
        FixedSizeListType(fixed_size_list<item: float>[16])
    """

    size: int
    tensors: Library = "torch"
    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "list"
    _type: str = field(default="RnnZoosEmbedding", init=False, repr=False)

    def __post_init__(self) -> None:
        check_library(self.tensors)

    def __call__(self) -> pa.DataType:
        """Return the Arrow type of the stored values."""
        return pa.list_(pa.float32(), self.size)

    def decode_example(self, value: Any, token_per_repo_id: object = None) -> Any:  # noqa: ANN401 - list to tensor
        """Return a stored value as an array.

        Args:
            value: the stored list of floats.
            token_per_repo_id: unused; `datasets` passes it to every feature.

        Returns:
            The embedding, float32 [size].
        """
        return as_library(np.array(value, np.float32), self.tensors)


def materialize(dataset: datasets.Dataset | datasets.DatasetDict) -> datasets.Dataset | datasets.DatasetDict:
    """Return the same rows with their tensors as bytes, so that any file made of them carries the tensors.

    Rows of a zoo hold places in it. `push_to_hub` and `save_to_disk` replace them by bytes themselves; `to_parquet` and
    `to_pandas` write what the rows hold. The bytes of a row are a safetensors file.

    Args:
        dataset: rows of `load_dataset`, or made from them; or a `DatasetDict` of such splits.

    Returns:
        A dataset, or a `DatasetDict`, that no longer needs the zoo; it lies in the cache of `datasets`.

    Raises:
        FormatError: if the rows are a stream or anything else, or if their zoo is no longer there, or is another one.
        IntegrityError: if a file of the zoo is missing or damaged.

    Example:
        >>> from rnn_zoos import load_dataset
        >>> from rnn_zoos.loaders import materialize
        >>> late = load_dataset("zoos/formal-languages", split="test", steps=1000)
        >>> _ = materialize(late).to_parquet("late.parquet")
    """
    if isinstance(dataset, datasets.DatasetDict):
        return datasets.DatasetDict({split: materialize(rows) for split, rows in dataset.items()})
    if not isinstance(dataset, datasets.Dataset):
        raise FormatError(
            f"The rows are of type {type(dataset).__name__}; expected a Dataset or a DatasetDict. Load the zoo without "
            "`streaming`."
        )
    rows = dataset.with_format("arrow").map(embed_table_storage, batched=True, batch_size=64, desc="Reading tensors")
    chosen = dataset.format
    return rows.with_format(chosen["type"], chosen["columns"], chosen["output_all_columns"], **chosen["format_kwargs"])


def check_library(tensors: str) -> None:
    """Raise UnknownNameError unless `tensors` is "torch" or "numpy"."""
    if tensors not in get_args(Library):
        raise UnknownNameError.among("kind of tensors", tensors, get_args(Library))


def as_library(array: Any, tensors: Library) -> Any:  # noqa: ANN401 - array or tensor
    """Return an array or tensor as one of the requested library, without a copy."""
    if tensors == "numpy":
        return np.asarray(array)
    return torch.from_numpy(array) if isinstance(array, np.ndarray) else array


def _is_stored(value: Mapping[str, Any]) -> bool:
    return value.keys() <= _FIELDS


def _register() -> None:
    """Make `datasets` know the features, in what it reads from files, too."""
    # `with_format("torch")` copies tensors by torch.tensor(tensor), which warns that it copies.
    warnings.filterwarnings("ignore", "To copy construct", UserWarning, r"datasets\.formatting\.torch_formatter")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that `register_feature` is experimental
        for feature in (Weights, Rollouts, Embedding):
            register_feature(feature, feature._type)


_register()
