"""The loop trainer against a second implementation that shares no code with it."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest import ALL_ZOOS, CELLS, ZOOS

from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.trainers import loop
from rnn_zoos.generation.trainers.loop import LoopTrainer
from rnn_zoos.generation.trainers.trainer import TrainedRun
from rnn_zoos.networks.model import initial_weights


def plan(zoo: str, preset: str, **changes: object) -> Plan:
    made = make_plan(zoo, preset)
    return Plan(zoo, preset, made.settings.model_copy(update=changes), "loop", "embedded")


def train(made: Plan, runs: list[int], report=lambda updates: None) -> list[TrainedRun]:
    chosen = [run for run, _ in made.runs() if run.run in runs]
    return list(LoopTrainer().train(made.family, made.settings, chosen, report))


def plain_training(made: Plan, number: int, updates: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Train with torch.nn, F.cross_entropy, AdamW and an explicit learning rate; return losses and weights."""
    settings, family = made.settings, made.family
    run = next(run for run, _ in made.runs() if run.run == number)
    sizes = settings.architecture(family)
    recurrent = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[sizes.cell](
        sizes.input_size, sizes.hidden_size, sizes.num_layers, batch_first=True
    )
    linear = torch.nn.Linear(sizes.hidden_size, sizes.output_size)
    start = initial_weights(sizes, settings.seed, number)
    recurrent.load_state_dict({n.split(".")[1]: t for n, t in start.items() if not n.startswith("linear")})
    linear.load_state_dict({n.split(".")[1]: t for n, t in start.items() if n.startswith("linear")})
    parameters = [*recurrent.parameters(), *linear.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=run.weight_decay, foreach=False)
    sampler, losses = family.sampler(settings.seed, [number], [run.task], settings.batch_size), []
    for update in range(updates):
        optimizer.param_groups[0]["lr"] = 0.01 + (0.003 - 0.01) * min(update, 5) / 5
        inputs, targets = (part[0] for part in sampler.batch(sampler.draw(update, 1)[:, 0]))
        logits = linear(recurrent(inputs)[0])
        loss = sum(F.cross_entropy(logits[:, t], targets[:, t]) for t in range(targets.shape[1])) / targets.shape[1]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    named = {f"{sizes.cell}.{n}": p.detach() for n, p in recurrent.named_parameters()}
    return losses, named | {f"linear.{n}": p.detach() for n, p in linear.named_parameters()}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("zoo", ALL_ZOOS)
def test_twenty_updates_equal_a_plain_implementation(zoo, cell, tiny_preset, monkeypatch):
    losses = []
    cross_entropy = F.cross_entropy
    monkeypatch.setattr(
        F,
        "cross_entropy",
        lambda *args: losses.append(loss := cross_entropy(*args)) or loss,  # the losses of the trainer
    )
    made = plan(zoo, tiny_preset(cell), snapshots=(0, 19, 20), hidden_size=13)
    trained = train(made, [3])[0]
    seen = [loss.item() for loss in losses]
    monkeypatch.undo()
    expected, weights = plain_training(made, 3, 20)
    assert seen == pytest.approx(expected, rel=1e-4)
    assert trained.steps == (0, 19, 20) and not trained.diverged
    assert list(trained.weights) == list(weights)
    start = initial_weights(made.architecture, made.settings.seed, 3)
    for name, tensor in trained.weights.items():
        torch.testing.assert_close(tensor[2], weights[name], rtol=1e-3, atol=1e-5, msg=name)
        assert torch.equal(tensor[0], start[name])
        assert (tensor[2] - tensor[0]).abs().max() > 0.003, "without changes, the comparison would prove nothing"


def test_a_run_does_not_depend_on_other_runs_or_snapshots(tiny_preset):
    made = plan("formal-languages", tiny_preset())
    together = {trained.run.run: trained for trained in train(made, [0, 1, 2])}
    alone = train(made, [1])[0]
    fewer_snapshots = train(plan("formal-languages", tiny_preset(), snapshots=(11,)), [1])[0]
    for name, tensor in alone.weights.items():
        assert torch.equal(tensor, together[1].weights[name])
        assert torch.equal(tensor[-1], fewer_snapshots.weights[name][0])
        assert not torch.equal(tensor, together[0].weights[name])


