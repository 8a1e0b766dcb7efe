"""`load_dataset`: a zoo as `datasets` objects. Labels are in memory; tensors are read from mapped shards on access."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args, overload

import datasets
import pyarrow.compute as pc

from rnn_zoos.errors import UnknownNameError
from rnn_zoos.format.files import sha256_of
from rnn_zoos.loaders.embeddings import COLUMN, embedding_column
from rnn_zoos.loaders.transform import Gather, Library, stream
from rnn_zoos.loaders.where import Where
from rnn_zoos.loaders.zoo import open_zoo


@overload
def load_dataset(
    name_or_dir: str | Path,
    split: str,
    steps: int | Iterable[int] | None = None,
    where: Where | None = None,
    rollouts: bool = False,
    revision: str | None = None,
    streaming: Literal[False] = False,
    token: str | None = None,
    tensors: Library = "torch",
    embeddings: str | Path | None = None,
) -> datasets.Dataset: ...
@overload
def load_dataset(
    name_or_dir: str | Path,
    split: str,
    steps: int | Iterable[int] | None = None,
    where: Where | None = None,
    rollouts: bool = False,
    revision: str | None = None,
    *,
    streaming: Literal[True],
    token: str | None = None,
    tensors: Library = "torch",
    embeddings: str | Path | None = None,
) -> datasets.IterableDataset: ...
@overload
def load_dataset(
    name_or_dir: str | Path,
    split: None = None,
    steps: int | Iterable[int] | None = None,
    where: Where | None = None,
    rollouts: bool = False,
    revision: str | None = None,
    streaming: Literal[False] = False,
    token: str | None = None,
    tensors: Library = "torch",
    embeddings: str | Path | None = None,
) -> datasets.DatasetDict: ...
@overload
def load_dataset(
    name_or_dir: str | Path,
    split: None = None,
    steps: int | Iterable[int] | None = None,
    where: Where | None = None,
    rollouts: bool = False,
    revision: str | None = None,
    *,
    streaming: Literal[True],
    token: str | None = None,
    tensors: Library = "torch",
    embeddings: str | Path | None = None,
) -> datasets.IterableDatasetDict: ...
@overload
def load_dataset(
    name_or_dir: str | Path,
    split: str | None = None,
    steps: int | Iterable[int] | None = None,
    where: Where | None = None,
    rollouts: bool = False,
    revision: str | None = None,
    streaming: bool = False,
    token: str | None = None,
    tensors: Library = "torch",
    embeddings: str | Path | None = None,
) -> datasets.Dataset | datasets.DatasetDict | datasets.IterableDataset | datasets.IterableDatasetDict: ...
def load_dataset(
    name_or_dir: str | Path,
    split: str | None = None,
    steps: int | Iterable[int] | None = None,
    where: Where | None = None,
    rollouts: bool = False,
    revision: str | None = None,
    streaming: bool = False,
    token: str | None = None,
    tensors: Library = "torch",
    embeddings: str | Path | None = None,
) -> datasets.Dataset | datasets.DatasetDict | datasets.IterableDataset | datasets.IterableDatasetDict:
    """Load a zoo as `datasets` objects: one row per snapshot, with its labels and weights.

    A row has the labels that `rnn-zoos info` lists, and `weights`, a dict name -> float32 [*shape]. A slice or list of
    M rows has `weights` as name -> [M, *shape]. With `rollouts`, a row also has

    - formal-languages: `sequences`, symbols uint8 [B, 42], and `log_probs`, float16 [B, 41, 6];
    - sequential-mnist: `sequences`, inputs float32 [B, 50, 16], `logits`, float16 [B, 50, 10], and `labels`, the digit
      classes uint8 [B], which imported zoos lack.

    B is the number of rollouts per snapshot: 100 in the presets `small`, `medium` and `paper`. Tensors are read when a
    row is accessed; `filter(..., input_columns=[...])` and `select_columns` do not read them. `with_format` would
    replace that reading: use `tensors` instead.

    For a zoo on the Hub, only the shards with selected rows are downloaded: before this function returns, or, when
    streaming, when the stream reaches them. Files stay in the cache of `huggingface_hub` and can be used offline.

    Args:
        name_or_dir: directory of a zoo, or OWNER/NAME of a dataset repository on the Hub.
        split: train, validation, test or ood; None loads all splits that have rows.
        steps: keep only snapshots after these numbers of updates.
        where: keep only rows that satisfy a pyarrow expression, or all of some triples such as ("accuracy", ">", 0.9).
            The operators are ==, !=, <, <=, >, >=, in and not in.
        rollouts: also load what the networks read and answered.
        revision: branch, tag or commit hash on the Hub; None is the main branch. All files are read from the commit
            that it points to now.
        streaming: return iterable datasets with one stream shard per zoo shard, for division over nodes and workers.
        token: Hub access token for private zoos; None uses that of `hf auth login` or HF_TOKEN. It is not pickled:
            spawned workers need HF_TOKEN.
        tensors: "torch" or "numpy", the type of weights, rollouts and embeddings.
        embeddings: file that `rnn-zoos embed` wrote for this zoo. Rows then also have `embedding`, float32 [16].

    Returns:
        A `Dataset` if `split` is given, else a `DatasetDict`; an `IterableDataset` or `IterableDatasetDict` if
        `streaming`.

    Raises:
        FormatError: if the directory or repository is not a zoo, or `steps` or `where` is malformed; if `embeddings` is
            not a file of embeddings, is of another zoo, or lacks rows.
        UnknownNameError: for an unknown split, step, column or value of `tensors`.
        IntegrityError: if a file is missing or damaged. Tensor files are verified on first access.
        HubError: if the Hub denies access, cannot be reached, or lacks the repository or revision.
        StorageError: if a downloaded file cannot be stored.

    Example:
        >>> from rnn_zoos import load_dataset
        >>> train = load_dataset("zoos/formal-languages", split="train")
        >>> weights = train[0]["weights"]["lstm.weight_hh_l0"]  # [4H, H]
        >>> good = load_dataset("zoos/formal-languages", where=[("accuracy", ">=", 0.5)], rollouts=True)
    """
    if tensors not in get_args(Library):
        raise UnknownNameError.among("kind of tensors", tensors, get_args(Library))
    zoo = open_zoo(name_or_dir, revision, token)
    gather = Gather(zoo.source, rollouts, tensors, [zoo])
    steps = list(steps) if isinstance(steps, Iterable) else steps
    loaded = {}
    for name in zoo.splits(split):
        table = zoo.index(name, steps, where)
        identity = f"{zoo.identity}{name}{steps}{where}{rollouts}"
        if embeddings is not None:
            table = table.append_column(COLUMN, embedding_column(Path(embeddings), zoo.identity, table))
            identity += sha256_of(Path(embeddings))
        index = datasets.Dataset(
            table, split=datasets.NamedSplit(name), fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:16]
        )
        if streaming:
            loaded[name] = stream(index, gather)
        else:
            zoo.fetch(name, sorted(pc.unique(table["shard"]).to_pylist()), rollouts)
            loaded[name] = index.with_transform(gather)
    if split is not None:
        return loaded[split]
    return datasets.IterableDatasetDict(loaded) if streaming else datasets.DatasetDict(loaded)
