"""The output directory while a zoo is being made: whose it is, what is finished, and how it becomes a zoo.

shards/, rollouts/               finished shards, each written whole or not at all
unfinished/plan.json             the plan that the directory was begun with
unfinished/train-00000.json      index rows of a finished shard, with the hashes of its files: written last
unfinished/partial/              the last shards of a zoo that is being extended: their runs are kept, not trained again
zoo.json                         written when all is done; then unfinished/ goes
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from filelock import FileLock, Timeout

from rnn_zoos import __version__
from rnn_zoos.errors import BusyError, FormatError, IntegrityError, PlanMismatchError, StorageError
from rnn_zoos.files import (
    TEMPORARY,
    Array,
    FileEntry,
    check_bytes,
    map_tensors,
    read_sealed_json,
    write_sealed_json,
    write_tensors,
)
from rnn_zoos.generation.backends import backend_details
from rnn_zoos.generation.plan import Plan, ShardPlan
from rnn_zoos.generation.training import Run
from rnn_zoos.index import index_schema, read_index, write_index
from rnn_zoos.manifest import DIGITS, FORMAT, MANIFEST, UNFINISHED, Manifest, index_path, read_manifest
from rnn_zoos.rotation import PIXELS, SIDE
from rnn_zoos.sequential_mnist import SequentialMnist
from rnn_zoos.tasks import SPLITS

KINDS = ("shards", "rollouts")
_LOCK = ".lock"
_PARTIAL = "partial"
_REMEDY = "Delete it and run the same command again: its runs are made anew."


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard: its runs, the promise for its two files, the seconds of work, its index rows, and the plan.

    The plan (`Plan.identity`) stands in every record, so that the loss of plan.json loses nothing.
    """

    plan: dict[str, Any]
    runs: list[int]
    files: dict[str, FileEntry]
    seconds: float
    rows: list[dict[str, Any]]

    def write(self, path: Path) -> None:
        """Write the record. Inverse of `read_record`."""
        write_sealed_json(path, asdict(self))


def read_record(path: Path) -> ShardRecord:
    """Read a record written by `ShardRecord.write`. Raises IntegrityError if it is damaged."""
    data = read_sealed_json(path, _REMEDY)
    files = {kind: FileEntry(**entry) for kind, entry in data.pop("files").items()}
    return ShardRecord(files=files, **data)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory for this process. Raises BusyError if another one has it, StorageError if it is read-only."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / _LOCK, timeout=0):
            yield
    except Timeout:
        raise BusyError(
            f"{directory} is being written by another process. Wait for it to end, or give another --out directory."
        ) from None
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{directory} cannot be written: {error.strerror or error}. Give another --out.") from error


