"""The stacked trainer against the loop trainer, and against torch.autograd on one network at a time."""

import gc
import weakref
from collections.abc import Iterable
from itertools import islice

import pytest
import torch
import torch.nn.functional as F
from conftest import ALL_ZOOS, CELLS, ZOOS
from synthetic import synthetic_runs, synthetic_settings
from trainer_comparison import FAMILY, assert_close, assert_equal_to_loop, assert_same_bits, train

from rnn_zoos.errors import DeviceError
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.trainers.loop import LoopTrainer
from rnn_zoos.generation.trainers.stacked import StackedRunGroup, StackedTrainer
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
from rnn_zoos.networks.weights import unflatten

CPU = StackedTrainer("cpu")


def advance(group: StackedRunGroup, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
    for drawn, rates in batches:
        group.load(drawn, rates)
        group.update()


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_loss_and_every_gradient_equal_autograd_on_one_network(cell, layers):
    settings, runs = synthetic_settings(cell, layers), synthetic_runs(4)
    shape = settings.architecture(FAMILY)
    group = StackedRunGroup(FAMILY, settings, runs, torch.device("cpu"))
    losses, gradients = group.losses_and_gradients()
    for number, run in enumerate(runs):
        network = RecurrentNetwork(shape, initial_weights(shape, settings.seed, run.run))
        sampler = FAMILY.sampler(settings.seed, [run.run], [run.task], settings.batch_size)
        inputs, targets = sampler.batch(sampler.draw(0, 1)[:, 0])
        loss = F.cross_entropy(network(inputs[0]).flatten(0, 1), targets.flatten())
        loss.backward()
        assert losses[number].item() == pytest.approx(loss.item(), rel=1e-5)
        unflattened = unflatten(shape, gradients[number, group.parameter_indices])
        for name, parameter in network.named_parameters():
            assert_close(unflattened[name], parameter.grad, 1e-5, name)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_fifty_updates_equal_the_loop_trainer(cell, layers):
    settings, runs = synthetic_settings(cell, layers), synthetic_runs(3)
    trained = train(CPU, settings, runs)
    assert trained[0].steps == (0, 1, 17, 50)
    assert_equal_to_loop(trained, train(LoopTrainer(), settings, runs))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("zoo", ALL_ZOOS)
def test_every_zoo_equals_the_loop_trainer(zoo, cell, tiny_preset):
    plan = make_plan(zoo, tiny_preset(cell))
    runs = [run for run, _ in plan.runs()]
    trained = train(CPU, plan.settings, runs, plan.family)
    assert_equal_to_loop(trained, train(LoopTrainer(), plan.settings, runs, plan.family))
    assert (trained[0].weights["linear.bias"][-1] != trained[0].weights["linear.bias"][0]).all()


@pytest.mark.parametrize(("batch", "hidden"), [(5, 13), (3, 7), (1, 40), (4, 12), (8, 8)])
@pytest.mark.parametrize("cell", CELLS)
def test_a_run_has_the_same_bits_in_every_group(cell, batch, hidden):
    settings = synthetic_settings(cell, hidden_size=hidden, batch_size=batch, snapshots=(2, 5))
    runs = synthetic_runs(11)
    together = train(CPU, settings, runs)
    for trained in [
        *train(StackedTrainer("cpu", runs_at_once=1), settings, runs),
        *train(StackedTrainer("cpu", runs_at_once=4), settings, runs),
        *train(CPU, settings, runs[::-1]),
        *train(CPU, settings, [runs[5], runs[2], runs[9]]),
    ]:
        assert_same_bits(trained, together[trained.run.run])


@pytest.mark.parametrize("zoo", ZOOS)
def test_both_zoos_have_the_same_bits_in_every_group_and_with_any_number_of_threads(zoo):
    plan = make_plan(zoo, "demo")
    settings = plan.settings.model_copy(update={"snapshots": (1, 4)})
    runs = [run for run, _ in plan.runs()][:5]
    together, alone = train(CPU, settings, runs, plan.family), StackedTrainer("cpu", runs_at_once=1)
    torch.set_num_threads(2)
    try:
        threaded = train(alone, settings, runs, plan.family)
        assert torch.get_num_threads() == 2, "the number of threads is restored"
    finally:
        torch.set_num_threads(1)
    reordered = train(CPU, settings, runs[3:0:-1], plan.family)
    for trained in [*threaded, *train(alone, settings, runs, plan.family), *reordered]:
        assert_same_bits(trained, together[runs.index(trained.run)])


@pytest.mark.parametrize("cell", CELLS)
def test_diverging_runs_keep_the_same_snapshots_as_loop_and_do_not_affect_other_runs(cell):
    """NaN at the first update, at a snapshot, right after one, and at the last update."""
    settings = synthetic_settings(cell)
    poisoned = {1: 1, 2: 17, 5: 18, 6: 50}
    mixed, healthy = synthetic_runs(8, poisoned), synthetic_runs(8)
    done = []
    trained = train(CPU, settings, mixed, report=done.append)
    assert sum(done) == len(mixed) * settings.num_updates
    assert [run.steps for run in trained if run.diverged] == [(0,), (0, 1), (0, 1, 17), (0, 1, 17)]
    assert_equal_to_loop(trained, train(LoopTrainer(), settings, mixed))
    for run, expected in zip(trained, train(CPU, settings, healthy), strict=True):
        kept = len(run.steps)
        for name, tensor in run.weights.items():
            assert torch.equal(tensor, expected.weights[name][:kept])
        assert run.diverged or kept == len(settings.snapshots)


def test_the_weights_of_a_diverged_run_do_not_change():
    settings, runs = synthetic_settings(), synthetic_runs(3, {1: 4})
    group = StackedRunGroup(FAMILY, settings, runs, torch.device("cpu"))
    seen = []
    for batch in group.batches():
        advance(group, [batch])
        seen.append(group.parameters.clone())
    assert group.diverged_at.tolist() == [51, 4, 51] and group.step.item() == 50
    assert seen[2].isfinite().all() and torch.equal(seen[2][1], seen[-1][1]), "the weights from before update 4"
    assert not torch.equal(seen[2][0], seen[-1][0])


@pytest.mark.parametrize("snapshots", [(0, 1, 2, 3), (1, 9), (9,), (0, 60)])
@pytest.mark.parametrize("rate", [1e30, 1e38])
def test_overflowing_weights_count_as_divergence_as_in_loop(rate, snapshots, tiny_preset):
    plan = make_plan("formal-languages", tiny_preset())
    settings = plan.settings.model_copy(update={"learning_rate": {0: rate}, "snapshots": snapshots})
    runs, done = [run for run, _ in plan.runs()][:2], []
    trained = train(CPU, settings, runs, plan.family, done.append)
    assert sum(done) == 2 * settings.num_updates
    expected = train(LoopTrainer(), settings, runs, plan.family)
    assert [(r.steps, r.diverged) for r in trained] == [(r.steps, r.diverged) for r in expected]
    assert any(run.diverged for run in trained) or rate < 1e38


@pytest.mark.parametrize("updates", [0, 1, 50, 123])
def test_any_number_of_updates_is_reported_and_has_its_snapshot(updates):
    settings = synthetic_settings(num_layers=1, snapshots=(updates,))
    done = []
    trained = train(StackedTrainer("cpu", runs_at_once=2), settings, synthetic_runs(3), report=done.append)
    assert sum(done) == 3 * updates and max(done, default=0) <= 2 * 50
    assert [run.steps for run in trained] == [(updates,)] * 3
    assert train(CPU, settings, []) == []


@pytest.mark.parametrize("cell", CELLS)
def test_additional_units_stay_exactly_zero(cell):
    settings = synthetic_settings(cell, 3)
    group = StackedRunGroup(FAMILY, settings, synthetic_runs(2), torch.device("cpu"))
    assert (
        group.padded.hidden_size == 16 and len(group.parameter_indices) == settings.architecture(FAMILY).num_parameters
    )
    advance(group, group.batches())
    additional = torch.ones(group.parameters.shape[1], dtype=torch.bool)
    additional[group.parameter_indices] = False
    assert additional.sum() > 0 and not group.parameters[:, additional].any()


def test_restoring_the_state_restores_everything_that_an_update_changes():
    """The warm-up before the capture of a CUDA graph relies on it."""
    group = StackedRunGroup(FAMILY, synthetic_settings(), synthetic_runs(3, {1: 2}), torch.device("cpu"))
    before = [tensor.clone() for tensor in group.state]
    advance(group, islice(group.batches(), 5))
    first = [tensor.clone() for tensor in group.state]
    for tensor, value in zip(group.state, before, strict=True):
        tensor.copy_(value)
    advance(group, islice(group.batches(), 5))
    # The moments of the diverged run (number 1) are NaN.
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(group.state, first, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(group.state, before, strict=True))


def test_batches_do_not_depend_on_how_many_are_drawn_ahead(monkeypatch):
    settings, runs = synthetic_settings(num_layers=1), synthetic_runs(2)
    expected = train(CPU, settings, runs)
    monkeypatch.setattr("rnn_zoos.generation.trainers.groups.DRAWN_BYTES", 1)
    for trained, wanted in zip(train(CPU, settings, runs), expected, strict=True):
        assert_same_bits(trained, wanted)


@pytest.mark.parametrize("device", ["cuda:77", "gpu", "vulkan", "hpu", "meta"])
def test_a_missing_device_is_reported_with_the_existing_ones(device):
    with pytest.raises(DeviceError, match=f"There is no device '{device}' here .*Possible: cpu"):
        StackedTrainer(device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("cell", CELLS)
def test_training_on_a_gpu_equals_loop_on_the_cpu(cell):
    settings, runs = synthetic_settings(cell), synthetic_runs(5, {3: 17})
    together = train(StackedTrainer("cuda"), settings, runs)
    assert_equal_to_loop(together, train(LoopTrainer(), settings, runs))
    in_pairs = train(StackedTrainer("cuda", runs_at_once=2), settings, runs)
    assert_equal_to_loop(in_pairs, together)  # not the same bits: cuBLAS chooses products by the size of the stack


def test_a_trained_group_is_freed_at_once():
    """A group in a reference cycle keeps its memory on the GPU, and may be collected while another is captured."""
    group = StackedRunGroup(FAMILY, synthetic_settings(), synthetic_runs(2), torch.device("cpu"))
    gc.disable()
    try:
        group.advance(3)
        alive = weakref.ref(group)
        del group
        assert alive() is None
    finally:
        gc.enable()
