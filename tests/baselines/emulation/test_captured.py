"""Updates as CUDA graphs: they must not wait for a GPU, nor copy from the host; on a GPU they equal updates without."""

import gc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from conftest import ZOOS
from torch.utils._python_dispatch import TorchDispatchMode

from rnn_zoos.baselines.emulation import captured
from rnn_zoos.baselines.emulation.captured import Batch
from rnn_zoos.baselines.emulation.data import ZooData, load_data
from rnn_zoos.baselines.emulation.references import REFERENCES
from rnn_zoos.baselines.emulation.settings import EmulationSettings
from rnn_zoos.baselines.emulation.training import EmulationRun
from rnn_zoos.baselines.encoders.encoder import embeddings_of
from rnn_zoos.baselines.encoders.registry import ENCODERS, encoder_class
from rnn_zoos.networks.stack import NetworkStack

EDITS = {"runs: 7": "runs: 16", "runs: 5": "runs: 12"}
SETTINGS = EmulationSettings(updates=12, evaluate_every=7, networks=5, sequences=2, hidden=12, layers=1)
SMALL = {"sequences": 2, "steps": 7, "hidden": 24}
SIZES = {"interactive": SMALL, "non-interactive": SMALL, "probegen": SMALL}
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(scope="module")
def folder(edited_zoo):
    return lambda zoo: edited_zoo(zoo, EDITS)


def make_run(data: ZooData, encoder: str, path: Path) -> EmulationRun:
    if encoder in ENCODERS and not encoder_class(encoder).supports(data.architecture):
        pytest.skip("the encoder does not support this architecture")
    return EmulationRun(data, encoder, 3, SETTINGS, path, SIZES.get(encoder))


class CopiesFromHost(TorchDispatchMode):
    """Raises an error for copies from the host to the device `meta`, which a CUDA graph could not repeat."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **kwargs or {})
        if func is torch.ops.aten._to_copy.default and args[0].is_cpu and result.is_meta:
            raise AssertionError("copies from the host")
        return result


def to_meta(run: EmulationRun) -> None:
    """Let a run work on the device `meta`, whose tensors have no values: nothing can wait for them."""
    train = run.data.splits["train"]
    behaviour, networks = train._on_device, train.networks
    train._on_device = behaviour.empty_like(len(train), "meta")
    weights = {name: tensor.to("meta") for name, tensor in networks.weights.items()}
    train.networks, train.device = NetworkStack(networks.architecture, weights), "meta"
    run.modules.to("meta")


def draw(run: EmulationRun) -> Batch:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(len(run.training_rows), (5,), generator=generator)
    return Batch(rows, torch.randint(3, (5, 2), generator=generator), run.embedder.draw_permutation(5, generator))


@pytest.mark.parametrize("zoo", ZOOS)
@pytest.mark.parametrize("encoder", [*ENCODERS, *REFERENCES])
def test_an_update_neither_waits_for_a_device_nor_copies_to_it(encoder, zoo, folder, tmp_path):
    run = make_run(load_data(folder(zoo)), encoder, tmp_path)
    run.step()  # computes features
    run.embedder._features = {split: features.to("meta") for split, features in run.embedder._features.items()}
    to_meta(run)
    batch = draw(run).to("meta")
    with CopiesFromHost():
        run._loss(batch, False).backward()
    assert all(parameter.grad is not None for parameter in run.emulator.parameters())


class Waits(torch.nn.Module):
    """Reads a value of the device."""

    def forward(self, weights):
        return weights["linear.bias"] * float(weights["linear.bias"].sum() > 0)


class Copies(torch.nn.Module):
    """Copies a value to the device."""

    def forward(self, weights):
        return weights["linear.bias"] * torch.tensor(2.0).to(weights["linear.bias"])


@pytest.mark.parametrize(("module", "error"), [(Waits, RuntimeError), (Copies, AssertionError)])
def test_the_test_above_notices_what_a_graph_could_not_repeat(module, error):
    with CopiesFromHost(), pytest.raises(error):
        module()({"linear.bias": torch.zeros(3, 4, device="meta")})


@pytest.mark.parametrize("zoo", ZOOS)
def test_behaviour_kept_on_a_device_is_what_is_read(zoo, folder):
    split = load_data(folder(zoo)).splits["train"]
    rows, sequences = torch.tensor([7, 0, 3]), torch.tensor([[2, 0], [1, 1], [0, 2]])
    kept, read = split._on_device.select(rows, sequences), split.behaviour(rows, sequences)
    for name, tensor in vars(read).items():
        assert (tensor is None and vars(kept)[name] is None) or torch.equal(tensor, vars(kept)[name])


def test_own_encoders_and_mixed_zoos_are_not_captured(folder, tmp_path):
    data = load_data(folder("formal-languages"))
    assert make_run(data, "flat", tmp_path).updates._capturable
    own = "rnn_zoos.baselines.encoders.template:MyModule"
    assert not EmulationRun(data, own, 0, SETTINGS, tmp_path).updates._capturable
    assert make_run(data, "self-rollout", tmp_path).updates._capturable
    vars(data)["architectures"] = (data.architecture, replace(data.architecture, hidden_size=5))
    assert not make_run(data, "self-rollout", tmp_path).updates._capturable


@dataclass
class RepeatedWork:
    """What stands in for a CUDA graph without a GPU: it does the same work again, on the tensors that it was given."""

    replay: Callable[[], None]


@pytest.mark.parametrize("encoder", ["statistics", "flat", "interactive"])
def test_repeated_work_gives_the_updates_of_a_training(encoder, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(captured, "capture_graph", lambda work, device: RepeatedWork(work))
    monkeypatch.setattr(captured, "side_stream", lambda device: nullcontext())
    one, other = (
        make_run(load_data(folder("formal-languages")), encoder, tmp_path / name) for name in ("one", "other")
    )
    one.updates = captured.Updates(one.optimisation, "cpu:0", capturable=True)
    losses = [(one.step(), other.step()) for _ in range(8)]
    assert one.updates.captured is not None and len({loss for loss, _ in losses}) == 8
    assert [loss for loss, _ in losses] == [loss for _, loss in losses]
    for name, tensor in one.modules.state_dict().items():
        assert torch.equal(tensor, other.modules.state_dict()[name]), name


def test_a_training_is_freed_at_once(folder, tmp_path):
    """One that is kept by a reference cycle keeps its memory on the GPU."""
    run = make_run(load_data(folder("formal-languages")), "statistics", tmp_path)
    run.step()
    gc.disable()
    try:
        alive = weakref.ref(run)
        del run
        assert alive() is None
    finally:
        gc.enable()


@GPU
@pytest.mark.parametrize("zoo", ZOOS)
@pytest.mark.parametrize("encoder", ["statistics", "flat", "transformer", "dws", "neural-graph", "interactive"])
def test_updates_on_a_gpu_equal_those_of_a_cpu(encoder, zoo, folder, tmp_path):
    on_gpu = make_run(load_data(folder(zoo), device="cuda"), encoder, tmp_path / "gpu")
    on_cpu = make_run(load_data(folder(zoo)), encoder, tmp_path / "cpu")
    losses = [(on_gpu.step(), on_cpu.step()) for _ in range(10)]
    assert on_gpu.updates.captured is not None
    assert max(abs(one - other) for one, other in losses) < 1e-4
    embeddings = embeddings_of(on_gpu.encoder, on_gpu.data.splits["test"].weights, on_gpu.data.splits["test"].networks)
    assert embeddings.is_cuda
