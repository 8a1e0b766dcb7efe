"""Making a zoo: what is missing goes to an engine, shard by shard; the manifest is written when all is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rnn_zoos.format.manifest import Manifest, read_manifest
from rnn_zoos.generation.engines.local import LocalEngine
from rnn_zoos.generation.engines.progress import Progress
from rnn_zoos.generation.plan import Plan, ShardPlan
from rnn_zoos.generation.writing.finishing import finish
from rnn_zoos.generation.writing.store import Store
from rnn_zoos.generation.writing.workspace import Workspace, locked


class Engine(Protocol):
    """What has shards made: the processes of this machine, or those of a cluster."""

    @property
    def store(self) -> Store | None:
        """Where the shards' files go, if not into the output directory."""
        ...

    def make(self, workspace: Workspace, pending: Sequence[ShardPlan], progress: Progress) -> None:
        """Have all these shards made and recorded in the workspace. Raises ZooError children."""
        ...


def generate(
    plan: Plan, directory: Path, engine: Engine | None = None, part: tuple[int, int] = (1, 1)
) -> Manifest | None:
    """Make the zoo of a plan in a directory, or finish or extend the one that was begun there.

    `engine` is by default this machine, a process per core. With a `part` (k, n), only every n-th shard is made,
    beginning with the k-th, and None is returned if others are missing then: `merge` brings the parts together.
    Stopping it in any way loses at most the shards in work. Raises ZooError children; KeyboardInterrupt passes through
    after the workers have been stopped.
    """
    engine = engine or LocalEngine()
    workspace = Workspace(directory, plan, engine.store)
    workspace.look()  # before anything is written, were it only a lock
    with locked(directory):
        pending = workspace.prepare()
        if pending is None:
            return read_manifest(directory)
        k, n = part
        mine = {shard.name for shard in plan.shards[k - 1 :: n]}
        wanted = [shard for shard in pending if shard.name in mine]
        if wanted:
            updates = sum(_updates(workspace, shard) for shard in wanted)
            runs = sum(len(shard.table) for shard in plan.shards[k - 1 :: n])
            done = runs - sum(len(shard.table) for shard in wanted)
            with Progress(runs, done, updates) as progress:
                engine.make(workspace, wanted, progress)
        return finish(workspace) if len(wanted) == len(pending) else None


def _updates(workspace: Workspace, shard: ShardPlan) -> int:
    """Return the updates that a shard still takes."""
    grows = workspace.partial_path(shard, "record").is_file()
    missing = len(workspace.missing_runs(shard)) if grows else len(shard.table)
    return missing * workspace.plan.settings.num_updates
