"""Zoos of random weights, written by the code that writes real zoos: what the other measurements read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from rnn_zoos.families.family import Measurement, TaskFamily
from rnn_zoos.families.formal_languages import BOS, EOS, LENGTH, NUM_SYMBOLS, FormalLanguages, LanguageEvaluation
from rnn_zoos.format.manifest import Manifest
from rnn_zoos.generation.plan import Plan, ShardPlan, make_plan
from rnn_zoos.generation.trainers.trainer import TrainedRun
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.finishing import finish
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
