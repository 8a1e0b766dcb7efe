"""The C++ trainer equals the loop trainer for random shapes, up to the most layers; missing memory is an error."""

import pytest
import synthetic
import torch
from memory_limit import assert_failed_allocations_are_freed
from shapes import Shape, in_threads, random_shapes
from synthetic import Synthetic, synthetic_settings
from trainer_comparison import assert_same_bits, train

from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.sequential_mnist import SequentialMnist
from rnn_zoos.generation.trainers.loop import LoopTrainer
from rnn_zoos.generation.trainers.native.trainer import NativeTrainer, _native, instruction_sets
from rnn_zoos.generation.trainers.trainer import Run, TrainedRun

UPDATES = 3
CASES = [50, pytest.param(500, marks=pytest.mark.long)]


def family_of(number: int, shape: Shape, monkeypatch: pytest.MonkeyPatch) -> TaskFamily:
    """Return symbols or digits, whose steps are given, or most often float inputs of any size."""
    if number % 7 == 5:
        return FormalLanguages()
    if number % 7 == 6:
        return SequentialMnist()
    for name, size in {"STEPS": shape.steps, "INPUTS": shape.inputs, "CLASSES": shape.outputs}.items():
        monkeypatch.setattr(synthetic, name, size)
    monkeypatch.setattr(Synthetic, "input_size", shape.inputs)
    monkeypatch.setattr(Synthetic, "output_size", shape.outputs)
    return Synthetic()


def assert_moved_alike(found: TrainedRun, expected: TrainedRun, message: str) -> None:
    """Compare by the distance that a tensor has moved: AdamW moves single weights by the sign of a rounding error."""
    assert (found.steps, found.diverged) == ((0, UPDATES), False) == (expected.steps, expected.diverged)
    for name, (start, end) in expected.weights.items():
        assert torch.equal(found.weights[name][0], start)
        moved, apart = (end - start).norm(), (found.weights[name][1] - end).norm()
        assert apart <= 1e-2 * moved + 1e-6, f"{message}: {name} moved by {moved}, {apart} apart"


@pytest.mark.parametrize("count", CASES)
def test_random_shapes_equal_the_loop_trainer_from_several_threads(count, monkeypatch):
    sets = instruction_sets()
    for number, shape in enumerate(random_shapes(count)):
        family = family_of(number, shape, monkeypatch)
        settings = synthetic_settings(
            shape.cell,
            shape.layers,
            hidden_size=shape.hidden,
            batch_size=shape.batch,
            snapshots=(0, UPDATES),
            learning_rate={0: 0.01},
        )
        run = Run(number, family.assign_tasks(0, torch.tensor([number])).item(), 0.1)
        trainer = NativeTrainer(sets[number // 3 % len(sets)])
        found = in_threads(shape, lambda: train(trainer, settings, [run], family)[0])  # noqa: B023 - called here
        for other in found[1:]:
            assert_same_bits(other, found[0])
        (expected,) = train(LoopTrainer(), settings, [run], family)
        assert_moved_alike(found[0], expected, f"{number}, {family.name}, {trainer.instruction_set}, {shape}")


def test_networks_that_do_not_fit_into_memory_are_an_error_that_frees_all():
    code = """
        from rnn_zoos.generation.trainers.native._native import Shape, TrainableNetwork

        def make(hidden):
            return TrainableNetwork(Shape("lstm", 16, 3, hidden, 2, 4, 5), "base")
    """
    assert_failed_allocations_are_freed(code, small=1, medium=500, large=1000, megabytes=700)


def test_a_network_beyond_all_memory_is_an_error():
    """Its first buffer cannot exist, so that the test takes no memory."""
    with pytest.raises(MemoryError, match="MB for a network could not be allocated"):
        _native.TrainableNetwork(_native.Shape("lstm", 16, 3, 2**24, 2, 4, 5), "base")


@pytest.mark.parametrize("sizes", [(17, 3, 4, 5, 6, 7), (2, 3, 2**24 + 1, 5, 6, 7), (2, 3, 4, 5, 2**16, 2**16)])
def test_sizes_whose_positions_would_overflow_are_refused(sizes):
    with pytest.raises(ValueError, match="layers: 1 to 16|sizes: 1 to|batch and steps"):
        _native.Shape("lstm", *sizes)
