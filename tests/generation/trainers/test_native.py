"""The C++ trainer against torch, for every cell and every instruction set of this machine."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checkout import copy_tracked_files
from conftest import ALL_ZOOS, CELLS
from test_loop import plan, train

from rnn_zoos.cli.engine_options import backend_for_all
from rnn_zoos.denormals import are_zero
from rnn_zoos.errors import BackendError, DeviceError, UnknownNameError
from rnn_zoos.families.digit_inputs import measure_digits
from rnn_zoos.families.sequential_mnist import SequentialMnist
from rnn_zoos.generation.trainers import backends
from rnn_zoos.generation.trainers.backends import choose_backend, make_trainer
from rnn_zoos.generation.trainers.native.trainer import (
    NativeNetwork,
    NativeTrainer,
    _images,
    _native,
    instruction_sets,
)
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
from rnn_zoos.networks.weights import flatten

SETS = instruction_sets()
B, T, H, I, O = 5, 7, 13, 3, 4  # noqa: E741 - the axis letters
ADAMW = (0.1, 0.9, 0.999, 1e-8)


def digit_network(hidden: int = H, batch: int = B) -> _native.TrainableNetwork:
    return _native.TrainableNetwork(_native.Shape("lstm", 2, 16, hidden, 10, batch, 50), SETS[0])


def native_network(architecture: Architecture, instruction_set: str) -> _native.TrainableNetwork:
    a = architecture
    shape = _native.Shape(a.cell, a.num_layers, a.input_size, a.hidden_size, a.output_size, B, T)
    network = _native.TrainableNetwork(shape, instruction_set)
    network.set_weights(flatten(a, initial_weights(a, 0, 0)).numpy())
    return network


def data(updates: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(updates, B, T, I, generator=generator), torch.randint(0, O, (updates, B, T), generator=generator)


def relative(found: np.ndarray, expected: torch.Tensor) -> float:
    return ((torch.from_numpy(found) - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("angle", [0, 77_000_000, 135_000_000])
@pytest.mark.parametrize("cell", CELLS)
def test_evaluating_digits_equals_the_torch_network(cell, angle, monkeypatch):
    """Digits that share their first black tiles, digits that do not, batches that are not full, a black digit."""
    family = SequentialMnist()
    shape = family.architecture(cell, 2, 13)
    weights = {
        name: 3 * tensor for name, tensor in initial_weights(shape, 0, 0).items()
    }  # unscaled, all outputs are class 3
    images, labels, table = family.digits.images.clone(), family.digits.labels, family.table(angle)
    images[7] = 0
    monkeypatch.setattr("rnn_zoos.generation.trainers.native.trainer._EVALUATED_AT_ONCE", 9)
    network = NativeNetwork(shape, weights)
    for positions in (torch.arange(100, 231), torch.tensor([7]), torch.tensor([12, 7, 12, 99])):
        loss, accuracy = network.measure_digits(images, labels, positions, table)
        expected = measure_digits(RecurrentNetwork(shape, weights), images, labels, positions, table)
        assert (loss, accuracy) == (pytest.approx(expected[0], rel=1e-5), expected[1])


def test_evaluating_a_network_does_not_change_its_training():
    shape = Architecture("lstm", 2, 16, H, 10)
    evaluated, fresh = digit_network(), digit_network()
    digits = SequentialMnist().digits
    images = _images(digits.images, digits.labels, SequentialMnist().table(77_000_000))
    chosen = np.arange(2 * B).reshape(2, B)
    for network in (evaluated, fresh):
        network.set_weights(flatten(shape, initial_weights(shape, 0, 0)).numpy())
        if network is evaluated:
            network.evaluate_images(np.arange(17), images)
        network.train_images(chosen, images, [0.01, 0.01], _native.AdamW(*ADAMW))
    assert np.array_equal(evaluated.weights(), fresh.weights())


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("instruction_set", SETS)
def test_outputs_loss_and_every_gradient_equal_autograd(instruction_set, cell, layers):
    shape = Architecture(cell, layers, I, H, O)
    network = RecurrentNetwork(shape, initial_weights(shape, 0, 0))
    inputs, targets = data(1)
    outputs = network(inputs[0])
    loss = F.cross_entropy(outputs.flatten(0, 1), targets.flatten())
    loss.backward()
    native = native_network(shape, instruction_set)
    assert relative(native.predict(inputs.numpy()), outputs.detach()) < 1e-5
    losses = native.train_dense(inputs.numpy(), targets.numpy(), [0.01], _native.AdamW(*ADAMW))
    assert losses == pytest.approx([loss.item()], rel=1e-5)
    gradients = dict(zip(shape.parameter_shapes, unpack(shape, native.gradients()), strict=True))
    for name, parameter in network.named_parameters():
        assert relative(gradients[name].numpy(), parameter.grad) < 1e-5, name


def unpack(shape: Architecture, flat: np.ndarray) -> list[torch.Tensor]:
    sizes = [int(np.prod(s)) for s in shape.parameter_shapes.values()]
    parts = torch.from_numpy(flat).split(sizes)
    return [part.view(s) for part, s in zip(parts, shape.parameter_shapes.values(), strict=True)]


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("instruction_set", SETS)
def test_fifty_updates_equal_adamw_of_torch(instruction_set, cell, layers):
    shape = Architecture(cell, layers, I, H, O)
    network = RecurrentNetwork(shape, initial_weights(shape, 0, 0))
    optimizer = torch.optim.AdamW(network.parameters(), betas=ADAMW[1:3], eps=ADAMW[3], weight_decay=ADAMW[0])
    inputs, targets = data(50)
    rates = [0.01 - 0.0001 * k for k in range(50)]
    for x, y, rate in zip(inputs, targets, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        F.cross_entropy(network(x).flatten(0, 1), y.flatten()).backward()
        optimizer.step()
    expected = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    native = native_network(shape, instruction_set)
    native.train_dense(inputs.numpy(), targets.numpy(), rates, _native.AdamW(*ADAMW))
    assert relative(native.weights(), expected) < 1e-3
    assert relative(native_network(shape, instruction_set).weights(), expected) > 0.1, (
        "training must have moved the weights"
    )


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("zoo", ALL_ZOOS)
def test_every_zoo_equals_the_loop_trainer(zoo, instruction_set, tiny_preset):
    """Symbols and digits are passed to the kernel in other forms than float inputs; automata have targets apart."""
    for cell in CELLS:
        made = plan(zoo, tiny_preset(cell), snapshots=(0, 2, 50), hidden_size=13)
        runs = [run for run, _ in made.runs()][2:4]
        expected = train(made, [run.run for run in runs])
        native = list(NativeTrainer(instruction_set).train(made.family, made.settings, runs, lambda updates: None))
        for trained, reference in zip(native, expected, strict=True):
            assert (trained.run, trained.steps, trained.diverged) == (
                reference.run,
                reference.steps,
                reference.diverged,
            )
            for name, tensor in trained.weights.items():
                assert torch.equal(tensor[0], reference.weights[name][0])
                # The first steps of AdamW have the size of the learning rate whatever the gradient, which amplifies
                # rounding.
                torch.testing.assert_close(tensor[1], reference.weights[name][1], rtol=1e-4, atol=1e-5, msg=name)
                assert (tensor[2] - reference.weights[name][2]).abs().max() < 1e-3 * tensor[2].abs().max() + 1e-4, name


@pytest.mark.parametrize("instruction_set", SETS)
def test_vector_functions_stay_within_their_error_bounds(instruction_set):
    x = np.concatenate([np.linspace(-87, 87, 400_000), np.linspace(-0.3, 0.3, 100_000), [0, 1e-30, -1e-30, 1e-40] * 4])
    x = x.astype(np.float32)[: len(x) // 16 * 16]
    exact = x.astype(np.float64)
    for name, function, bound in (
        ("exp", np.exp, 3e-7),
        ("tanh", np.tanh, 6e-7),
        ("sigmoid", lambda v: 1 / (1 + np.exp(-v)), 6e-7),
    ):
        found, expected = _native.apply(name, instruction_set, x).astype(np.float64), function(exact)
        error = np.abs(found - expected) / np.maximum(np.abs(expected), 1e-37)
        assert error.max() < bound, (name, error.max(), x[error.argmax()])
    edges = np.array([np.nan, np.inf, -np.inf, 200] * 4, np.float32)
    tanh = _native.apply("tanh", instruction_set, edges)
    assert np.isnan(tanh[0]) and tanh[1] == 1 and tanh[2] == -1 and tanh[3] == 1
    assert np.isnan(_native.apply("exp", instruction_set, edges)[0]), "a lost NaN would hide that a run diverged"


def test_importing_the_extension_does_not_switch_off_denormal_numbers():
    script = (
        "import numpy as np; from rnn_zoos.generation.trainers.native import _native\n"
        "print(float(np.float32(1e-40) * np.float32(1)) > 0)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "True"


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("cell", CELLS)
def test_denormal_numbers_count_as_zero_and_the_thread_is_left_as_it_was(cell, instruction_set):
    """One operation on them takes as long as a hundred others."""
    shape = Architecture(cell, 2, I, H, O)
    network = native_network(shape, instruction_set)
    network.set_weights(np.full(shape.num_parameters, 1e-40, np.float32))
    inputs, targets = data(1)
    assert not network.predict(inputs.numpy()).any()
    network.train_dense(inputs.numpy(), targets.numpy(), [0.0], _native.AdamW(*ADAMW))
    gradients = np.abs(network.gradients())
    assert gradients.max() > 0.01 and not ((gradients > 0) & (gradients < np.finfo(np.float32).tiny)).any()
    assert not are_zero()


@pytest.mark.parametrize("instruction_set", SETS)
def test_earlier_contents_of_buffers_do_not_affect_results(instruction_set):
    shape = Architecture("gru", 2, I, H, O)
    inputs, targets = data(1)
    clean, dirty = native_network(shape, instruction_set), native_network(shape, instruction_set)
    dirty.set_weights(np.full(shape.num_parameters, np.nan, np.float32))
    assert not np.isfinite(dirty.train_dense(inputs.numpy(), targets.numpy(), [0.0], _native.AdamW(*ADAMW))[0])
    dirty.set_weights(flatten(shape, initial_weights(shape, 0, 0)).numpy())
    assert np.array_equal(clean.predict(inputs.numpy()), dirty.predict(inputs.numpy()))
    for network in (clean, dirty):
        network.train_dense(inputs.numpy(), targets.numpy(), [0.01], _native.AdamW(*ADAMW))
    assert np.array_equal(clean.gradients(), dirty.gradients())


def test_weights_do_not_depend_on_other_runs_snapshots_or_how_many_updates_are_drawn_ahead(tiny_preset, monkeypatch):
    from rnn_zoos.generation.trainers.native import trainer as native

    made = plan("sequential-mnist", tiny_preset(), snapshots=(0, 3, 30))
    runs = [run for run, _ in made.runs()][:3]

    def trained(settings, chosen):
        return list(NativeTrainer().train(made.family, settings, chosen, lambda updates: None))

    together = trained(made.settings, runs)
    monkeypatch.setattr(native, "_DRAWN_AHEAD", 7)
    alone = trained(made.settings.model_copy(update={"snapshots": (30,)}), [runs[1]])[0]
    for name, tensor in alone.weights.items():
        assert torch.equal(tensor[0], together[1].weights[name][2])
        assert not torch.equal(tensor[0], together[0].weights[name][2])


def test_a_diverging_run_stops_keeps_its_finite_snapshots_and_is_reported_as_done(tiny_preset):
    made = plan("formal-languages", tiny_preset(), learning_rate={0: 1e38}, snapshots=(0, 1, 2, 300))
    done: list[int] = []
    run = next(run for run, _ in made.runs())
    trained = next(NativeTrainer().train(made.family, made.settings, [run], done.append))
    assert trained.diverged and trained.steps[0] == 0 and 300 not in trained.steps
    assert all(tensor.isfinite().all() for tensor in trained.weights.values()) and sum(done) == 300
    late = plan("formal-languages", tiny_preset(), learning_rate={0: 1e38}, snapshots=(9,))
    trained = next(NativeTrainer().train(late.family, late.settings, [run], done.append))
    assert trained.diverged and trained.steps == ()


def test_arrays_of_wrong_shape_or_content_are_refused():
    shape = Architecture("lstm", 1, I, H, O)
    native, adamw = native_network(shape, SETS[0]), _native.AdamW(*ADAMW)
    sizes = (1, I, H, O, B, T)
    inputs, targets = (tensor.numpy() for tensor in data(2))
    for wrong, message in (
        (lambda: native.set_weights(np.zeros(3, np.float32)), "weights"),
        (lambda: native.train_dense(inputs[:, :, :-1], targets, [0.1, 0.1], adamw), "inputs"),
        (lambda: native.train_dense(inputs, targets[:1], [0.1, 0.1], adamw), "targets"),
        (lambda: native.train_dense(inputs, targets + O, [0.1, 0.1], adamw), "below outputs"),
        (lambda: native.train_symbols(np.full((1, B, T + 1), 9, np.uint8), [0.1], adamw), "symbols"),
        (lambda: native.train_symbols(np.zeros((1, B, T), np.uint8), [0.1], adamw), "symbols"),
        (lambda: _native.Shape("lstn", *sizes), "cell"),
        (lambda: _native.TrainableNetwork(_native.Shape("lstm", *sizes), "mmx"), "mmx"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


def test_a_run_takes_little_memory():
    assert 1e6 < digit_network(hidden=32, batch=32).bytes < 16e6


def test_auto_chooses_the_native_trainer_and_falls_back_to_loop(monkeypatch):
    assert choose_backend("auto")[0] == "native"
    assert choose_backend("loop") == ("loop", "as requested")
    monkeypatch.setitem(sys.modules, "rnn_zoos.generation.trainers.native.trainer", None)
    backend, why = choose_backend("auto")
    assert backend == "loop" and "no C++ compiler" in why
    with pytest.raises(BackendError, match="Backend 'native' was not built.*--backend loop"):
        make_trainer("native")
    with pytest.raises(UnknownNameError, match="Unknown backend 'cuda'; known: auto, native, stacked, triton, loop"):
        choose_backend("cuda")
    with pytest.raises(UnknownNameError, match="Unknown backend 'auto'; known: native, stacked, triton, loop"):
        make_trainer("auto")
    with pytest.raises(BackendError, match="runs_at_once is -1; expected at least 1"):
        make_trainer("stacked", runs_at_once=-1)
    assert backends.BACKENDS[-1] == "loop"


def test_networks_that_the_native_trainer_does_not_support_are_refused_before_training(tiny_preset):
    deep, large = Architecture("gru", 17, 3, 5, 3), Architecture("rnn", 1, 3, 2**24 + 1, 3)
    assert choose_backend("auto", deep) == ("loop", "native supports up to 16 layers; got 17")
    several = [Architecture("lstm", 2, 3, 5, 3), deep]
    assert backend_for_all("auto", "local", several, ()) == ("loop", "native supports up to 16 layers; got 17")
    assert backend_for_all("auto", "local", several[:1], ())[0] == "native"
    assert choose_backend("auto", large) == ("loop", "native supports sizes up to 16,777,216; got 16,777,217")
    assert choose_backend("auto", Architecture("gru", 16, 3, 5, 3))[0] == "native"
    for architecture in (deep, large):
        with pytest.raises(BackendError, match="Backend 'native' supports .*; got 1.*--backend loop"):
            choose_backend("native", architecture)
    made = plan("formal-languages", tiny_preset(), num_layers=17)
    run, _ = next(made.runs())
    with pytest.raises(BackendError, match="up to 16 layers; got 17"):
        list(make_trainer("native").train(made.family, made.settings, [run], lambda updates: None))


def test_devices_are_refused_by_backends_that_train_on_the_cpu_and_if_one_does_not_exist():
    for backend in ("native", "loop"):
        with pytest.raises(BackendError, match=f"{backend}' trains on the CPU and cannot use cuda:0, cpu.*or stacked"):
            choose_backend(backend, None, ["cuda:0", "cpu"])
    with pytest.raises(DeviceError, match="no device 'cuda:77'"):
        choose_backend("stacked", None, ["cpu", "cuda:77"])
    assert choose_backend("stacked", None, ["cpu"]) == ("stacked", "as requested")


@pytest.mark.slow
def test_without_a_compiler_the_package_still_installs(tmp_path):
    """`optional` in setup.py: pip succeeds, and only the native trainer is missing."""
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", tmp_path / "installed"]
    environment = os.environ | {"CC": "no-such-compiler", "CXX": "no-such-compiler"}
    subprocess.run(
        [*command, copy_tracked_files(tmp_path / "source")], env=environment, check=True, capture_output=True
    )
    assert (tmp_path / "installed" / "rnn_zoos" / "generation" / "trainers" / "native" / "trainer.py").is_file()
    assert not list((tmp_path / "installed").rglob("_native*.so"))
