"""Measuring a stack of networks gives what measuring one network after the other gives, up to rounding."""

import math

import pytest
import torch
from conftest import CELLS

from rnn_zoos.families import landscape, stacks
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.formal_languages import FormalLanguages, LanguageEvaluation
from rnn_zoos.families.labels import Snapshot, SnapshotStack, measure, measure_stack, rounding
from rnn_zoos.families.language_stacks import sample_strings
from rnn_zoos.families.language_strings import EOS, NUM_SYMBOLS, judge, task_number, task_offsets
from rnn_zoos.families.sequential_mnist import DigitEvaluation, SequentialMnist
from rnn_zoos.families.stacks import networks_at_once, random_words, sequences_at_once
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import stack_weights, unstack_weights
from rnn_zoos.randomness import Purpose, random_bits, to_uniform

SEED, RUNS, STEPS = 5, [3, 8, 3, 11, 8], [0, 7, 7, 2, 100]
LANGUAGES = [5, 215, 5, 0, 100]
ANGLES = [90_000_000, 312_345_678, 90_000_000, 0, 12_000_001]
STRINGS = LanguageEvaluation(strings=37, rollouts=4)
DIGITS = DigitEvaluation(held_out_digits=23, fit_digits=29, test_digits=31, rollouts=6)


def stack_of(family, cell, layers=2, hidden=7, native=True):
    architecture = family.architecture(cell, layers, hidden)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        weights = stack_weights([RecurrentNetwork(architecture).weights() for _ in RUNS])
    return NetworkStack(architecture, {name: 3 * tensor for name, tensor in weights.items()}, native)


def one_by_one(family, stack, tasks, evaluation):
    return TaskFamily.evaluate_stack(family, stack, SEED, RUNS, tasks, STEPS, evaluation)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("at_once", [1, 5, 10**9])
