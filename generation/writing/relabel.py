"""Relabelling: a finished zoo gets the labels that it lacks, with the values that they would have at generation."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from rnn_zoos.errors import BackendError, DigitsError, FormatError, UnknownNameError, WorkerError
from rnn_zoos.families.registry import task_family
from rnn_zoos.families.run_labels import ACCURACY
from rnn_zoos.format.columns import missing_labels
from rnn_zoos.format.manifest import MANIFEST, UNFINISHED, Manifest, read_manifest
from rnn_zoos.generation.plan import Plan, plan_of_zoo
from rnn_zoos.generation.trainers.backends import make_trainer
from rnn_zoos.generation.writing.added_labels import LabelFolder
from rnn_zoos.generation.writing.directory import locked, remove_temporary_files
from rnn_zoos.generation.writing.label_index import write_new_zoo
from rnn_zoos.generation.writing.label_jobs import LabelJob, label_jobs, measure_shard, seconds_per_snapshot
from rnn_zoos.processes import WorkerPool, available_cores
from rnn_zoos.progress import progress_bar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Relabelling:
    """What relabelling a zoo does.

    Attributes:
        labels: The labels that are added, in the order of the index.
        snapshots: Number of snapshots that are measured; 0 if no label is added, or only labels of runs.
        workers: Number of worker processes; 0 if nothing is measured.
        seconds: Expected time, only from `estimate_relabelling`.
    """

    labels: tuple[str, ...]
    snapshots: int
    workers: int
    seconds: float | None = None


def relabel(
    directory: Path | str,
    labels: Sequence[str] | None = None,
    workers: int | None = None,
    mnist: str | None = None,
) -> Relabelling:
    """Add labels that a zoo lacks, because they did not exist when it was made.

    They are measured on the stored weights, and have the bits that they would have if the zoo were generated again on
    this machine. Labels of runs follow from the index: neither shards nor digits are read for them. Shards and rollouts
    are not touched; the index and zoo.json are replaced at the end. Until then the zoo can be read. If it is stopped,
    the same call goes on, at any point.

    Args:
        directory: Directory of a zoo.
        labels: Which labels to add; None for all that are missing. Those that the zoo has are left as they are.
        workers: Number of worker processes; None for one per core.
        mnist: Where this machine finds the digits: "hub", "embedded", or a directory; None for the zoo's own source.

    Returns:
        What was added.

    Raises:
        FormatError: The directory holds no finished zoo, or an imported one that lacks labels: they come from its
            source. Or a label of a network is not finite, or labels of runs follow from one that the zoo lacks.
        UnknownNameError: The task family has no such label.
        IntegrityError: A file is damaged.
        DigitsError: The digits are not those of the zoo.
        BusyError: Another process is writing to the directory.
        StorageError: A file could not be written.
        WorkerError: Networks could not be measured.

    Example:
        >>> from rnn_zoos.generation import relabel
        >>> relabel("zoos/formal-languages").labels
        ()
    """
    directory = Path(directory)
    if not (directory / MANIFEST).is_file():
        read_manifest(directory)  # raises: it must not become a directory with a lock
    with locked(directory):
        remove_temporary_files(directory)
        folder = LabelFolder(directory)
        folder.replace_index()
        manifest = _read_finished(directory)
        added = choose_labels(manifest, labels)
        if not added:
            if labels is None:
                folder.remove()
            return Relabelling((), 0, 0)
        plan, measured = plan_of_zoo(manifest, mnist=mnist), _measured(manifest, added)
        jobs = list(label_jobs(directory, manifest, plan))  # even if nothing is measured: this checks the index
        size = _measure(folder, measuring_plan(plan, manifest), measured, jobs, workers) if measured else 0
        write_new_zoo(folder, manifest, plan, added)
        folder.replace_index()
    return Relabelling(added, sum(job.entry.rows for job in jobs) if measured else 0, size)


def estimate_relabelling(
    directory: Path | str,
    labels: Sequence[str] | None = None,
    workers: int | None = None,
    mnist: str | None = None,
) -> Relabelling:
    """Return what `relabel` would do, and how long it would take; the zoo is not changed.

    Some snapshots are measured for it. Arguments and errors are those of `relabel`.
    """
    directory = Path(directory)
    manifest = _read_finished(directory)
    added = choose_labels(manifest, labels)
    measured = _measured(manifest, added)
    if not measured:
        return Relabelling(added, 0, 0, 0.0)
    plan, folder = measuring_plan(plan_of_zoo(manifest, mnist=mnist), manifest), LabelFolder(directory)
    jobs = _pending(folder, measured, list(label_jobs(directory, manifest, plan)))
    snapshots, size = sum(job.entry.rows for job in jobs), _pool_size(jobs, workers)
    if not snapshots:
        return Relabelling(added, 0, size, 0.0)
    largest = max(jobs, key=lambda job: job.entry.rows)
    with WorkerPool[LabelJob, float](1, seconds_per_snapshot, plan, directory, measured) as pool:
        ((job, future),) = pool.map_unordered([largest])
        return Relabelling(added, snapshots, size, _result(future, job) * snapshots / size)


def choose_labels(manifest: Manifest, labels: Sequence[str] | None) -> tuple[str, ...]:
    """Return the labels to be added to a zoo, in the order of the index.

    Raises UnknownNameError for an unknown label, FormatError for one that cannot be added: that of an imported zoo, or
    one that follows from a label that the zoo would still lack.
    """
    family = task_family(manifest.zoo)
    known = list(family.labels if manifest.imported is None else family.imported_label_columns)
    for name in labels or ():
        if name not in known:
            raise UnknownNameError.among("label", name, known)
    missing = tuple(name for name in missing_labels(manifest, family) if labels is None or name in labels)
    if missing and manifest.imported is not None:
        raise FormatError(
            f"This zoo was imported: its labels come from its source, and {', '.join(missing)} cannot be measured on "
            "its weights. Import it again."
        )
    follow = [name for name in missing if name in family.run_labels]
    if follow and ACCURACY not in {*manifest.columns, *missing}:
        raise FormatError(f"{', '.join(follow)} follow from {ACCURACY}, which this zoo lacks. Add it to --labels.")
    return missing


def _measured(manifest: Manifest, labels: Sequence[str]) -> tuple[str, ...]:
    """Return those of some labels of a zoo that are measured; the others are of runs, and follow from the index."""
    known = task_family(manifest.zoo).measured_labels
    return tuple(name for name in labels if name in known)


def _read_finished(directory: Path) -> Manifest:
    manifest = read_manifest(directory)
    if (directory / UNFINISHED).exists():
        raise FormatError(
            f"{directory} is being made or extended. Run the same `rnn-zoos generate` again, then `rnn-zoos relabel`."
        )
    return manifest


def measuring_plan(plan: Plan, manifest: Manifest) -> Plan:
    """Return the plan of a zoo to measure its networks: with `loop` for a backend whose networks this machine lacks.

    Raises DigitsError if the digits are not those of the zoo.
    """
    if plan.backend == "native":
        try:
            make_trainer(plan.backend)
        except BackendError:
            plan = replace(plan, backend="loop")
    if plan.digits() != manifest.digits:
        raise DigitsError(
            f"The zoo was made with the digits {manifest.digits}; these are {plan.digits()}. Give their --mnist."
        )
    return plan


def _pending(folder: LabelFolder, labels: tuple[str, ...], jobs: list[LabelJob]) -> list[LabelJob]:
    zoo_hash = folder.zoo_hash()
    return [job for job in jobs if not folder.has(job.shard.name, labels, zoo_hash)]


def _pool_size(jobs: Sequence[LabelJob], workers: int | None) -> int:
    return max(1, min(workers or available_cores(), len(jobs)))


def _measure(
    folder: LabelFolder, plan: Plan, labels: tuple[str, ...], jobs: list[LabelJob], workers: int | None
) -> int:
    """Measure the shards whose labels are not in the folder yet; return the number of worker processes."""
    pending = _pending(folder, labels, jobs)
    size = _pool_size(pending, workers)
    done, total = 0, sum(job.entry.rows for job in pending)
    with progress_bar(f"measuring {', '.join(labels)}") as progress:

        def advance(job: LabelJob, snapshots: int) -> None:
            nonlocal done
            done += snapshots
            progress(done / max(total, 1))

        shared = plan, folder.zoo, labels, folder.zoo_hash()
        with WorkerPool[LabelJob, None](size, measure_shard, *shared, advance=advance) as pool:
            for job, future in pool.map_unordered(pending):
                _result(future, job)
    return size


def _result(future: Future[Result], job: LabelJob) -> Result:
    try:
        return future.result()
    except (RuntimeError, MemoryError) as error:
        raise WorkerError(f"The networks of {job} could not be measured: {error}. Finished shards are kept.") from error
