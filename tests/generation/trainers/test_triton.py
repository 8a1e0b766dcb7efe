"""The Triton trainer against autograd and the loop trainer; without a GPU in Triton's interpreter (tests/conftest.py).

The interpreter takes a quarter of a second for an update of one run with one LSTM layer of 7 steps, so runs, updates
and layers are few here.
"""

import math
import sys

import pytest
import torch
import torch.nn.functional as F
from conftest import ALL_ZOOS, CELLS, ZOOS
from synthetic import synthetic_runs, synthetic_settings
from trainer_comparison import (
    FAMILY,
    assert_close,
    assert_equal_to_loop,
    assert_same_bits,
    run_without_interpreter,
    train,
)

pytest.importorskip("triton", reason="triton exists only for Linux on x86-64")

import triton
import triton.language as tl

from rnn_zoos.errors import BackendError, DeviceError
from rnn_zoos.generation.measuring.gpu_checks import TRAINED_UPDATES
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.trainers.backends import choose_backend, make_trainer
from rnn_zoos.generation.trainers.loop import LoopTrainer
from rnn_zoos.generation.trainers.triton.cells import sigmoid, tanh
from rnn_zoos.generation.trainers.triton.shape import LARGEST, LARGEST_HIDDEN, unsupported
from rnn_zoos.generation.trainers.triton.trainer import INTERPRETED, TritonRunGroup, TritonTrainer
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
from rnn_zoos.networks.weights import unflatten

# A GPU overflows silently; numpy, which the interpreter uses, warns.
silently = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered in:RuntimeWarning")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def few_steps(monkeypatch) -> None:
    """Shorten the sequences where many updates are needed: the time of the interpreter grows with the steps."""
    monkeypatch.setattr("synthetic.STEPS", 3)


def group_of(settings, runs, **options) -> TritonRunGroup:
    return TritonRunGroup(FAMILY, settings, runs, DEVICE, **options)


@pytest.mark.parametrize(("batch", "hidden", "layers"), [(5, 13, 1), (5, 13, 2), (5, 13, 3), (19, 18, 2), (5, 37, 2)])
@pytest.mark.parametrize("cell", CELLS)
def test_loss_and_every_gradient_equal_autograd(cell, batch, hidden, layers):
    """The fourth sizes have two chunks of sequences and 32 units on chip. The last have 64: gradients of the weights
    are summed two blocks at a time, the readout takes 32 rows, and the weights of the inputs are read at every step.
    """
    settings = synthetic_settings(cell, layers, batch_size=batch, hidden_size=hidden)
    runs, shape = synthetic_runs(2 if layers == 1 else 1), settings.architecture(FAMILY)
    group = group_of(settings, runs)
    group.scratch.fill_(math.nan)
    group.advance(1)
    for number, run in enumerate(runs):
        network = RecurrentNetwork(shape, initial_weights(shape, settings.seed, run.run))
        sampler = FAMILY.sampler(settings.seed, [run.run], [run.task], settings.batch_size)
        inputs, targets = sampler.batch(sampler.draw(0, 1)[:, 0])
        loss = F.cross_entropy(network(inputs[0]).flatten(0, 1), targets.flatten())
        loss.backward()
        assert group.losses[number].item() == pytest.approx(loss.item(), rel=1e-5)
        unflattened = unflatten(shape, group.gradients[number, : shape.num_parameters].cpu())
        for name, parameter in network.named_parameters():
            assert_close(unflattened[name], parameter.grad, 1e-5, name)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", *(pytest.param(cell, marks=pytest.mark.long) for cell in ("lstm", "rnn"))])
def test_fifty_updates_equal_the_loop_trainer(cell, few_steps):
    settings, runs = synthetic_settings(cell, 1), synthetic_runs(2)[1:]
    assert_equal_to_loop(train(TritonTrainer(), settings, runs), train(LoopTrainer(), settings, runs))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("zoo", ALL_ZOOS)
def test_every_zoo_equals_the_loop_trainer(zoo, cell, tiny_preset):
    """Symbols and digits are passed to the kernel in other forms than float inputs; automata have targets apart."""
    plan = make_plan(zoo, tiny_preset(cell))
    settings = plan.settings.model_copy(update={"num_layers": 1, "snapshots": (0, 1)})
    runs = [run for run, _ in plan.runs()][2 : 4 if cell == "rnn" else 3]
    trained = train(TritonTrainer(), settings, runs, plan.family)
    assert_equal_to_loop(trained, train(LoopTrainer(), settings, runs, plan.family))


