"""How many runs fit into memory: arithmetic, and its inputs."""

from dataclasses import replace
from types import MappingProxyType

import pytest
import torch
from conftest import CELLS, ZOOS
from synthetic import synthetic_runs, synthetic_settings
from torch.profiler import ProfilerActivity, profile
from trainer_comparison import FAMILY

from rnn_zoos.errors import BackendError
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.generation.engines.engine import generate
from rnn_zoos.generation.engines.local import LocalEngine
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.trainers import memory
from rnn_zoos.generation.trainers.memory import (
    RunSizes,
    bounded_runs_at_once,
    device_bytes,
    fitting_runs,
    host_bytes,
    host_memory,
)
from rnn_zoos.generation.trainers.stacked import StackedRunGroup
from rnn_zoos.generation.trainers.triton.shape import unsupported
from rnn_zoos.generation.trainers.triton.trainer import TritonRunGroup
from rnn_zoos.networks import architecture
from rnn_zoos.networks.architecture import GATES, Architecture

GIB, MIB = 2**30, 2**20


def paper_sizes(zoo, cell="lstm"):
    plan = make_plan(zoo, "paper")
    settings = plan.settings.model_copy(update={"cell": cell})
    return RunSizes.of(plan.family, settings)


def test_sizes_are_those_of_a_task_that_a_run_can_have(tiny_preset):
    """A family of another package may have no task 0."""
    plan, tasks = make_plan("formal-languages", tiny_preset()), list[int]()

    class Recorded(FormalLanguages):
        def sampler(self, seed, runs, own, *args):
            tasks.extend(own)
            return super().sampler(seed, runs, own, *args)

    assert RunSizes.of(Recorded(), plan.settings) == RunSizes.of(plan.family, plan.settings)
    assert tasks == FormalLanguages().assign_tasks(plan.settings.seed, torch.tensor([0])).tolist() != [0]


def test_a_cell_that_was_added_needs_no_entry_of_its_own_and_does_not_run_on_triton(monkeypatch):
    sizes = paper_sizes("formal-languages")
    largest = max(device_bytes("stacked", paper_sizes("formal-languages", cell)) for cell in CELLS)
    monkeypatch.setattr(architecture, "GATES", MappingProxyType({**GATES, "mgu": 2}))
    sizes = replace(sizes, architecture=Architecture("mgu", 2, 6, 32, 6))
    assert 0 < device_bytes("stacked", sizes) <= largest
    assert unsupported(sizes.architecture) == "supports the cells lstm, gru, rnn; got mgu"


