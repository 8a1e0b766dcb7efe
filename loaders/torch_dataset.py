"""The map-style torch dataset that `Zoo.torch_dataset` makes: batches of stacked weights with labels."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.format.files import Array
from rnn_zoos.loaders.gathering import Layout, copy_rows, gather_rows
from rnn_zoos.loaders.mapping import RowTensors
from rnn_zoos.loaders.packing import PackedBatch
from rnn_zoos.loaders.rollouts import decode_rollouts, require_rollouts
from rnn_zoos.loaders.source import KINDS
from rnn_zoos.loaders.where import list_of_names
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.weights import check_weights, flatten

if TYPE_CHECKING:
    from rnn_zoos.loaders.zoo import Zoo

Form: TypeAlias = Literal["named", "flat"]
"""Form of the weights of a batch: name -> [B, *shape], or one tensor [B, P]."""
Transform: TypeAlias = Callable[[dict[str, Tensor]], Mapping[str, Tensor]]
"""Changes the stacked weights of a batch, name -> [B, *shape], and returns those of the same B networks."""
_DTYPES = (
    (pa.types.is_floating, np.float32),
    (pa.types.is_integer, np.int64),
    (pa.types.is_boolean, np.bool_),
)  # of labels; all others are lists


class TorchDataset(Dataset[dict[str, Any]]):
    """Snapshots of a zoo as a map-style dataset of torch, made by `Zoo.torch_dataset`.

    An item is a dict with `weights`, the requested labels and, if requested, `rollouts`. `dataset[i]` is one row.
    PyTorch's DataLoader fetches whole batches by `__getitems__`, stacked: pass it `collate_fn=dataset.collate`.

    A pickle names the zoo and contains the labels, but no weights and no token. Each process that unpickles a dataset
    with `in_memory` reads all weights again.

    Args:
        zoo: the zoo.
        index: rows of its index.
        labels: columns of the index that a batch has.
        rollouts: whether a batch has what the networks read and answered.
        weights: "named" or "flat".
        transform: changes the stacked weights of every batch.
        in_memory: whether all weights are read now and kept.

    Attributes:
        architecture: the architecture that the networks of all rows share.

    Raises:
        UnknownNameError: for a label or form of weights that does not exist.
        FormatError: if `labels` is no list of names, there are no rollouts, the networks have several architectures,
            or, when it is unpickled, if the zoo has changed.
        IntegrityError: if a file is missing or damaged.
        HubError: if a file cannot be downloaded.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> from rnn_zoos import open_zoo
        >>> dataset = open_zoo("zoos/formal-languages").torch_dataset("train", labels=["accuracy"])
        >>> loader = DataLoader(dataset, batch_size=8, shuffle=True, collate_fn=dataset.collate)
        >>> batch = next(iter(loader))
        >>> len(batch["weights"]["linear.weight"]), batch["accuracy"].dtype
        (8, torch.float32)
    """

    def __init__(
        self,
        zoo: Zoo,
        index: pa.Table,
        labels: Sequence[str],
        rollouts: bool,
        weights: Form,
        transform: Transform | None,
        in_memory: bool,
    ) -> None:
        if weights not in get_args(Form):
            raise UnknownNameError.among("form of weights", weights, get_args(Form))
        if transform is not None and not callable(transform):
            raise FormatError(
                f"`transform` is {transform!r}; expected a function from stacked weights to such, or None."
            )
        if rollouts:
            require_rollouts(zoo.manifest)
        labels = [labels] if isinstance(labels, str) else list_of_names("labels", labels)
        known = [name for name in index.column_names if name not in ("shard", "row")]
        for name in labels:
            if name not in known:
                raise UnknownNameError.among("label", name, known)
        self.zoo, self.weights, self.transform, self.in_memory = zoo, weights, transform, in_memory
        self._identity = zoo.identity
        self._kinds = KINDS if rollouts else KINDS[:1]
        places: dict[tuple[str, int], tuple[str, int]] = {}  # one object for all rows of a shard
        located = zip(index["split"].to_pylist(), index["shard"].to_pylist(), strict=True)
        self._shards = [places.setdefault(place, place) for place in located]
        self.architecture = zoo.architecture_of(places)
        self._rows = index["row"].to_numpy().astype(np.int64)
        self._labels = {name: _label(index[name]) for name in labels}
        self._angles = index["angle"].to_numpy() if rollouts and "angle" in index.column_names else None
        for split in dict.fromkeys(split for split, _ in places):
            zoo.fetch(split, sorted(shard for name, shard in places if name == split), self._kinds)
        self._memory = self._read_all() if in_memory else None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one row: the entries of a batch without their first axis, and strings as they are."""
        return {name: _first(value) for name, value in self.__getitems__([operator.index(index)]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """Return B rows, stacked.

        Args:
            indices: numbers of the rows; negative ones count from the end.

        Returns:
            A dict with `weights` as name -> float32 [B, *shape], or [B, P] if they are flat; each label as a tensor [B]
            of float32, int64 or bool, or as a list of B strings; and, if requested, `rollouts`, name -> [B, ...].

        Raises:
            IndexError: for a number that is not that of a row.
            FormatError: if the index and the shards disagree, or the result of `transform` does not fit.
            IntegrityError: if a file is missing or damaged.
            HubError: if a file cannot be downloaded.

        Example:
            >>> from rnn_zoos import open_zoo
            >>> dataset = open_zoo("zoos/formal-languages").torch_dataset("train", weights="flat")
            >>> len(dataset.__getitems__([3, 0, 5])["weights"])
            3
        """
        wanted = self._positions(indices)
        batch: dict[str, Any] = {"weights": self._read_weights(wanted)}
        for name, values in self._labels.items():
            picked = values[wanted]
            batch[name] = picked.tolist() if picked.dtype == object else torch.from_numpy(picked)
        if "rollouts" in self._kinds:
            layout = self.zoo.row_format("rollouts", self.architecture).stacked(len(wanted))
            stored = layout.views(self._gather("rollouts", wanted, layout))
            angles = None if self._angles is None else self._angles[wanted].tolist()
            decoded = decode_rollouts(self.zoo, stored, angles)
            batch["rollouts"] = {name: torch.from_numpy(array) for name, array in decoded.items()}
        return batch

    @staticmethod
    def collate(batch: Any) -> Any:  # noqa: ANN401 - a batch; from workers, what becomes one on the way
        """Return what `__getitems__` returned as it is: the `collate_fn` of a DataLoader.

        Args:
            batch: a stacked batch, or a list of rows, which are stacked: `ConcatDataset` gives them.

        Returns:
            The stacked batch. In a DataLoader's worker, its tensors lie in one block of shared memory.

        Example:
            >>> from torch.utils.data import DataLoader
            >>> from rnn_zoos import open_zoo
            >>> dataset = open_zoo("zoos/formal-languages").torch_dataset()
            >>> loader = DataLoader(dataset, batch_size=8, collate_fn=dataset.collate)
        """
        if isinstance(batch, list):
            batch = default_collate(batch)
        return batch if get_worker_info() is None else PackedBatch(batch)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_memory": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        if self.zoo.identity != self._identity:
            raise FormatError(f"The zoo at {self.zoo.source.address} has changed since this dataset was made.")

    def _positions(self, indices: Sequence[int]) -> Array:
        """Return numbers of rows as int64 [B], counted from the first row."""
        given = np.asarray(indices)
        if given.ndim != 1 or (len(given) and given.dtype.kind not in "iu"):
            raise IndexError(f"The numbers of rows are {indices!r}; expected a list of integers.")
        wanted, count = given.astype(np.int64), len(self)
        if len(wanted) and not -count <= wanted.min() <= wanted.max() < count:
            wrong = next(number for number in indices if not -count <= number < count)
            raise IndexError(f"There is no row {wrong}; this dataset has {count} rows.")
        return np.where(wanted < 0, wanted + count, wanted)

    def _read_weights(self, wanted: Array) -> dict[str, Tensor] | Tensor:
        stored = self.zoo.row_format("weights", self.architecture)
        flat = self.weights == "flat" and self.transform is None
        layout = stored.flat(len(wanted)) if flat else stored.stacked(len(wanted))
        if self.in_memory:
            self._memory = self._memory or self._read_all()
            block = copy_rows([self._memory], np.zeros_like(wanted), wanted, layout)
        else:
            block = self._gather("shards", wanted, layout)
        if flat:
            return torch.from_numpy(block.view(np.float32).reshape(len(wanted), self.architecture.num_parameters))
        named = {name: torch.from_numpy(array) for name, array in layout.views(block).items()}
        if self.transform is not None:
            named = _transformed(self.transform(named), self.architecture, len(wanted))
        return flatten(self.architecture, named) if self.weights == "flat" else named

    def _read_all(self) -> RowTensors:
        """Return the weights of all rows, one row after the other in one block."""
        layout = self.zoo.row_format("weights", self.architecture).flat(len(self))
        block = self._gather("shards", np.arange(len(self)), layout)
        return RowTensors(layout.views(block), len(self))

    def _gather(self, kind: str, wanted: Array, layout: Layout) -> Array:
        """Return a block with tensors of B rows, copied out of the shards."""
        shards = [self._shards[row] for row in wanted.tolist()]
        return gather_rows(shards, self._rows[wanted], layout, partial(self.zoo.files.open_shards, kind))


def _transformed(weights: object, architecture: Architecture, count: int) -> dict[str, Tensor]:
    """Return what a transform made of the stacked weights of `count` networks, whose labels it must still belong to.

    Raises FormatError for anything but stacked weights of as many networks of this architecture.
    """
    expected = f"Expected all parameters by their names, each [{count}, *shape]: as many networks, in the same order."
    if weights is None:
        raise FormatError(f"`transform` returned None: it forgot to return the weights. {expected}")
    if not isinstance(weights, Mapping) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise FormatError(f"`transform` returned a {type(weights).__name__} that is no dict of tensors. {expected}")
    try:
        leading = check_weights(architecture, weights)
    except FormatError as error:
        raise FormatError(f"What `transform` returned does not fit: {error} {expected}") from error
    if leading != (count,):
        raise FormatError(f"`transform` returned weights with the leading axes {leading}. {expected}")
    return dict(weights)


def _label(column: pa.ChunkedArray) -> Array:
    """Return a column as an array of float32, int64, bool or strings (dtype object)."""
    for holds, dtype in _DTYPES:
        if holds(column.type):
            return np.asarray(column.to_numpy(), dtype)
    return np.array(column.to_pylist(), object)


def _first(values: Any) -> Any:  # noqa: ANN401 - the values of a batch
    """Return the first of the rows of an entry of a batch."""
    if isinstance(values, dict):
        return {name: tensor[0] for name, tensor in values.items()}
    return values[0]
