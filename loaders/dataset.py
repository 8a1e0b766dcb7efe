"""`load_dataset`: a zoo as `datasets` objects. Labels are in memory; tensors are read from mapped shards on access."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, overload

import datasets

from rnn_zoos.errors import FormatError
from rnn_zoos.loaders.embeddings import read_embeddings
from rnn_zoos.loaders.features import Library, check_library
from rnn_zoos.loaders.selection import Selection
from rnn_zoos.loaders.splits import without_spaces
from rnn_zoos.loaders.where import Where, normalise_steps, normalise_where
from rnn_zoos.loaders.zoo import open_zoo

Loaded: TypeAlias = datasets.Dataset | datasets.DatasetDict | datasets.IterableDataset | datasets.IterableDatasetDict
"""What `load_dataset` returns."""


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
    columns: Sequence[str] | None = None,
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
    columns: Sequence[str] | None = None,
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
    columns: Sequence[str] | None = None,
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
    columns: Sequence[str] | None = None,
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
    columns: Sequence[str] | None = None,
) -> Loaded: ...
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
    columns: Sequence[str] | None = None,
) -> Loaded:
    """Load a zoo as `datasets` objects: one row per snapshot, with its labels and weights.

    A row has the labels that `rnn-zoos info` lists, and `weights`, a dict name -> float32 [*shape]. With `rollouts`, it
    also has `rollouts`, a dict with

    - formal-languages: `sequences`, symbols uint8 [B, 42], and `log_probs`, float16 [B, 41, 6];
    - sequential-mnist: `sequences`, inputs float32 [B, 50, 16], `logits`, float16 [B, 50, 10], and `labels`, the digit
      classes uint8 [B], which imported zoos lack.

    B is the number of rollouts per snapshot: 100 in the presets `small`, `medium` and `paper`.

    Weights and rollouts are features of `datasets`, as its images are: every operation carries them along, and tensors
    are read from memory-mapped shards when a row is accessed. `select_columns` does not read them, nor does
    `filter(..., input_columns=[...])`, except on streams, which read the tensors of every row that they reach: choose
    their rows by `where` and `steps`. For training, `Zoo.torch_dataset` gives stacked batches several times faster.

    For a zoo on the Hub, only the shards with selected rows are downloaded: before this function returns, or, when
    streaming, when the stream reaches them. Files stay in the cache of `huggingface_hub` and can be used offline.

    Args:
        name_or_dir: directory of a zoo, OWNER/NAME of a dataset repository on the Hub, or hf://datasets/OWNER/NAME.
        split: train, validation, test or ood, or an expression of them such as "train[:10%]" or "train+test", of the
            rows that `steps` and `where` keep; None loads all splits that have rows.
        steps: keep only snapshots after these numbers of updates: an integer or several.
        where: keep only rows that satisfy a pyarrow expression, or all of some triples such as ("accuracy", ">", 0.9).
            The operators are ==, !=, <, <=, >, >=, in and not in.
        rollouts: also load what the networks read and answered.
        revision: branch, tag or commit hash on the Hub; None is the main branch. All files are read from the commit
            that it points to now.
        streaming: return iterable datasets. They have one dataset shard per file of weights, so that nodes and workers
            can divide them.
        token: Hub access token for private zoos; None uses that of `hf auth login` or HF_TOKEN. It is not pickled:
            spawned workers need HF_TOKEN.
        tensors: "torch" or "numpy", the type of weights, rollouts and embeddings.
        embeddings: file that `rnn-zoos embed` wrote for this zoo. Rows then also have `embedding`, float32 [16].
        columns: the columns of a row, in this order, at least one; None takes all. Without "weights", no weights are
            downloaded.

    Returns:
        A `Dataset` if `split` is given, else a `DatasetDict`; an `IterableDataset` or `IterableDatasetDict` if
        `streaming`.

    Raises:
        FormatError: if the directory or repository is not a zoo, or `split`, `steps`, `where` or `columns` is
            malformed; if `embeddings` is not a file of embeddings, is of another zoo, or lacks rows.
        UnknownNameError: for an unknown split, step, column or value of `tensors`.
        IntegrityError: if a file is missing or damaged. Tensor files are verified on first access.
        HubError: if the Hub denies access, cannot be reached, or lacks the repository or revision.
        StorageError: if a downloaded file cannot be stored.

    Example:
        >>> from rnn_zoos import load_dataset
        >>> train = load_dataset("zoos/formal-languages", split="train")
        >>> weights = train[0]["weights"]["lstm.weight_hh_l0"]  # [4H, H]
        >>> good = load_dataset("zoos/formal-languages", where=[("accuracy", ">=", 0.5)], rollouts=True)
        >>> some = load_dataset("zoos/formal-languages", split="train[:10%]+test", columns=["task", "weights"])
    """
    check_library(tensors)
    zoo = open_zoo(name_or_dir, revision, token)
    if embeddings is not None and not isinstance(embeddings, (str, Path)):
        raise FormatError(f"embeddings is {embeddings!r}; expected the path of a file that `rnn-zoos embed` wrote.")
    read = None if embeddings is None else read_embeddings(Path(embeddings), zoo.identity)
    chosen = normalise_steps(steps), normalise_where(where)
    selection = Selection(zoo, *chosen, rollouts, tensors, read, columns)
    if split is not None:
        if isinstance(split, Iterable) and not isinstance(split, str):
            raise FormatError(f"split is {split!r}; expected one name or expression of names, such as 'train+test'.")
        return _load(selection, without_spaces(str(split)), streaming)
    loaded = {name: _load(selection, name, streaming) for name in zoo.splits()}
    return datasets.IterableDatasetDict(loaded) if streaming else datasets.DatasetDict(loaded)


def _load(selection: Selection, expression: str, streaming: bool) -> datasets.Dataset | datasets.IterableDataset:
    """Return the selected rows of a split expression."""
    parts = selection.index(expression)
    if not streaming:
        selection.fetch(parts)
    rows = datasets.Dataset(
        selection.table(parts),
        info=datasets.DatasetInfo(features=selection.features),
        split=datasets.NamedSplit(expression),
        fingerprint=selection.fingerprint(expression),
    )
    if not streaming:
        return rows
    if not len(rows):  # which `to_iterable_dataset` refuses
        return datasets.IterableDataset.from_generator(tuple, features=rows.features, split=rows.split)
    num_files = sum(len(index["shard"].unique()) for _, index in parts)
    return rows.to_iterable_dataset(num_shards=max(1, min(num_files, len(rows))))
