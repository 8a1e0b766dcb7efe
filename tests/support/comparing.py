"""What the tests of trainers share: training the synthetic family, and comparing what comes out."""

import torch
from synthetic import Synthetic

from rnn_zoos.families.family import TaskFamily
from rnn_zoos.generation.presets import Settings
from rnn_zoos.generation.trainers.trainer import Run, TrainedRun, Trainer

FAMILY = Synthetic()


def train(
    trainer: Trainer, settings: Settings, runs: list[Run], family: TaskFamily = FAMILY, report=lambda updates: None
) -> list[TrainedRun]:
    return list(trainer.train(family, settings, runs, report))


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float, what: str) -> None:
    """Relative to the largest element: single ones may be differences of nearly equal numbers."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * expected.abs().max().item(), msg=what)


def assert_equal_to_loop(trained: list[TrainedRun], expected: list[TrainedRun]) -> None:
    for own, its in zip(trained, expected, strict=True):
        assert (own.run, own.steps, own.diverged) == (its.run, its.steps, its.diverged)
        assert list(own.weights) == list(its.weights)
        for name, tensor in own.weights.items():
            assert tensor.shape == its.weights[name].shape and tensor.isfinite().all()
            for step, weights, wanted in zip(own.steps, tensor, its.weights[name], strict=True):
                assert_close(weights, wanted, 1e-3 if step else 0, f"{own.run} {name} at step {step}")


def assert_same_bits(trained: TrainedRun, expected: TrainedRun) -> None:
    assert (trained.run, trained.steps, trained.diverged) == (expected.run, expected.steps, expected.diverged)
    assert all(torch.equal(trained.weights[name], tensor) for name, tensor in expected.weights.items())
