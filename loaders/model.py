"""Networks of a zoo as torch modules: `load_model` for one, `stack` for many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from rnn_zoos.errors import FormatError
from rnn_zoos.loaders.places import STORAGE
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import check_weights, stack_weights

_STACKED = (
    "these weights are stacked already, name -> [M, *shape], as those of `Zoo.torch_dataset` or a DataLoader are. Use "
    "NetworkStack(Architecture.of(weights), weights)."
)
_ONE_OF_STACKED = "For the network n as a module, load_model({'weights': unstack_weights(weights)[n]})."


@overload
def load_model(zoo_or_row: Mapping[str, Any]) -> RecurrentNetwork: ...
@overload
def load_model(
    zoo_or_row: str | Path, run: int, step: int, revision: str | None = None, token: str | None = None
) -> RecurrentNetwork: ...
def load_model(
    zoo_or_row: str | Path | Mapping[str, Any],
    run: int | None = None,
    step: int | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> RecurrentNetwork:
    """Load the network of one snapshot, in evaluation mode.

    From a zoo on the Hub, only the index and one shard are downloaded.

    Args:
        zoo_or_row: a row of `load_dataset`, whose weights are taken; or the directory of a zoo, or OWNER/NAME of a
            dataset repository on the Hub.
        run: number of the run. This and the following arguments apply only if a zoo is given.
        step: number of updates done.
        revision: branch, tag or commit hash on the Hub; None is the main branch.
        token: Hub access token; None uses that of `hf auth login` or HF_TOKEN.

    Returns:
        A torch module that maps inputs [B, T, I] to logits [B, T, O]. Its recurrent part is `network.lstm` (`.gru`,
        `.rnn`), its readout `network.linear`.

    Raises:
        FormatError: if the directory or repository is not a zoo, or the row has no weights, or those of several
            networks.
        UnknownNameError: for a run or step that the zoo does not have.
        IntegrityError: if a file is missing or damaged.
        HubError: if the Hub denies access, cannot be reached, or lacks the repository or revision.
        StorageError: if a downloaded file cannot be stored.

    Example:
        >>> import torch
        >>> from rnn_zoos import load_dataset, load_model
        >>> row = load_dataset("zoos/formal-languages", split="train")[-1]
        >>> logits = load_model(row)(torch.zeros(1, 7, 6))
        >>> network = load_model("zoos/formal-languages", run=row["run"], step=row["step"])
    """
    if isinstance(zoo_or_row, Mapping):
        weights = _weights_of(zoo_or_row)
        architecture = Architecture.of(weights)
        if check_weights(architecture, weights):
            raise FormatError(f"Expected one row, but {_STACKED} {_ONE_OF_STACKED}")
        return RecurrentNetwork(architecture, weights).eval()
    zoo = open_zoo(zoo_or_row, revision, token)
    if run is None or step is None:
        raise FormatError(f"run is {run} and step is {step}; expected the numbers of a snapshot of {zoo_or_row}.")
    weights = zoo.weights(zoo.row(run, step))
    return RecurrentNetwork(Architecture.of(weights), weights).eval()


def stack(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> NetworkStack:
    """Return the networks of M rows of `load_dataset` as one stack, which runs them all at once.

    Args:
        rows: a sequence of rows, or a batch of them such as `train[0:64]`.

    Returns:
        The networks in the order of the rows. Calling the stack on inputs [B, T, I] or [M, B, T, I] returns outputs
        [M, B, T, O] and the last states.

    Raises:
        FormatError: if `rows` is empty or a single row, if a row has no weights or stacked ones, or if the networks
            have several architectures.

    Example:
        >>> import torch
        >>> from rnn_zoos import load_dataset, stack
        >>> train = load_dataset("zoos/formal-languages", split="train")
        >>> outputs, state = stack(train[0:5])(torch.zeros(3, 7, 6))
        >>> outputs.shape
        torch.Size([5, 3, 7, 6])
    """
    if isinstance(rows, Mapping):
        rows = _rows_of(rows)
    weights = stack_weights([_weights_of(row) for row in rows])
    return NetworkStack(Architecture.of(weights), weights)


def _rows_of(batch: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rows of a batch of `load_dataset`, whose weights are a list. Raises FormatError for other dicts."""
    networks = batch.get("weights")
    if networks is None or isinstance(networks, (Mapping, Tensor)):
        weights = _weights_of(batch)  # raises unless they have names
        if check_weights(Architecture.of(weights), weights):
            raise FormatError(f"Expected rows, but {_STACKED}")
        raise FormatError("Expected several rows, but this is one. Use load_model(row), or stack([row]).")
    return [{"weights": weights} for weights in networks]


def _weights_of(row: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of a row as tensors."""
    weights = row.get("weights") if isinstance(row, Mapping) else None
    if isinstance(weights, Tensor):
        raise FormatError(
            f"The weights are one tensor {list(weights.shape)}; expected a dict of tensors. For the flat weights of "
            'batches there is `unflatten`; `Zoo.torch_dataset` with weights="named" does not make them.'
        )
    if not isinstance(weights, Mapping):
        raise FormatError(
            f"A row without weights: {list(row)}. Expected a row of `load_dataset`, with `weights`; for rows of an "
            "index there is `Zoo.stack`."
        )
    if weights.keys() == {field.name for field in STORAGE}:
        raise FormatError(
            "The row has the place of its weights, not the weights. For tensors, cast the column: "
            'cast_column("weights", Weights()).'
        )
    return {name: torch.as_tensor(tensor) for name, tensor in weights.items()}