class Workspace:
    """An output directory and the plan that it is for. Use it under `locked`."""

    def __init__(self, directory: Path, plan: Plan) -> None:
        self.directory = directory
        self.plan = plan
        self.unfinished = directory / UNFINISHED

    def look(self) -> dict[str, Any] | None:
        """Return the identity of the plan that the directory was begun with, None if it is new; change nothing.

        Raises PlanMismatchError if that is another plan, FormatError if the directory holds something else.
        """
        begun = self._begun()
        if begun is not None:
            self._refuse_other_plan(begun)
        elif self.directory.is_dir():
            left_over = [path for path in self.unfinished.rglob("*") if path.name.endswith(TEMPORARY)]
            known = {self.directory / _LOCK, self.unfinished, *left_over}
            if any(path not in known for path in self.directory.rglob("*")):
                raise FormatError(
                    f"{self.directory} is not empty and holds no zoo. Give --out a new or empty directory."
                )
        return begun

    def prepare(self) -> list[ShardPlan] | None:
        """Make the directory ready for the plan; return the shards that are still to be made, None if it is finished.

        Raises what `look` raises, before anything is changed, and IntegrityError if a finished file is damaged.
        """
        begun = self.look() or {}
        if self._is_finished():
            return None
        finished_runs = begun.get("finished_runs", 0)
        if (self.directory / MANIFEST).is_file():
            finished_runs = self._reopen()
        write_sealed_json(self._plan_path, {**self.plan.identity(), "finished_runs": finished_runs})
        for path in self.directory.rglob(f".*{TEMPORARY}"):
            path.unlink(missing_ok=True)
        return [shard for shard in self.plan.shards if not self._settle(shard)]

    def _is_finished(self) -> bool:
        """Tell whether the directory already holds the whole zoo. Raises IntegrityError for damaged files."""
        if self.unfinished.exists() or not (self.directory / MANIFEST).is_file():
            return False
        manifest = read_manifest(self.directory)
        if manifest.runs != self.plan.settings.runs:
            return False
        present = [path for path in manifest.files if (self.directory / path).is_file()]
        for path in present:
            check_bytes(self.directory / path, manifest.files[path], _REMEDY)
        return len(present) == len(manifest.files)

    def missing_runs(self, shard: ShardPlan) -> list[Run]:
        """Return the runs of an unfinished shard that have to be trained: those that no partial shard holds."""
        paths = [self.partial_path(shard, kind) for kind in ("record", *KINDS)]
        kept = set(read_record(paths[0]).runs) if all(path.is_file() for path in paths) else set()
        return [run for run in shard.runs if run.run not in kept]

    @property
    def _plan_path(self) -> Path:
        return self.unfinished / "plan.json"

    def record_path(self, shard: ShardPlan) -> Path:
        """Where the record of a finished shard belongs."""
        return self.unfinished / f"{shard.name}.json"

    def partial_path(self, shard: ShardPlan, kind: str) -> Path:
        """Where a shard that has to grow waits; `kind` is record, shards or rollouts."""
        suffix = "json" if kind == "record" else "safetensors"
        return self.unfinished / _PARTIAL / f"{shard.name}.{kind}.{suffix}"

    def _begun(self) -> dict[str, Any] | None:
        """Return the identity of the plan that the directory was begun with."""
        try:
            if self._plan_path.is_file():
                return read_sealed_json(self._plan_path, "Give another --out directory.")
        except IntegrityError:
            if not list(self.unfinished.glob("*-*.json")):
                raise
        for path in sorted(self.unfinished.glob("*-*.json")):
            return read_record(path).plan
        if (self.directory / MANIFEST).is_file():
            manifest = read_manifest(self.directory)
            made = {"zoo": manifest.zoo, "backend": manifest.made["backend"], "digits": manifest.digits}
            return {**made, **manifest.settings}
        return None

    def _refuse_other_plan(self, begun: dict[str, Any]) -> None:
        asked = self.plan.identity()
        differing = [key for key in asked if key != "runs" and asked[key] != begun.get(key)]
        lines = [f"  {key}: {begun.get(key)!r} there, {asked[key]!r} asked for" for key in differing]
        if asked["runs"] < begun["runs"] and asked["runs"] != begun.get("finished_runs"):
            back = f", or go back to {begun['finished_runs']}" if begun.get("finished_runs") else ", not shrink"
            lines.append(f"  runs: {begun['runs']} there, only {asked['runs']} asked for (a zoo can grow{back})")
        if lines:
            raise PlanMismatchError(
                f"{self.directory} was begun with another plan; nothing was changed:\n"
                + "\n".join(lines)
                + "\nGive another --out directory, or the settings that it was begun with."
            )

    def _reopen(self) -> int:
        """Turn a finished zoo into an unfinished one, because runs are to be added or files are missing.

        Returns its number of runs.
        """
        manifest = read_manifest(self.directory)
        finished = replace(self.plan, settings=self.plan.settings.model_copy(update={"runs": manifest.runs}))
        rows: dict[str, list[dict[str, Any]]] = {}
        for path in {index_path(shard.split) for shard in finished.shards}:
            if (self.directory / path).is_file():
                check_bytes(self.directory / path, manifest.files[path], _REMEDY)
                rows[path] = read_index(self.directory / path).to_pylist()
        for shard in finished.shards:
            if index_path(shard.split) in rows:
                own = [row for row in rows[index_path(shard.split)] if row["shard"] == shard.number]
                files = {kind: manifest.files[shard.path(kind)] for kind in KINDS}
                seconds = manifest.made["seconds"] / len(finished.shards)
                record = ShardRecord(finished.identity(), shard.run_numbers, files, seconds, own)
                record.write(self.record_path(shard))
        write_sealed_json(self._plan_path, {**finished.identity(), "finished_runs": manifest.runs})
        (self.directory / MANIFEST).unlink()
        return manifest.runs

    def _settle(self, shard: ShardPlan) -> bool:
        """Tell whether a shard is finished; give its files this plan's names, or set it aside if it has to grow."""
        record_path = self.record_path(shard)
        if not record_path.is_file():
            self._discard(shard)
            return False
        record = read_record(record_path)
        if len(record.runs) > len(shard.runs):  # of an extension that was given up
            self._discard(shard)
            record_path.unlink()
            return False
        grown = record.runs != shard.run_numbers
        for kind in KINDS:
            target = self.partial_path(shard, kind) if grown else self.directory / shard.path(kind)
            for path in (self.directory / kind).glob(f"{shard.name}-of-*.safetensors"):
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
            if not target.is_file():  # removed by the user, because it was damaged: to be made again
                record_path.unlink()
                return False
            check_bytes(target, record.files[kind], _REMEDY)
        if grown:
            record_path.rename(self.partial_path(shard, "record"))
        return not grown

    def _discard(self, shard: ShardPlan) -> None:
        """Remove files of a shard that no record vouches for."""
        for kind in KINDS:
            for path in (self.directory / kind).glob(f"{shard.name}-of-*.safetensors"):
                path.unlink()

    def finish(self) -> Manifest:
        """Write the index, the digits and, last, zoo.json; then drop what only unfinished zoos have."""
        records = {shard.name: read_record(self.record_path(shard)) for shard in self.plan.shards}
        files, splits = {}, {}
        for split in SPLITS:
            shards = [shard for shard in self.plan.shards if shard.split == split]
            rows = [row for shard in shards for row in records[shard.name].rows]
            table = pa.Table.from_pylist(rows, schema=index_schema(self.plan.family.columns))
            splits[split] = {
                "runs": sum(len(shard.runs) for shard in shards),
                "rows": table.num_rows,
                "shards": len(shards),
            }
            if shards:
                files[index_path(split)] = write_index(self.directory / index_path(split), table)
            for shard in shards:
                files |= {shard.path(kind): records[shard.name].files[kind] for kind in KINDS}
        if digits := self._shown_digits():
            files[DIGITS] = write_tensors(self.directory / DIGITS, digits, {"format": FORMAT})
        manifest = self._manifest(splits, files, sum(record.seconds for record in records.values()))
        for kind in KINDS:
            for path in (self.directory / kind).iterdir():
                if f"{kind}/{path.name}" not in files:  # left by a process that was killed while it renamed
                    path.unlink()
        manifest.write(self.directory)
        shutil.rmtree(self.unfinished)
        return manifest

    def _shown_digits(self) -> dict[str, Array] | None:
        """Return the digits that rollouts point to (by their number in MNIST), if the zoo has any."""
        if not isinstance(self.plan.family, SequentialMnist):
            return None
        shown = [map_tensors(self.directory / shard.path("rollouts"))["images"] for shard in self.plan.shards]
        numbers = np.unique(np.concatenate([images.ravel() for images in shown]))
        digits = self.plan.family.digits
        places = torch.searchsorted(digits.numbers, torch.from_numpy(numbers.astype(np.int64)))
        return {
            "images": digits.images[places, :PIXELS].view(-1, SIDE, SIDE).numpy(),
            "labels": digits.labels[places].to(torch.uint8).numpy(),
            "numbers": numbers.astype(np.int32),
        }

    def _manifest(self, splits: dict[str, dict[str, int]], files: dict[str, FileEntry], seconds: float) -> Manifest:
        plan, family = self.plan, self.plan.family
        versions = {"rnn-zoos": __version__, "torch": torch.__version__, "numpy": np.__version__}
        return Manifest(
            zoo=plan.zoo,
            preset=plan.preset,
            settings=plan.settings_data(),
            seed=plan.settings.seed,
            runs=plan.settings.runs,
            architecture=plan.architecture,
            rollouts=family.rollout_shapes(plan.settings.evaluation_sizes(family)),
            columns={name: asdict(column) for name, column in family.columns.items()},
            splits=splits,
            digits=plan.digits(),
            made={
                "backend": plan.backend,
                "versions": {**versions, "python": platform.python_version(), **backend_details(plan.backend)},
                "machine": f"{platform.machine()}, {platform.system()}",
                "seconds": round(seconds, 1),
            },
            files=files,
        )