def test_a_run_has_the_same_bits_in_every_group_and_for_every_division_into_launches(monkeypatch, few_steps):
    settings, runs = synthetic_settings("rnn", 2, snapshots=(3,)), synthetic_runs(3)
    together = train(TritonTrainer(), settings, runs)
    group = group_of(settings, runs)
    group.advance(1)
    group.advance(2)
    assert torch.equal(group.weights()[:, -3:].cpu(), torch.stack([run.weights["linear.bias"][0] for run in together]))
    for trained in train(TritonTrainer(runs_at_once=2), settings, runs[:0:-1]):
        assert_same_bits(trained, together[trained.run.run])
    monkeypatch.setattr("rnn_zoos.generation.trainers.groups.DRAWN_BYTES", 1)
    assert_same_bits(train(TritonTrainer(), settings, runs[1:2])[0], together[1])


@pytest.mark.parametrize("cell", CELLS)
def test_earlier_contents_of_buffers_do_not_affect_results(cell):
    clean, dirty = (group_of(synthetic_settings(cell), synthetic_runs(1)) for _ in range(2))
    clean.scratch.fill_(0)
    for buffer in (dirty.scratch, dirty.gradients, dirty.losses):
        buffer.fill_(math.nan)
    for group in (clean, dirty):
        group.advance(1)
    assert torch.equal(clean.weights(), dirty.weights()) and clean.weights().isfinite().all()
    assert not dirty.parameters[:, clean.shape.num_parameters :].any(), "padding stays zero"


@silently
def test_diverging_runs_keep_the_same_snapshots_as_loop_and_do_not_affect_other_runs(few_steps):
    """NaN at the first update, at a snapshot, right after one, and at the last update."""
    settings = synthetic_settings("rnn", 1, snapshots=(0, 1, 3, 5))
    mixed, healthy = synthetic_runs(6, {1: 1, 2: 3, 4: 4, 5: 5}), synthetic_runs(6)
    done = []
    trained = train(TritonTrainer(), settings, mixed, report=done.append)
    assert sum(done) == len(mixed) * settings.num_updates
    assert [run.steps for run in trained if run.diverged] == [(0,), (0, 1), (0, 1, 3), (0, 1, 3)]
    assert_equal_to_loop(trained, train(LoopTrainer(), settings, mixed))
    for run, expected in zip(trained, train(TritonTrainer(), settings, healthy), strict=True):
        for name, tensor in run.weights.items():
            assert torch.equal(tensor, expected.weights[name][: len(run.steps)])


@silently
def test_the_weights_and_moments_of_a_diverged_run_do_not_change():
    group = group_of(synthetic_settings("rnn", 1), synthetic_runs(2, {1: 2}))
    group.advance(1)
    before = [tensor.clone() for tensor in (group.parameters, group.first_moments, group.second_moments)]
    group.advance(1)
    group.advance(2)
    assert group.diverged_at.tolist() == [51, 2]
    for tensor, value in zip((group.parameters, group.first_moments, group.second_moments), before, strict=True):
        assert torch.equal(tensor[1], value[1]) and not torch.equal(tensor[0], value[0])


@silently
@pytest.mark.parametrize("rate", [1e30, 1e38])
def test_overflowing_weights_count_as_divergence_as_in_loop(rate):
    settings = synthetic_settings("rnn", 1, learning_rate={0: rate}, snapshots=(0, 1, 2, 4))
    runs, done = synthetic_runs(2), []
    trained = train(TritonTrainer(), settings, runs, report=done.append)
    expected = train(LoopTrainer(), settings, runs)
    assert [(r.steps, r.diverged) for r in trained] == [(r.steps, r.diverged) for r in expected]
    assert sum(done) == 2 * settings.num_updates


def test_no_runs_and_no_updates():
    settings = synthetic_settings("rnn", 1, snapshots=(0,))
    assert train(TritonTrainer(), settings, []) == []
    assert [run.steps for run in train(TritonTrainer(), settings, synthetic_runs(2))] == [(0,), (0,)]


@triton.jit
def _apply(x, sigmoids, tangents, count: tl.constexpr):
    at = tl.arange(0, count)
    tl.store(sigmoids + at, sigmoid(tl.load(x + at)))
    tl.store(tangents + at, tanh(tl.load(x + at)))


