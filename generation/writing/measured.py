"""Measuring the snapshots of many runs at once, as stacks of networks on the device that trained them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import torch

from rnn_zoos.families.family import Measurement, TaskFamily
from rnn_zoos.families.labels import SnapshotStack, measure_stack
from rnn_zoos.families.stacks import networks_at_once
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.trainers.trainer import Report, TrainedRun
from rnn_zoos.networks.stack import NetworkStack


def measures_stacks(family: TaskFamily, device: torch.device) -> bool:
    """Return whether a device measures what it trained: a GPU does, if the family measures stacks on any device.

    A family that measures single networks in its own way, and stacks in an inherited one, measures single networks. On
    a CPU, processes that measure one snapshot after the other are as fast, and have the bits of earlier zoos.
    """
    own = next(cls for cls in type(family).__mro__ if {"evaluate", "evaluate_stack"} & vars(cls).keys())
    return device.type == "cuda" and "evaluate_stack" in vars(own) and own is not TaskFamily


def measure_runs(plan: Plan, trained: Sequence[TrainedRun], device: torch.device, report: Report) -> list[TrainedRun]:
    """Return trained runs with the measurements of their snapshots; every stack is a heartbeat.

    Args:
        plan: The plan of the zoo.
        trained: The runs, all of one architecture.
        device: Where to measure.
        report: See `Trainer.train`.
    """
    measurements = _measurements(plan, trained, device, report)
    return [replace(run, measurements=tuple(islice(measurements, len(run.steps)))) for run in trained]


def _measurements(
    plan: Plan, trained: Sequence[TrainedRun], device: torch.device, report: Report
) -> Iterator[Measurement]:
    """Yield what `measure_stack` returns for all snapshots of some runs."""
    snapshots = [(run, number) for run in trained for number in range(len(run.steps))]
    if not snapshots:
        return
    architecture, sizes = plan.architectures[trained[0].run.architecture], plan.settings.evaluation_sizes(plan.family)
    count = networks_at_once(architecture)
    for first in range(0, len(snapshots), count):
        chunk = snapshots[first : first + count]
        names = architecture.parameter_shapes
        weights = {name: torch.stack([run.weights[name][n] for run, n in chunk]).to(device) for name in names}
        stacked = SnapshotStack(
            NetworkStack(architecture, weights),
            plan.settings.seed,
            [run.run.run for run, _ in chunk],
            [run.run.task for run, _ in chunk],
            [run.steps[n] for run, n in chunk],
            sizes,
        )
        yield from measure_stack(plan.family, stacked)
        report(0)
