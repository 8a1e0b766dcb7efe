"""Generating a zoo: an engine makes the shards that are missing; when all are finished, the manifest is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rnn_zoos.errors import PresetError
from rnn_zoos.format.manifest import Manifest, read_manifest
from rnn_zoos.generation.engines.groups import updates_of
from rnn_zoos.generation.engines.local import LocalEngine
from rnn_zoos.generation.engines.progress import Progress
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.finishing import finish
from rnn_zoos.generation.writing.store import Store
from rnn_zoos.generation.writing.workspace import Workspace


class Engine(Protocol):
    """Makes the shards of a plan.

    Example:
        >>> from rnn_zoos.generation import Engine, LocalEngine
        >>> engine: Engine = LocalEngine(workers=2)
    """

    @property
    def store(self) -> Store | None:
        """Where the files of the shards are written; None for the output directory."""
        ...

    def make(self, workspace: Workspace, pending: Sequence[ShardPlan], progress: Progress) -> None:
        """Make shards and write them, with their records, into the workspace.

        Args:
            workspace: the output directory and its plan, locked by the caller.
            pending: the shards to be made.
            progress: receives the updates and finished runs.

        Raises:
            ZooError: a shard could not be made or written.
        """
        ...


def generate(
    plan: Plan,
    directory: str | Path,
    engine: Engine | None = None,
    part: tuple[int, int] = (1, 1),
    rehash: bool = False,
) -> Manifest | None:
    """Generate the zoo of a plan in a directory; resume or extend it if the directory already holds some of it.

    It can be stopped at any time, in any way: at most the shards being computed are lost.

    Args:
        plan: the plan, from `make_plan`.
        directory: the output directory; it is created if it does not exist.
        engine: what makes the shards; None for `LocalEngine()`, which uses all cores of this machine.
        part: (k, n) to make only every n-th shard, beginning with the k-th; see `merge`.
        rehash: whether to read all finished files, and not only those whose size or time of modification has changed.

    Returns:
        The manifest of the zoo; None if shards of other parts are still missing.

    Raises:
        PresetError: there is no such part.
        PlanMismatchError: the directory was started with another plan.
        FormatError: the directory holds something else than a zoo.
        BusyError: another process is writing to the directory.
        IntegrityError: a finished file is damaged.
        DigitsError: the digits are missing, out of reach or damaged.
        StorageError: a file could not be written.
        WorkerError: a shard could not be made, or its worker was lost too often.
        ClusterError: the Ray cluster is out of reach, or its nodes cannot make this zoo.
        KeyboardInterrupt: it was stopped by Ctrl-C; all workers have been stopped, too.

    Example:
        >>> from rnn_zoos.generation import generate, make_plan
        >>> plan = make_plan("formal-languages", "demo", runs=1)
        >>> manifest = generate(plan, "my-zoo")
    """
    directory = Path(directory)
    k, n = part
    if not 1 <= k <= n:
        raise PresetError(f"The part is ({k}, {n}); expected (k, n) with k from 1 to n.")
    engine = engine or LocalEngine()
    workspace = Workspace(directory, plan, engine.store)
    workspace.check_directory()  # before anything is written, even the lock
    with locked(directory):
        pending = workspace.begin_or_resume(rehash=rehash)
        if pending is None:
            return read_manifest(directory)
        shards = workspace.plan.shards[k - 1 :: n]
        names = {shard.name for shard in shards}
        wanted = [shard for shard in pending if shard.name in names]
        if wanted:
            with _progress(workspace, shards, wanted) as progress:
                engine.make(workspace, wanted, progress)
        return finish(workspace) if len(wanted) == len(pending) else None


def _progress(workspace: Workspace, shards: Sequence[ShardPlan], wanted: Sequence[ShardPlan]) -> Progress:
    """Return the progress of making the wanted ones of some shards; the others are finished."""
    runs = sum(len(shard.table) for shard in shards)
    finished_runs = runs - sum(len(shard.table) for shard in wanted)
    return Progress(runs, finished_runs, sum(_remaining_updates(workspace, shard) for shard in wanted))


def _remaining_updates(workspace: Workspace, shard: ShardPlan) -> int:
    must_grow = workspace.paths.partial(shard, "record").is_file()
    return updates_of(workspace, shard) if must_grow else shard.total_updates(workspace.plan.settings)