def peak_of(function):
    """Return the bytes of all tensors at the peak of a call."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    current = peak = 0
    for event in sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            current += event.nbytes()
            peak = max(peak, current)
    return peak


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the profiler
@pytest.mark.parametrize(("layers", "hidden", "batch"), [(2, 32, 32), (1, 61, 13), (3, 16, 30)])
@pytest.mark.parametrize("cell", CELLS)
def test_an_update_of_stacked_takes_at_most_the_estimate(cell, layers, hidden, batch):
    settings = synthetic_settings(cell, layers, hidden_size=hidden, batch_size=batch)
    group = StackedRunGroup(FAMILY, settings, synthetic_runs(3), torch.device("cpu"))
    state = sum(tensor.nbytes for tensor in group.state)
    found = (peak_of(group.update) + state) / 3
    estimate = device_bytes("stacked", RunSizes.of(FAMILY, settings))
    assert 0.5 * estimate < found < estimate


@pytest.mark.parametrize("cell", CELLS)
def test_the_buffers_of_triton_take_what_is_estimated(cell):
    settings = synthetic_settings(cell, 2)
    group = TritonRunGroup(FAMILY, settings, synthetic_runs(3), torch.device("cpu"))
    buffers = (group.parameters, group.first_moments, group.second_moments, group.gradients, group.scratch)
    found = sum(tensor.nbytes for tensor in buffers) / 3
    estimate = device_bytes("triton", RunSizes.of(FAMILY, settings))
    assert found + 2 * group.parameters.nbytes / 3 == estimate


def test_the_estimates_for_the_paper_are_those_of_the_documentation():
    megabytes = {
        (backend, zoo): round(device_bytes(backend, paper_sizes(zoo)) / MIB, 1)
        for backend in ("stacked", "triton")
        for zoo in ZOOS
    }
    assert megabytes == {
        ("stacked", "formal-languages"): 3.8,
        ("stacked", "sequential-mnist"): 4.8,
        ("triton", "formal-languages"): 2.4,
        ("triton", "sequential-mnist"): 2.9,
    }
    assert 0.9 < host_bytes(paper_sizes("formal-languages")) / MIB < 1
    with pytest.raises(BackendError, match="hidden_size up to 64"):
        large = replace(paper_sizes("formal-languages").architecture, hidden_size=1000)
        device_bytes("triton", replace(paper_sizes("formal-languages"), architecture=large))


def test_memory_bounds_the_number_of_runs():
    assert fitting_runs(80 * GIB, GIB, 5 * MIB) == (int(0.9 * 80 * GIB) - GIB) // (5 * MIB)
    assert fitting_runs(GIB, 2 * GIB, 5 * MIB) == 1, "less than is needed in any case: one run may still fit"


@pytest.fixture
def free(monkeypatch):
    """Return a function that sets the free bytes of the GPU and of the host."""

    def set_free(on_gpu, on_host):
        monkeypatch.setattr(memory, "free_memory", lambda device: on_gpu if device.type == "cuda" else None)
        monkeypatch.setattr(memory, "host_memory", lambda: on_host)

    return set_free


@pytest.mark.parametrize(
    ("devices", "on_gpu", "on_host", "expected", "what"),
    [
        (["cuda:0"], 80 * GIB, 64 * GIB, 1000, None),
        (["cuda:0"], 4 * GIB, 64 * GIB, 600, "Memory of cuda:0: 4.0 GiB"),
        (["cuda:0"], 80 * GIB, 2 * GIB, 860, "Memory of the host: 2.0 GiB"),
        (["cuda:0", "cuda:1"], 80 * GIB, 4 * GIB, 860, "Memory of the host: 2.0 GiB"),
        (["cpu"], None, 4 * GIB, 550, "Memory of the host: 4.0 GiB"),
        (["cpu"], None, None, 1000, None),
        (["cuda:0"], GIB, 64 * GIB, 1, "1 runs are trained at once, not 1,000"),
    ],
)
def test_the_smaller_of_the_memories_of_device_and_host_counts(devices, on_gpu, on_host, expected, what, free):
    free(on_gpu, on_host)
    plan = make_plan("formal-languages", "paper")
    runs, notice = bounded_runs_at_once("stacked", plan.family, plan.settings, devices, 1000)
    assert runs == pytest.approx(expected, rel=0.15)
    assert (notice is None) == (what is None) and (what or "") in (notice or "")


def test_too_large_a_request_is_cut_with_a_notice(free, tiny_preset, tmp_path, capsys):
    free(None, 2**28)
    plan = make_plan("formal-languages", tiny_preset(), runs=2, backend="stacked")
    manifest = generate(plan, tmp_path, LocalEngine(1, ("cpu",), 77))
    assert manifest.runs == 2
    assert "1 runs are trained at once, not 77." in capsys.readouterr().err


def test_the_memory_of_the_host_is_that_of_the_container(tmp_path):
    assert host_memory(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:  99 kB\nMemAvailable:   5000 kB\nHugePages_Total: 0\n")
    assert host_memory(tmp_path) == 5_120_000
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    for name, text in {"max": "4000000", "current": "3000000", "stat": "anon 1\ninactive_file 500000\n"}.items():
        (group / f"memory.{name}").write_text(text)
    assert host_memory(tmp_path) == 1_500_000
    (group / "memory.max").write_text("max\n")
    assert host_memory(tmp_path) == 5_120_000
    assert host_memory() > 2**20