@silently
def test_sigmoid_and_tanh_stay_within_their_error_bounds():
    count = 2**14
    edges = torch.tensor([math.nan, math.inf, -math.inf, 200.0, -200.0, 1e30, 0.0, 1e-30])
    x = torch.cat([torch.linspace(-30, 30, count // 2), torch.linspace(-0.3, 0.3, count // 2 - 8), edges]).to(DEVICE)
    sigmoids, tangents = torch.empty_like(x), torch.empty_like(x)
    _apply[(1,)](x, sigmoids, tangents, count)
    exact = x.double()
    for found, expected in ((sigmoids, exact.sigmoid()), (tangents, exact.tanh())):
        torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=1e-37, equal_nan=True)


def test_sizes_that_are_too_large_for_the_kernel_are_refused():
    for precision, largest in LARGEST_HIDDEN.items():
        settings = synthetic_settings(hidden_size=largest + 1)
        with pytest.raises(BackendError, match=f"hidden_size up to {largest} .*got {largest + 1}.*--backend stacked"):
            train(TritonTrainer(precision=precision), settings, synthetic_runs(1))
    for name, sizes in (("inputs", (LARGEST + 1, 3)), ("outputs", (3, LARGEST + 1))):
        problem = unsupported(Architecture("rnn", 1, sizes[0], 5, sizes[1]))
        assert problem is not None and problem.startswith(f"supports {name} up to {LARGEST} ")
    assert unsupported(Architecture("lstm", 3, LARGEST, LARGEST_HIDDEN["tf32x3"], LARGEST)) is None
    with pytest.raises(BackendError, match="no precision 'tf32'; possible: tf32x3, ieee"):
        TritonTrainer(precision="tf32")


def test_training_needs_only_torch_numpy_and_triton():
    """A GPU machine may have nothing else installed: presets, zoos and tables are made elsewhere."""
    missing = ("pydantic", "yaml", "datasets", "pyarrow", "rich", "typer", "safetensors", "huggingface_hub", "PIL")
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        "from rnn_zoos.generation.trainers import loop, stacked\n"
        "from rnn_zoos.generation.trainers.triton import trainer\n"
        "from rnn_zoos.families.formal_languages import FormalLanguages\n"
        "from rnn_zoos.families.sequential_mnist import SequentialMnist\n"
        "for family in (FormalLanguages(), SequentialMnist()): print(family.sampler(0, [1], [2], 3).draw(0, 1).shape)"
    )
    done = run_without_interpreter("-W", "error", "-c", script, TRITON_INTERPRET="1")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2, done.stderr


def test_triton_is_used_only_on_request_and_where_it_is_available(monkeypatch):
    assert choose_backend("triton") == ("triton", "as requested") and choose_backend("auto")[0] != "triton"
    small, large = Architecture("gru", 2, 3, LARGEST_HIDDEN["tf32x3"], 3), Architecture("gru", 2, 3, 65, 3)
    device = str(DEVICE)
    assert choose_backend("auto", small, [device]) == ("triton", f"whole updates in one launch on {device}")
    backend, reason = choose_backend("auto", large, [device])
    assert (
        backend == "stacked" and reason.startswith("triton supports hidden_size up to 64 with") and "got 65" in reason
    )
    assert choose_backend("auto", large)[0] == "native"
    with pytest.raises(BackendError, match="hidden_size up to 64 .*got 65.*--backend stacked"):
        choose_backend("triton", large)
    with pytest.raises(DeviceError, match="no device 'cuda:77'"):
        choose_backend("auto", small, ["cuda:77"])
    script = "from rnn_zoos.generation.trainers.backends import make_trainer; make_trainer('triton')"
    if INTERPRETED:
        refused = run_without_interpreter("-c", script).stderr
        assert f"{DeviceError.__name__}: Backend 'triton' needs an NVIDIA GPU" in refused
        assert "native, stacked or loop" in refused
    monkeypatch.setitem(sys.modules, "rnn_zoos.generation.trainers.triton.trainer", None)
    assert choose_backend("auto", small, [device])[0] == "stacked"
    with pytest.raises(BackendError, match=r"needs the package triton.*pip install 'rnn-zoos\[gpu\]'"):
        make_trainer("triton")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["tf32x3", "ieee"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("zoo", ZOOS)
def test_training_on_a_gpu_equals_loop_on_the_cpu(zoo, cell, precision):
    plan = make_plan(zoo, "demo")
    settings = plan.settings.model_copy(update={"cell": cell, "snapshots": (0, 1, TRAINED_UPDATES)})
    runs = [run for run, _ in plan.runs()][:5]
    together = train(TritonTrainer(precision=precision), settings, runs, plan.family)
    assert_equal_to_loop(together[:2], train(LoopTrainer(), settings, runs[:2], plan.family))
    for trained in train(TritonTrainer(precision=precision, runs_at_once=2), settings, runs, plan.family):
        assert_same_bits(trained, together[trained.run.run])
