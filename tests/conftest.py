"""Tiny zoos, made by the real code in this process, for all tests."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

# Read when a kernel is imported: without a GPU Triton's interpreter runs it, by numpy.
os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # read at import, too: nothing here may reach a hub

from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.writing.finishing import finish
from rnn_zoos.generation.writing.shards import make_shard
from rnn_zoos.generation.writing.workspace import Workspace, locked

ROOT = Path(__file__).resolve().parents[1]
ZOOS = ("formal-languages", "sequential-mnist")
CELLS = ("lstm", "gru", "rnn")

# Distinct awkward sizes, so that a swapped axis cannot pass.
TINY = """\
formal-languages:
  seed: 13
  runs: 7
  runs_per_shard: 2
  cell: {cell}
  num_layers: 2
  hidden_size: 7
  batch_size: 3
  snapshots: [0, 2, 11]
  learning_rate: {{0: 0.01, 5: 0.003}}
  weight_decay: [0.0001]
  evaluation: {{strings: 13, rollouts: 4}}
sequential-mnist:
  seed: 4
  runs: 5
  runs_per_shard: 2
  cell: {cell}
  num_layers: 3
  hidden_size: 5
  batch_size: 4
  snapshots: [0, 3, 8]
  learning_rate: {{0: 0.01, 5: 0.003}}
  weight_decay: [0, 0.1]
  evaluation: {{held_out_digits: 23, fit_digits: 29, test_digits: 31, rollouts: 6}}
"""


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Workers have one thread; what is compared with them bit for bit has to have one too."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """What a shell starts in the background is deaf to Ctrl-C; the commands that are tested would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing here may reach a cache of the user."""
    os.environ["HF_HOME"] = str(tmp_path_factory.mktemp("hf"))


def make_in_process(directory: Path, plan: Plan) -> None:
    """What `generate` does, without worker processes."""
    with locked(directory):
        workspace = Workspace(directory, plan)
        pending = workspace.prepare()
        for shard in pending or []:
            make_shard(directory, plan, shard, lambda updates: None)
        if pending is not None:
            finish(workspace)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a zoo but its lock; of the manifest all but what tells how long it took, and its seal."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != ".lock")
    found = {str(path.relative_to(directory)): path.read_bytes() for path in files}
    if "zoo.json" in found:
        manifest = json.loads(found["zoo.json"])
        del manifest["made"], manifest["sha256"]
        found["zoo.json"] = json.dumps(manifest).encode()
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the fault tests have tried and found, and write it to the file of RNN_ZOOS_FAULTS_JSON."""
    from faulty import TALLY

    for kind, counts in TALLY.items():
        terminalreporter.write_line(f"{kind}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    if TALLY and (path := os.environ.get("RNN_ZOOS_FAULTS_JSON")):
        Path(path).write_text(json.dumps(TALLY, indent=2) + "\n")


@pytest.fixture(scope="session")
def tiny_preset(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the path of the tiny preset with a given cell."""
    folder = tmp_path_factory.mktemp("presets")

    def write(cell: str = "lstm") -> str:
        path = folder / f"{cell}.yaml"
        path.write_text(TINY.format(cell=cell))
        return str(path)

    return write


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory, tiny_preset: Callable[[str], str]) -> Callable[..., Path]:
    """Return the directory of a finished tiny zoo; made once, not to be written to."""
    made: dict[tuple[str, str], Path] = {}

    def make(name: str, cell: str = "lstm") -> Path:
        if (name, cell) not in made:
            made[name, cell] = tmp_path_factory.mktemp(f"{name}-{cell}")
            make_in_process(made[name, cell], make_plan(name, tiny_preset(cell)))
        return made[name, cell]

    return make


@pytest.fixture(scope="session")
def edited_zoo(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: Callable[[str], str]
) -> Callable[[str, dict[str, str]], Path]:
    """Return the directory of a finished zoo of the tiny preset with some texts replaced; made once."""
    made: dict[tuple[str, str], Path] = {}

    def make(name: str, edits: dict[str, str]) -> Path:
        text = Path(tiny_preset()).read_text()
        for old, new in edits.items():
            text = text.replace(old, new)
        if (name, text) not in made:
            preset = tmp_path_factory.mktemp("presets") / "edited.yaml"
            preset.write_text(text)
            made[name, text] = tmp_path_factory.mktemp(name)
            make_in_process(made[name, text], make_plan(name, str(preset)))
        return made[name, text]

    return make