def test_a_diverging_run_keeps_its_finite_snapshots_and_does_not_affect_other_runs(tiny_preset, monkeypatch):
    made = plan("formal-languages", tiny_preset())
    healthy = train(made, [0, 2])
    sampler = type(made.family).sampler

    class Poisoned:
        def __init__(self, real):
            self.real = real

        def draw(self, first_update, num_updates):
            return self.real.draw(first_update, num_updates)

        def batch(self, drawn):
            self.count = getattr(self, "count", 0) + 1
            inputs, targets = self.real.batch(drawn)
            return inputs * (math.nan if self.count == 7 else 1), targets

    monkeypatch.setattr(
        type(made.family),
        "sampler",
        lambda s, seed, runs, *a: (Poisoned if runs == [1] else lambda x: x)(sampler(s, seed, runs, *a)),
    )
    done = []
    first, diverged, last = train(made, [0, 1, 2], done.append)
    assert diverged.diverged and diverged.steps == (0, 2)
    assert all(tensor.shape[0] == 2 and tensor.isfinite().all() for tensor in diverged.weights.values())
    assert sum(done) == 3 * made.settings.num_updates, "progress counts updates that are no longer needed"
    for trained, expected in zip((first, last), healthy, strict=True):
        assert not trained.diverged
        assert all(torch.equal(trained.weights[name], expected.weights[name]) for name in trained.weights)


def test_progress_of_a_run_that_diverges_adds_up_to_all_updates(tiny_preset, monkeypatch):
    """Also at an update after which progress would have been reported."""
    made, update = plan("formal-languages", tiny_preset(), snapshots=(0, 130)), loop._update
    for diverges in (1, 49, 50, 51, 99, 100, 101, 130):
        losses, done = iter(range(1, 200)), list[int]()
        monkeypatch.setattr(
            loop, "_update", lambda *args, n=losses, at=diverges: math.nan if next(n) == at else update(*args)
        )
        (trained,) = train(made, [0], done.append)
        assert trained.diverged and sum(done) == 130, diverges


def test_training_uses_one_thread_whatever_the_caller_uses(tiny_preset, monkeypatch):
    made, seen, update = plan("formal-languages", tiny_preset()), [], loop._update
    (expected,) = train(made, [1])
    monkeypatch.setattr(loop, "_update", lambda *args: seen.append(torch.get_num_threads()) or update(*args))
    torch.set_num_threads(3)
    try:
        (trained,) = train(made, [1])
        assert torch.get_num_threads() == 3 and set(seen) == {1}
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(tensor, expected.weights[name]) for name, tensor in trained.weights.items())


def test_overflowing_weights_count_as_divergence(tiny_preset):
    trained = train(plan("formal-languages", tiny_preset(), learning_rate={0: 1e38}, snapshots=(0, 1, 2, 3)), [0])[0]
    assert trained.diverged and trained.steps[0] == 0 and len(trained.steps) < 4


def test_a_run_that_diverges_before_its_first_snapshot_has_none(tiny_preset):
    trained = train(plan("formal-languages", tiny_preset(), learning_rate={0: 1e38}, snapshots=(9,)), [0])[0]
    assert trained.diverged and trained.steps == () and trained.weights["linear.bias"].shape == (0, 6)


@pytest.mark.slow
@pytest.mark.parametrize("zoo", ZOOS)
def test_training_improves_accuracy(zoo):
    """300 updates on real data are enough to show it."""
    made = plan(zoo, "demo", snapshots=(0, 300))
    run = next(run for run, _ in made.runs())
    trained = train(made, [run.run])[0]
    from rnn_zoos.networks.model import RecurrentNetwork
    from rnn_zoos.networks.weights import unstack_weights

    sizes = made.settings.evaluation_sizes(made.family)
    accuracies = [
        made.family.evaluate(RecurrentNetwork(made.architecture, weights), 0, run.run, run.task, step, sizes).labels[
            "accuracy"
        ]
        for step, weights in zip(trained.steps, unstack_weights(trained.weights), strict=True)
    ]
    assert accuracies[0] < 0.25 and accuracies[1] > 0.4
