"""A zoo opened for reading: its manifest, its index as pyarrow tables, and its tensors by memory map."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property, partial
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.families.columns import Column
from rnn_zoos.families.family import SPLITS
from rnn_zoos.format.files import Array
from rnn_zoos.format.index import index_schema
from rnn_zoos.format.manifest import DIGITS
from rnn_zoos.loaders.finding import find_source
from rnn_zoos.loaders.gathering import RowFormat, copy_row, gather_rows
from rnn_zoos.loaders.index_rows import IndexRows, place_columns
from rnn_zoos.loaders.row import Row
from rnn_zoos.loaders.source import KINDS, Source, ZooFiles
from rnn_zoos.loaders.torch_dataset import Form, TorchDataset, Transform
from rnn_zoos.loaders.where import Where, row_filter
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack


def open_zoo(name_or_dir: str | Path, revision: str | None = None, token: str | None = None) -> Zoo:
    """Open a zoo from a local directory or from the Hugging Face Hub. Only zoo.json is read.

    Args:
        name_or_dir: directory of a zoo, or OWNER/NAME of a dataset repository on the Hub, which may also be written as
            hf://datasets/OWNER/NAME or hf://datasets/OWNER/NAME@REVISION. A directory takes precedence; a `Path` is
            always one.
        revision: branch, tag or commit hash on the Hub; None is the main branch. It is resolved to a commit once, and
            all files are read from that commit. Not allowed for a directory. If the Hub cannot be asked, the cached
            commit is used, with a UserWarning.
        token: Hub access token; None uses that of `hf auth login` or HF_TOKEN.

    Returns:
        The zoo.

    Raises:
        FormatError: if the directory or repository is not a zoo.
        HubError: if the repository or revision does not exist, access is denied, or the Hub cannot be reached.

    Example:
        >>> from rnn_zoos import open_zoo
        >>> zoo = open_zoo("zoos/formal-languages")
        >>> table = zoo.index("train")
    """
    return Zoo(find_source(name_or_dir, revision, token))


class Zoo:
    """A finished zoo, read on demand. `open_zoo` makes one from a path or a name.

    Args:
        source: where the files are read from.

    Attributes:
        source: where the files are read from.
        manifest: the content of zoo.json.
        files: the verified files of the zoo.

    A pickle names the source; the zoo is opened again where it is unpickled.

    Raises:
        FormatError: if the source does not hold a zoo of a known format.

    Example:
        >>> from rnn_zoos import open_zoo
        >>> zoo = open_zoo("zoos/formal-languages")
        >>> row = zoo.index("train").to_pylist()[-1]
        >>> weights = zoo.weights(row)
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.manifest = source.manifest()
        self.files = ZooFiles(source, self.manifest)
        self._formats: dict[tuple[str, Architecture], RowFormat] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Zoo, (self.source,)

    def _repr_html_(self) -> str:
        from rnn_zoos.loaders.notebook import zoo_html

        return zoo_html(self.manifest, None if self.source.remote else self.index())

    @cached_property
    def identity(self) -> str:
        """SHA-256 over everything in the manifest except how and when the zoo was made: equal for equal zoos."""
        return self.manifest.identity()

    @cached_property
    def index_schema(self) -> pa.Schema:
        """Names and types of the columns of the index."""
        return index_schema({name: Column(**column) for name, column in self.manifest.columns.items()})

    def splits(self, split: str | None = None) -> list[str]:
        """Return the names of the splits that have rows.

        Args:
            split: return only this one; None returns all.

        Returns:
            Names in the order train, validation, test, ood.

        Raises:
            UnknownNameError: if the zoo has no rows in `split`.

        Example:
            >>> from rnn_zoos import open_zoo
            >>> names = open_zoo("zoos/formal-languages").splits()
        """
        present = [name for name in SPLITS if self.manifest.splits[name]["rows"]]
        if split is None:
            return present
        if str(split) not in present:
            raise UnknownNameError.among("split", split, present)
        return [str(split)]

    def index(
        self, split: str | None = None, steps: int | Iterable[int] | None = None, where: Where | None = None
    ) -> pa.Table:
        """Read the index: one row per snapshot with its labels and the location of its tensors.

        Args:
            split: read this split; None reads all, in the order train, validation, test, ood.
            steps: keep only snapshots after these numbers of updates.
            where: keep only rows that satisfy a pyarrow expression, or all of some triples such as
                ("accuracy", ">", 0.9). The operators are ==, !=, <, <=, >, >=, in and not in.

        Returns:
            A table with the columns that `manifest.columns` describes.

        Raises:
            UnknownNameError: for a split, step or column that the zoo does not have.
            FormatError: for a malformed `steps` or `where`, or an index whose columns do not match the manifest.
            IntegrityError: if an index file is damaged.

        Example:
            >>> from rnn_zoos import open_zoo
            >>> table = open_zoo("zoos/formal-languages").index("train", where=[("accuracy", ">=", 0.5)])
        """
        schema = self.index_schema
        selected = row_filter(schema, self.manifest.snapshots, steps, where)
        tables = [self.files.read_index(name, schema, selected) for name in self.splits(split)]
        return pa.concat_tables([schema.empty_table(), *tables])

    def row(self, run: int, step: int) -> Row:
        """Return the index row of one snapshot.

        Args:
            run: number of the run.
            step: number of updates done.

        Returns:
            Column name -> value, a dict that notebooks show as a table.

        Raises:
            UnknownNameError: for a run or step that the zoo does not have; the message lists those that it has.

        Example:
            >>> from rnn_zoos import open_zoo
            >>> zoo = open_zoo("zoos/formal-languages")
            >>> row = zoo.row(run=0, step=zoo.manifest.snapshots[-1])
        """
        if not isinstance(run, Integral) or not 0 <= int(run) < self.manifest.runs:
            raise UnknownNameError(f"Unknown run {run}; this zoo has the runs 0 to {self.manifest.runs - 1}.")
        rows = self.index(where=[("run", "==", run)]).to_pylist()
        for row in rows:
            if row["step"] == step:
                return Row(row)
        if step in self.manifest.snapshots:
            raise UnknownNameError(self._missing_step(run, step, rows))
        steps = ", ".join(str(row["step"]) for row in rows)
        raise UnknownNameError(f"Unknown step {step} of run {run}; it has the steps {steps or 'none'}.")

    def _missing_step(self, run: int, step: int, rows: Sequence[Mapping[str, Any]]) -> str:
        """Return why the rows of a run lack a step of the zoo, and which steps they have."""
        if not rows:
            return f"Run {run} has no snapshots: it diverged before step {self.manifest.snapshots[0]}."
        own = rows[0].get("num_updates")  # in zoos whose runs draw it
        ended = f"ended after {own} updates, before" if own is not None and own < step else "has no snapshot at"
        reason = "diverged before" if rows[0]["diverged"] else ended
        return f"Run {run} {reason} step {step}; it has the steps {[row['step'] for row in rows]}."

    def take(self, kind: str, places: IndexRows) -> dict[str, Array]:
        """Copy the tensors of M index rows out of the shards.

        Args:
            kind: "weights", or "rollouts" for what the networks read and answered, as stored.
            places: M rows of `index`, as a table or as its `to_pydict` or `to_pylist`, of which only the columns
                `split`, `shard` and `row` are read.

        Returns:
            Numpy arrays, name -> [M, ...].

        Raises:
            UnknownNameError: for another kind.
            FormatError: if `places` lacks a column or is no table, the index and the shards disagree, or the weights
                are of several architectures.
            IntegrityError: if a file is missing or damaged.
            HubError: if a file cannot be downloaded.

        Example:
            >>> from rnn_zoos import open_zoo
            >>> zoo = open_zoo("zoos/formal-languages")
            >>> arrays = zoo.take("weights", zoo.index("train"))
        """
        folder = _folder_of(kind)
        columns = place_columns(places)
        shards = list(zip(columns["split"], columns["shard"], strict=True))
        of_rollouts = folder == "rollouts"  # which have the same shapes for all architectures
        architecture = self.manifest.architectures[0] if of_rollouts else self.architecture_of(shards)
        layout = self.row_format(kind, architecture).stacked(len(shards))
        rows = np.array(columns["row"], np.int64)
        return layout.views(gather_rows(shards, rows, layout, partial(self.files.open_shards, folder)))

    def read_row(self, kind: str, file: str, row: int) -> dict[str, Array]:
        """Copy the tensors of one row out of a shard that is named by its path.

        Args:
            kind: "weights", or "rollouts" for what the networks read and answered, as stored.
            file: path of the shard inside the zoo, such as shards/train-00000-of-00012.safetensors.
            row: number of the row in this file.

        Returns:
            Numpy arrays, name -> [*shape], which share one block of memory.

        Raises:
            UnknownNameError: for another kind.
            FormatError: if the zoo has no such shard, or the shard no such row.
            IntegrityError: if the file is missing or damaged.
            HubError: if the file cannot be downloaded.

        Example:
            >>> from rnn_zoos import open_zoo
            >>> zoo = open_zoo("zoos/formal-languages")
            >>> arrays = zoo.read_row("weights", zoo.manifest.paths("shards", "train")[0], 0)
        """
        folder = _folder_of(kind)
        if not isinstance(row, Integral):
            raise FormatError(f"The row is {row!r}; expected the number of a row in {file}.")
        place = self.files.locate(folder, file)
        (shard,) = self.files.open_shards(folder, [place])
        return copy_row(shard, int(row), self.row_format(kind, self.architecture_of([place])), file)

    def row_format(self, kind: str, architecture: Architecture) -> RowFormat:
        """Return the tensors of a row of the files of one kind.

        Args:
            kind: "weights", or "rollouts" for what the networks read and answered.
            architecture: the architecture of the networks.

        Returns:
            Names, types and shapes, with the layouts of many rows.

        Example:
            >>> from rnn_zoos import open_zoo
            >>> zoo = open_zoo("zoos/formal-languages")
            >>> len(zoo.row_format("weights", zoo.manifest.architecture).fields)
            10
        """
        key = _folder_of(kind), architecture
        if key not in self._formats:
            self._formats[key] = RowFormat(self.manifest.tensors(*key))
        return self._formats[key]

    def architecture_of(self, shards: Collection[tuple[str, int]]) -> Architecture:
        """Return the architecture that the networks of some shards share.

        Args:
            shards: split and number of each.

        Returns:
            The architecture; without shards, the first one of the zoo.

        Raises:
            FormatError: if they have several, or there is no such shard.

        Example:
            >>> from rnn_zoos import open_zoo
            >>> open_zoo("zoos/formal-languages").architecture_of([("train", 0), ("test", 0)]).cell
            'lstm'
        """
        found = {self._architecture(split, shard): None for split, shard in dict.fromkeys(shards)}
        if len(found) > 1:
            names = ", ".join(sorted(architecture.name for architecture in found))
            raise FormatError(
                f"These rows have networks of {len(found)} architectures ({names}), which cannot be stacked. Choose "
                f'rows of one, such as where=[("architecture", "==", "{min(a.name for a in found)}")], or use `stacks`.'
            )
        return next(iter(found), self.manifest.architectures[0])

    def _architecture(self, split: str, shard: int) -> Architecture:
        if self.manifest.shard_architectures is not None:
            self.files.shard_path("shards", split, shard)  # raises if there is no such shard
            return self.manifest.architecture_of(split, shard)
        return self.manifest.architectures[0]

    def torch_dataset(
        self,
        split: str | None = None,
        steps: int | Iterable[int] | None = None,
        where: Where | None = None,
        labels: Sequence[str] = (),
        rollouts: bool = False,
        weights: Form = "named",
        transform: Transform | None = None,
        in_memory: bool = False,
    ) -> TorchDataset:
        """Return selected rows as a map-style torch dataset that gives stacked batches: the fast way to train on a zoo.

        Args:
            split: keep only this split; None keeps all.
            steps: keep only snapshots after these numbers of updates.
            where: keep only rows that satisfy a condition, as for `index`.
            labels: columns of the index that a batch has. Floats become float32, integers int64; strings stay lists.
            rollouts: whether a batch also has what the networks read and answered, as in `load_dataset`.
            weights: "named" for name -> [B, *shape], or "flat" for [B, P] in the order of `flatten`.
            transform: called with the stacked weights of every batch, name -> [B, *shape], which it may change in
                place; returns the weights to use, those of the same networks in the same order.
            in_memory: read all weights now and keep them, instead of reading each batch from mapped files.

        Returns:
            The dataset. A DataLoader of it needs `collate_fn=dataset.collate`.

        Raises:
            UnknownNameError: for a split, step, column, label or form of weights that does not exist.
            FormatError: for a malformed `steps`, `where` or `labels`, or if there are no rollouts.
            IntegrityError: if a file is missing or damaged. Shards are verified when they are first used.
            HubError: if a file cannot be downloaded.

        Example:
            >>> from torch.utils.data import DataLoader
            >>> from rnn_zoos import open_zoo
            >>> dataset = open_zoo("zoos/formal-languages").torch_dataset("train", labels=["accuracy", "task"])
            >>> for batch in DataLoader(dataset, batch_size=8, shuffle=True, collate_fn=dataset.collate):
            ...     weights, accuracy = batch["weights"], batch["accuracy"]
        """
        return TorchDataset(self, self.index(split, steps, where), labels, rollouts, weights, transform, in_memory)

    def stack(self, rows: IndexRows, device: str = "cpu") -> NetworkStack:
        """Return the networks of M index rows as one stack, which runs them all at once.

        Args:
            rows: rows of `index`, as a table or as its `to_pylist` or `to_pydict`.
            device: torch device of the weights.

        Returns:
            The networks in the order of the rows. Calling the stack on inputs [B, T, I] or [M, B, T, I] returns
            outputs [M, B, T, O] and the last states.

        Raises:
            FormatError: if `rows` lacks `split`, `shard` or `row`, the index and the shards disagree, or the networks
                have several architectures; see `stacks`.
            IntegrityError: if a file is missing or damaged.
            HubError: if a file cannot be downloaded.

        Example:
            >>> import torch
            >>> from rnn_zoos import open_zoo
            >>> zoo = open_zoo("zoos/formal-languages")
            >>> stack = zoo.stack(zoo.index("train"))
            >>> outputs, state = stack(torch.zeros(3, 7, 6))
        """
        places = place_columns(rows)
        arrays = self.take("weights", places)
        weights = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return NetworkStack(self.architecture_of([*zip(places["split"], places["shard"], strict=True)]), weights)

    def stacks(self, rows: IndexRows, device: str = "cpu") -> list[tuple[Tensor, NetworkStack]]:
        """Return the networks of M index rows as stacks, one per architecture.

        Args:
            rows: rows of `index`, as a table or as its `to_pylist` or `to_pydict`.
            device: torch device of the weights.

        Returns:
            For each architecture among the rows, in the order of the manifest, the positions of its rows, int64 [N],
            ascending, and their networks as a stack.

        Raises:
            FormatError: if `rows` lacks `split`, `shard` or `row`, or the index and the shards disagree.
            IntegrityError: if a file is missing or damaged.
            HubError: if a file cannot be downloaded.

        Example:
            >>> from rnn_zoos import open_zoo
            >>> zoo = open_zoo("zoos/formal-languages")
            >>> table = zoo.index("train")
            >>> sum(len(positions) for positions, stack in zoo.stacks(table)) == len(table)
            True
        """
        places = place_columns(rows)
        found = [self._architecture(*shard) for shard in zip(places["split"], places["shard"], strict=True)]
        table, stacks = pa.table(places), []
        for architecture in self.manifest.architectures:
            positions = [position for position, own in enumerate(found) if own == architecture]
            if positions:
                stacks.append((torch.tensor(positions), self.stack(table.take(positions), device)))
        return stacks

    def weights(self, row: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return a copy of the weights of one index row.

        Args:
            row: a row of `index` or the result of `row`.

        Returns:
            Parameter name -> float32 [*shape], in the order of the architecture.

        Raises:
            FormatError: if `row` lacks `split`, `shard` or `row`, or the index and the shards disagree.
            IntegrityError: if a file is missing or damaged.
            HubError: if a file cannot be downloaded.

        Example:
            >>> from rnn_zoos import open_zoo
            >>> zoo = open_zoo("zoos/formal-languages")
            >>> weights = zoo.weights(zoo.index("train").to_pylist()[0])
        """
        arrays = self.take("weights", place_columns([row]))
        return {name: torch.from_numpy(array[0]) for name, array in arrays.items()}

    def fetch(self, split: str, shards: Iterable[int], kinds: Sequence[str] = ("weights",)) -> None:
        """Download the files of some shards ahead of reading. Does nothing for a local directory.

        Args:
            split: split of the shards.
            shards: numbers of the shards within the split.
            kinds: which files: "weights", or "rollouts" for what the networks read and answered.

        Raises:
            UnknownNameError: for another kind.
            FormatError: if the zoo has no such shard.
            HubError: if a file cannot be downloaded.
            IntegrityError: if a downloaded file is damaged.

        Example:
            >>> from rnn_zoos import open_zoo
            >>> open_zoo("zoos/formal-languages").fetch("train", [0])
        """
        folders = [_folder_of(kind) for kind in kinds]
        if not self.source.remote:
            return
        numbers = list(shards)
        files = [self.files.shard_path(folder, split, number) for folder in folders for number in numbers]
        if files and "rollouts" in folders and "images" in self.manifest.rollouts:
            files.append(DIGITS)
        self.files.download(files)


def _folder_of(kind: str) -> str:
    """Return the folder of a zoo with the tensors of a kind. Raises UnknownNameError."""
    if kind in KINDS:  # the name of a folder, which version 0.1 asked for
        return kind
    if kind != "weights":
        raise UnknownNameError.among("kind of tensors", kind, ("weights", "rollouts"))
    return "shards"
