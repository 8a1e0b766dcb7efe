"""What the tests of several trainers share: training the synthetic family, and comparing trained runs."""

import os
import subprocess
import sys

import torch
from synthetic import Synthetic

from rnn_zoos.families.family import TaskFamily
from rnn_zoos.generation.settings import Settings
from rnn_zoos.generation.trainers.trainer import Run, TrainedRun, Trainer

FAMILY = Synthetic()
_RELATIVE_TOLERANCE = 1e-3


def train(
    trainer: Trainer, settings: Settings, runs: list[Run], family: TaskFamily = FAMILY, report=lambda updates: None
) -> list[TrainedRun]:
    return list(trainer.train(family, settings, runs, report))


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float, message: str) -> None:
    """Compare with a tolerance relative to the largest element: small elements can be differences of large ones."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * expected.abs().max().item(), msg=message)


def assert_equal_to_loop(trained: list[TrainedRun], expected: list[TrainedRun]) -> None:
    """Compare runs with those of the loop trainer: initial weights exactly, later ones up to rounding."""
    for run, reference in zip(trained, expected, strict=True):
        assert (run.run, run.steps, run.diverged) == (reference.run, reference.steps, reference.diverged)
        assert list(run.weights) == list(reference.weights)
        for name, tensor in run.weights.items():
            assert tensor.shape == reference.weights[name].shape and tensor.isfinite().all()
            for step, weights, wanted in zip(run.steps, tensor, reference.weights[name], strict=True):
                assert_close(weights, wanted, _RELATIVE_TOLERANCE if step else 0, f"{run.run} {name} at step {step}")


def assert_same_bits(trained: TrainedRun, expected: TrainedRun) -> None:
    """Compare two runs bit by bit."""
    assert (trained.run, trained.steps, trained.diverged) == (expected.run, expected.steps, expected.diverged)
    assert all(torch.equal(trained.weights[name], tensor) for name, tensor in expected.weights.items())


def run_without_interpreter(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments and environment variables, but without Triton's interpreter."""
    inherited = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=inherited | environment)