@pytest.mark.parametrize("cell", CELLS)
def test_languages_are_measured_as_by_evaluate(cell, at_once, native, monkeypatch):
    monkeypatch.setattr("rnn_zoos.families.language_stacks.sequences_at_once", lambda *sizes: at_once)
    family, stack = FormalLanguages(), stack_of(FormalLanguages(), cell, native=native)
    found = family.evaluate_stack(stack, SEED, RUNS, LANGUAGES, STEPS, STRINGS)
    for one, other in zip(found, one_by_one(family, stack, LANGUAGES, STRINGS), strict=True):
        assert list(one.labels) == list(other.labels) == list(family.label_columns)
        assert one.labels["loss"] == pytest.approx(other.labels["loss"], rel=1e-5)
        for name in ("accuracy", "count_accuracy", "finished"):
            assert abs(one.labels[name] - other.labels[name]) < 1.5 / STRINGS.strings, "a string, if any"
        assert [(n, t.dtype, t.shape) for n, t in one.rollouts.items()] == [
            (n, t.dtype, t.shape) for n, t in other.rollouts.items()
        ]
        same = (one.rollouts["sequences"] == other.rollouts["sequences"]).all(dim=1)
        assert same.sum() >= len(same) - 1
        logs = [measurement.rollouts["log_probs"][same].float() for measurement in (one, other)]
        assert torch.allclose(*logs, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("at_once", [1, 5, 10**9])
@pytest.mark.parametrize("cell", CELLS)
def test_digits_are_measured_as_by_evaluate(cell, at_once, native, monkeypatch):
    monkeypatch.setattr("rnn_zoos.families.digit_stacks.sequences_at_once", lambda *sizes: at_once)
    family, stack = SequentialMnist(), stack_of(SequentialMnist(), cell, 3, 5, native)
    found = family.evaluate_stack(stack, SEED, RUNS, ANGLES, STEPS, DIGITS)
    for one, other in zip(found, one_by_one(family, stack, ANGLES, DIGITS), strict=True):
        assert list(one.labels) == list(other.labels) == list(family.label_columns)
        assert one.labels == pytest.approx(other.labels, rel=1e-5, abs=1e-6)
        for name in ("images", "labels"):
            assert torch.equal(one.rollouts[name], other.rollouts[name])
            assert one.rollouts[name].dtype == other.rollouts[name].dtype
        logits = [measurement.rollouts["logits"] for measurement in (one, other)]
        assert logits[0].dtype == logits[1].dtype and torch.allclose(*(t.float() for t in logits), rtol=2e-3, atol=1e-3)


def test_each_network_is_judged_by_its_own_language():
    """Random networks write no string of a language. These write the empty one, of the language of equal counts."""
    family, stack = FormalLanguages(), stack_of(FormalLanguages(), "gru")
    weights = {name: torch.zeros_like(tensor) for name, tensor in stack.weights.items()}
    (bias,) = (name for name, shape in stack.architecture.parameter_shapes.items() if shape == (NUM_SYMBOLS,))
    weights[bias][:, EOS] = 50.0
    same_counts = task_number((0, 0, 0))
    tasks = [same_counts, 215, same_counts, 0, 100]
    found = family.evaluate_stack(NetworkStack(stack.architecture, weights), SEED, RUNS, tasks, STEPS, STRINGS)
    assert [measurement.labels["accuracy"] for measurement in found] == [1, 0, 1, 0, 0]
    assert [measurement.labels["count_accuracy"] for measurement in found] == [1, 0, 1, 0, 0]
    assert [measurement.labels["finished"] for measurement in found] == [1] * 5


def test_strings_that_differ_are_few_where_all_networks_have_the_same_numbers():
    """With 2,000 strings of each network: none or a few, whichever code runs."""
    stack = stack_of(FormalLanguages(), "lstm", hidden=32)
    uniforms = to_uniform(random_bits(0, [1], Purpose.EVALUATION, [2], 2000 * 41)).view(1, 2000, 41)
    uniforms = uniforms.expand(len(RUNS), -1, -1)
    natively, in_torch = (
        sample_strings(NetworkStack(stack.architecture, stack.weights, native), uniforms)[0] for native in (True, False)
    )
    assert (natively != in_torch).any(dim=2).sum() <= 5 * 3
    for number, weights in enumerate(unstack_weights(stack.weights)):
        from rnn_zoos.families.language_strings import sample_strings as sample_of_one

        alone = sample_of_one(RecurrentNetwork(stack.architecture, weights), uniforms[number])[0]
        assert (alone != in_torch[number]).any(dim=1).sum() <= 3


def test_sequences_of_several_languages_are_judged_each_by_its_own():
    strings = torch.randint(0, 6, (4, 31, 9), generator=torch.Generator().manual_seed(0))
    strings[..., 0] = 4
    strings[:, :5, 1:] = torch.tensor([0, 1, 2, 3, 5, 5, 5, 5])
    tasks = [129, 0, 130, 215]  # the first is a^n b^n c^n d^n
    offsets = torch.tensor([task_offsets(task) for task in tasks]).T[..., None].unbind()
    together = judge(strings, offsets)
    for number, task in enumerate(tasks):
        alone = judge(strings[number], task_offsets(task))
        for name in ("finished", "right_counts", "accepted"):
            assert torch.equal(getattr(together, name)[number], getattr(alone, name))
    assert together.accepted[0, :5].all() and not together.accepted[1:].any()


@pytest.mark.parametrize("words", [1, 8, 10**6])
def test_every_snapshot_has_the_words_of_its_run_and_step(words, monkeypatch):
    monkeypatch.setattr(stacks, "_WORDS", words)
    found = random_words(SEED, RUNS, STEPS, Purpose.EVALUATION, 7, torch.device("cpu"))
    for number, (run, step) in enumerate(zip(RUNS, STEPS, strict=True)):
        assert torch.equal(found[number], random_bits(SEED, [run], Purpose.EVALUATION, [step], 7)[0, 0])


def test_what_is_computed_at_once_is_bounded_by_bytes(monkeypatch):
    paper, large = Architecture("lstm", 2, 16, 32, 10), Architecture("lstm", 4, 16, 512, 10)
    assert networks_at_once(paper) == 256 and 1 <= networks_at_once(large) < 16
    assert sequences_at_once(paper, 256, 50) * 256 * 50 * 4 * (2 * 128 + 2 * 32) < stacks.STACK_BYTES
    assert sequences_at_once(paper, 256, 50) > 50 and sequences_at_once(large, 10**6, 50) == 1


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_memory_is_as_estimated(cell):
    """What all tensors of measuring digits take at their peak, compared with the estimate that bounds it."""
    from torch.profiler import ProfilerActivity, profile

    family, networks, sequences = SequentialMnist(), 3, 50
    architecture = family.architecture(cell, 2, 32)
    weights = stack_weights([RecurrentNetwork(architecture).weights()] * networks)
    stack = NetworkStack(architecture, weights, native=False)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        stack(torch.zeros(networks, sequences, 50, 16))
    current = peak = 0
    for event in sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            current += event.nbytes()
            peak = max(peak, current)
    estimate = stacks.STACK_BYTES * sequences / sequences_at_once(architecture, networks, 50)
    assert 0.3 * estimate < peak < estimate


@pytest.mark.parametrize(
    ("family", "tasks", "evaluation"), [(FormalLanguages(), LANGUAGES, STRINGS), (SequentialMnist(), ANGLES, DIGITS)]
)
@pytest.mark.parametrize("cell", CELLS)
def test_further_labels_of_a_stack_are_those_of_single_snapshots(cell, family, tasks, evaluation):
    snapshots = SnapshotStack(stack_of(family, cell), SEED, RUNS, tasks, STEPS, evaluation)
    measured = measure_stack(family, snapshots)
    networks = [
        RecurrentNetwork(snapshots.stack.architecture, weights) for weights in unstack_weights(snapshots.stack.weights)
    ]
    for network, run, task, step, found in zip(networks, RUNS, tasks, STEPS, measured, strict=True):
        snapshot = Snapshot(network, SEED, run, task, step, evaluation)
        alone = measure(family, snapshot)
        stacked = [name for name, label in family.further_labels.items() if label.measure_stack]
        assert stacked and list(found.labels) == [*family.label_columns, *stacked]
        for name in stacked:
            allowed = rounding(family, name) * (1 + abs(alone.labels[name]))
            assert found.labels[name] == pytest.approx(alone.labels[name], abs=allowed), name
        completed = measure(family, snapshot, found)
        assert list(completed.labels) == list(alone.labels) == list(family.measured_labels)
        assert all(completed.labels[name] == found.labels[name] for name in stacked)


@pytest.mark.parametrize("at_once", [1, 2**30])
def test_the_landscape_of_a_stack_does_not_depend_on_how_many_are_computed_at_once(at_once, monkeypatch):
    family = FormalLanguages()
    snapshots = SnapshotStack(stack_of(family, "gru"), SEED, RUNS, LANGUAGES, STEPS, STRINGS)
    expected = landscape.landscapes(family, snapshots)
    monkeypatch.setattr(landscape, "_STACKED_PARAMETERS", at_once)
    for one, other in zip(landscape.landscapes(family, snapshots), expected, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-3)
    assert len({tuple(labels.values()) for labels in expected}) == len(RUNS)


def test_a_network_whose_gradients_are_not_finite_leaves_those_beside_it_alone():
    family = FormalLanguages()
    stack = stack_of(family, "lstm")
    expected = landscape.landscapes(family, SnapshotStack(stack, SEED, RUNS, LANGUAGES, STEPS, STRINGS))
    stack.weights["linear.bias"][1, 0] = torch.nan
    found = landscape.landscapes(family, SnapshotStack(stack, SEED, RUNS, LANGUAGES, STEPS, STRINGS))
    assert not all(math.isfinite(value) for value in found[1].values())
    assert [found[n] for n in (0, 2, 3, 4)] == [pytest.approx(expected[n], rel=1e-3, abs=1e-3) for n in (0, 2, 3, 4)]
