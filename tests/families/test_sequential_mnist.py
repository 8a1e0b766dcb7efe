"""Sequential MNIST: inputs, tasks and splits, batches, labels."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from rnn_zoos.errors import PresetError
from rnn_zoos.families import sequential_mnist
from rnn_zoos.families.digit_inputs import MICRODEGREES, tile_inputs
from rnn_zoos.families.digits import load_digits
from rnn_zoos.families.rotation import PIXELS, from_tiles, rotation_table
from rnn_zoos.families.sequential_mnist import DigitEvaluation, SequentialMnist
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights

FAMILY = SequentialMnist("embedded")
DIGITS = load_digits("embedded")
TASK = 123_456_789


def test_inputs_are_a_bos_tile_and_the_tiles_of_the_rotated_digit():
    images, table = DIGITS.images[10:15], rotation_table(33)
    inputs = tile_inputs(images, table)
    assert inputs.shape == (5, 50, 16) and inputs.dtype == torch.float32
    assert not inputs[:, 0].any()
    pixels = from_tiles(inputs[:, 1:]) * 0.3081 + 0.1307
    torch.testing.assert_close(pixels * 255, images[:, table].float(), rtol=0, atol=1e-4)
    corner = inputs[:, 1, 0]
    assert corner == pytest.approx(-0.1307 / 0.3081)


def test_normalised_digits_have_mean_zero_and_unit_variance():
    inputs = tile_inputs(DIGITS.images, torch.arange(PIXELS))[:, 1:]
    assert abs(inputs.mean().item()) < 0.01 and abs(inputs.std().item() - 1) < 0.01


def test_angles_are_uniform_distinct_and_independent_of_the_other_runs():
    tasks = FAMILY.assign_tasks(0, torch.arange(1000))
    assert 0 <= tasks.min() and tasks.max() < 360 * MICRODEGREES
    assert len(tasks.unique()) == 1000
    eighths = torch.bincount(tasks // (45 * MICRODEGREES))
    assert len(eighths) == 8 and 80 < eighths.min() and eighths.max() < 170
    assert FAMILY.assign_tasks(0, torch.tensor([999, 3])).tolist() == [tasks[999], tasks[3]]
    assert FAMILY.task_values(TASK) == {"angle": 123.456789} and FAMILY.task_name(TASK) == "123.456789 degrees"


def test_stratified_angles_cover_every_degree_once_in_each_block_of_360_runs():
    tasks = FAMILY.assign_tasks(7, torch.arange(1000), stratified=True)
    for first in (0, 360):
        degrees = tasks[first : first + 360] // MICRODEGREES
        assert sorted(degrees.tolist()) == list(range(360)) and degrees.tolist() != list(range(360))
    assert (tasks[:360] // MICRODEGREES != tasks[360:720] // MICRODEGREES).any()
    remainders = tasks % MICRODEGREES
    assert remainders.min() < 0.01 * MICRODEGREES and remainders.max() > 0.99 * MICRODEGREES
    assert FAMILY.assign_tasks(7, torch.tensor([999, 3]), stratified=True).tolist() == [tasks[999], tasks[3]]
    assert (tasks != FAMILY.assign_tasks(7, torch.arange(1000))).all()


def test_the_split_depends_on_the_angle_alone():
    tasks = FAMILY.assign_tasks(0, torch.arange(3000))
    splits = FAMILY.splits(tasks)
    assert [task >= 312 * MICRODEGREES for task in tasks.tolist()] == [split == "ood" for split in splits]
    counts = Counter(splits.tolist())
    rest = 3000 - counts["ood"]
    assert 0.08 < counts["validation"] / rest < 0.12 and 0.08 < counts["test"] / rest < 0.12
    assert FAMILY.splits(tasks[7:9]).tolist() == splits[7:9].tolist()
    assert FAMILY.splits(torch.tensor([0, 1, 2, 3, 4, 5, 312 * MICRODEGREES])).tolist() == [
        "train",
        "test",
        "train",
        "train",
        "train",
        "train",
        "ood",
    ]


def test_every_epoch_goes_through_all_training_digits_in_a_new_order():
    sampler = FAMILY.sampler(3, [8, 9], [TASK, TASK], batch_size=32)
    drawn, other = sampler.draw(0, 250)
    assert drawn.shape == (250, 32)
    first, second = drawn.flatten()[:4000], drawn.flatten()[4000:]
    assert torch.equal(first.sort().values, DIGITS.train) and torch.equal(second.sort().values, DIGITS.train)
    assert not torch.equal(first, second)
    assert torch.equal(sampler.draw(124, 3)[0], drawn[124:127])
    other_size = FAMILY.sampler(3, [8], [TASK], batch_size=7).draw(0, 600)
    assert torch.equal(other_size.flatten()[:4000], first), "the order must not depend on the batch size"
    assert not torch.equal(other, drawn)
    assert torch.equal(FAMILY.sampler(3, [9], [7], 32).draw(0, 250)[0], other), (
        "the order must not depend on the other runs or the task"
    )


def test_batches_are_rotated_digits_with_their_class_at_every_step():
    sampler = FAMILY.sampler(0, [1, 2, 3], [TASK, 7, 90_000_000], batch_size=6)
    drawn = sampler.draw(5, 2)[:, 1]
    inputs, targets = sampler.batch(drawn)
    assert inputs.shape == (3, 6, 50, 16)
    for positions, run_inputs, classes, angle in zip(drawn, inputs, targets, (123.456789, 7e-6, 90), strict=True):
        assert torch.equal(run_inputs, tile_inputs(DIGITS.images[positions], rotation_table(angle)))
        assert torch.equal(classes, DIGITS.labels[positions][:, None].repeat(1, 50))


def test_sizes_larger_than_the_available_digits_are_rejected():
    FAMILY.check_evaluation(DigitEvaluation(500, 4000, 500, 4000))
    for sizes in ((501, 1, 1, 1), (1, 4001, 1, 1), (1, 1, 501, 1), (1, 1, 1, 4001)):
        with pytest.raises(PresetError, match=r"evaluation\..* is .*01, but --mnist embedded has only"):
            FAMILY.check_evaluation(DigitEvaluation(*sizes))


def test_labels_match_their_definitions():
    shape = FAMILY.architecture("gru", 2, 7)
    network = RecurrentNetwork(shape, initial_weights(shape, 0, 0))
    sizes = DigitEvaluation(held_out_digits=500, fit_digits=1234, test_digits=77, rollouts=9)
    measured = FAMILY.evaluate(network, 0, 4, TASK, 200, sizes)
    table = rotation_table(123.456789)

    def measure(positions: torch.Tensor) -> tuple[float, float]:
        with torch.no_grad():
            logits = network(tile_inputs(DIGITS.images[positions], table))
        labels = DIGITS.labels[positions]
        losses = [F.cross_entropy(logits[:, step], labels).item() for step in range(50)]
        return sum(losses) / 50, (logits[:, -1].argmax(-1) == labels).double().mean().item()

    eval_loss, accuracy = measure(DIGITS.validation)
    train_loss, _ = measure(DIGITS.fixed_train[:1234])
    assert measured.labels["eval_loss"] == pytest.approx(eval_loss, rel=1e-5)
    assert measured.labels["accuracy"] == pytest.approx(accuracy)
    assert measured.labels["train_loss"] == pytest.approx(train_loss, rel=1e-5)
    assert measured.labels["generalization_gap"] == pytest.approx(eval_loss - train_loss, abs=1e-5)
    assert measured.labels["test_accuracy"] == pytest.approx(measure(DIGITS.test[:77])[1])
    assert list(measured.labels) == list(FAMILY.label_columns)
    shown = measured.rollouts["images"]
    positions = torch.searchsorted(DIGITS.numbers, shown.long())
    assert set(positions.tolist()) <= set(DIGITS.train.tolist()) and len(set(positions.tolist())) == 9
    assert torch.equal(measured.rollouts["labels"].long(), DIGITS.labels[positions])
    later = FAMILY.evaluate(network, 0, 4, TASK, 500, sizes)
    assert torch.equal(later.rollouts["images"], shown), "all snapshots of a run share their rollout digits"
    assert not torch.equal(FAMILY.evaluate(network, 0, 5, TASK, 200, sizes).rollouts["images"], shown)


@pytest.mark.parametrize("words", [1, 9000, 10**9])
def test_digits_are_drawn_alike_however_many_runs_are_shuffled_at_once(words, monkeypatch):
    sampler = SequentialMnist().sampler(3, [5, 0, 2], [0, 1, 2], 7)
    expected = [SequentialMnist().sampler(3, [run], [0], 7).draw(568, 9)[0] for run in (5, 0, 2)]
    monkeypatch.setattr(sequential_mnist, "_WORDS", words)
    assert torch.equal(sampler.draw(568, 9), torch.stack(expected)), "across the end of an epoch of 4,000 digits"
