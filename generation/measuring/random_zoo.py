"""Zoos for measurements: with random weights, written by the code that writes real zoos, or with files of zeros."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnn_zoos.families.family import Measurement, TaskFamily
from rnn_zoos.families.formal_languages import FormalLanguages, LanguageEvaluation
from rnn_zoos.families.language_strings import BOS, EOS, LENGTH, NUM_SYMBOLS
from rnn_zoos.families.run_labels import with_run_labels
from rnn_zoos.format.files import FileEntry
from rnn_zoos.format.manifest import Manifest
from rnn_zoos.format.tensors import DTYPES, tensor_bytes
from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.trainers.trainer import TrainedRun
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.finishing import finish
from rnn_zoos.generation.writing.provenance import provenance
from rnn_zoos.generation.writing.records import KINDS, ShardRecord
from rnn_zoos.generation.writing.seals import modified_at
from rnn_zoos.generation.writing.shards import make_shard
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.networks.weights import unflatten


class _UnevaluatedLanguages(FormalLanguages):
    """Formal languages without evaluation: labels are random, every rollout is an empty string."""

    def evaluate(
        self, network: RecurrentNetwork, seed: int, run: int, task: int, step: int, evaluation: LanguageEvaluation
    ) -> Measurement:
        random = torch.rand(len(self.label_columns), generator=torch.Generator().manual_seed(run * 32_749 + step))
        strings = torch.full((evaluation.rollouts, LENGTH), EOS, dtype=torch.uint8)
        strings[:, 0] = BOS
        log_probs = torch.full((evaluation.rollouts, LENGTH - 1, NUM_SYMBOLS), 1 / NUM_SYMBOLS).log().half()
        labels = dict(zip(self.label_columns, random.tolist(), strict=True))
        return Measurement(labels, {"sequences": strings, "log_probs": log_probs})


@dataclass(frozen=True)
class _RandomPlan(Plan):
    @cached_property
    def family(self) -> TaskFamily:
        return _UnevaluatedLanguages()


def random_plan(runs: int, changes: Mapping[str, Any] | None = None) -> Plan:
    """Return the plan of the paper's zoo of formal languages with this many runs, but without evaluation.

    There is one rollout per snapshot. `changes` replace settings.
    """
    plan = make_plan("formal-languages", "paper", runs=runs)
    values = {field.name: getattr(plan, field.name) for field in fields(Plan)}
    settings = plan.settings.model_copy(update={"evaluation": {"strings": 1, "rollouts": 1}, **(changes or {})})
    return _RandomPlan(**{**values, "settings": settings})


def write_random_zoo(directory: Path, runs: int) -> Manifest:
    """Write a zoo of formal languages: weights from N(0, 0.1), random labels, nine snapshots per run.

    Raises StorageError if a file cannot be written.
    """
    plan = random_plan(runs)
    workspace = Workspace(directory, plan)
    workspace.check_directory()
    with locked(directory):
        for shard in workspace.begin_or_resume() or []:
            make_shard(directory, plan, shard, lambda updates: None, random_runs(plan, shard))
        return finish(workspace)


def random_runs(plan: Plan, shard: ShardPlan) -> Iterator[TrainedRun]:
    """Yield the runs of a shard with weights from N(0, 0.1), drawn with the number of the run as seed."""
    snapshots, size = plan.settings.snapshots, plan.architecture.num_parameters
    for run in shard.runs:
        flat = 0.1 * torch.randn(len(snapshots), size, generator=torch.Generator().manual_seed(run.run))
        yield TrainedRun(run, snapshots, unflatten(plan.architecture, flat), diverged=False)


class ShardSimulator:
    """Writes shards of a plan as sparse files: as long as real ones, but all zeros, with records that say so.

    They cannot be read as tensors. Labels are random.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        evaluation = plan.settings.evaluation_sizes(plan.family)
        rollouts = {
            name: (DTYPES[dtype], shape) for name, (dtype, shape) in plan.family.rollout_shapes(evaluation).items()
        }
        weights = {name: (DTYPES["F32"], shape) for name, shape in plan.architecture.parameter_shapes.items()}
        self._tensors = {"shards": weights, "rollouts": rollouts}
        self._entries: dict[tuple[str, int], FileEntry] = {}

    def write(self, workspace: Workspace, shard: ShardPlan) -> None:
        """Write the files and the record of a shard."""
        rows, files, modified = self._rows(shard), dict[str, FileEntry](), dict[str, int]()
        for kind in KINDS:
            path = workspace.directory / shard.path(kind)
            files[kind] = self._entry(kind, len(rows))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.truncate(path, files[kind].bytes)
            modified[kind] = modified_at(path)
        made = provenance(self._plan.backend)
        record = ShardRecord(self._plan.identity(), shard.run_numbers, files, 1.0, rows, made, modified)
        record.write(workspace.paths.record(shard))

    def _entry(self, kind: str, rows: int) -> FileEntry:
        """Return the entry of a file of zeros that is as long as one with these rows."""
        if (kind, rows) not in self._entries:
            tensors = {name: np.zeros((rows, *shape), dtype) for name, (dtype, shape) in self._tensors[kind].items()}
            size = len(tensor_bytes(tensors, {})[0])
            self._entries[kind, rows] = FileEntry(hashlib.sha256(bytes(size)).hexdigest(), size, rows)
        return self._entries[kind, rows]

    def _rows(self, shard: ShardPlan) -> list[dict[str, Any]]:
        family, rows = self._plan.family, list[dict[str, Any]]()
        names = family.measured_labels
        random = np.random.default_rng(shard.run_numbers[0])
        for run in shard.runs:
            shared = {"run": run.run, "split": shard.split, "task": family.task_name(run.task), "diverged": False}
            shared |= {"weight_decay": run.weight_decay, **family.task_values(run.task), "shard": shard.number}
            for step in self._plan.settings.snapshots:
                labels = zip(names, random.random(len(names), np.float32).tolist(), strict=True)
                rows.append({**shared, "step": step, "row": len(rows), **dict(labels)})
        return with_run_labels(family, rows)
