"""Networks of a million parameters: every step of the life of a zoo takes less than 2 GB in one process."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.presets import SHARD_BYTES

LIMIT = 2000  # MB
PRESET = """\
formal-languages:
  seed: 4
  runs: 3
  runs_per_shard: 20
  cell: lstm
  num_layers: 2
  hidden_size: 290
  batch_size: 4
  snapshots: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
  learning_rate: {0: 0.001}
  weight_decay: [0.0001]
  evaluation: {strings: 8, rollouts: 2}
"""
PREAMBLE = """
import torch
from pathlib import Path
from rnn_zoos.generation.measuring.scale import peak_megabytes
torch.set_num_threads(1)  # as in a worker
"""
MAKE = """
from conftest import generate_in_process
from rnn_zoos.families.formal_languages import FormalLanguages
FormalLanguages.further_labels = {}  # those of 30 such networks take minutes
from rnn_zoos.generation.plan import make_plan
generate_in_process(Path("zoo"), make_plan("formal-languages", "large.yaml"))
"""
USES = {
    "check": "from rnn_zoos import check_zoo; assert check_zoo(Path('zoo')) == []",
    "export": "from rnn_zoos.generation import export_parquet; export_parquet(Path('zoo'), Path('exported'))",
    "publish": "from rnn_zoos.generation import prepare_publication; prepare_publication(Path('zoo'), 'me/zoo')",
    "load": "from rnn_zoos import load_dataset; assert len(load_dataset('zoo', split='train')[:10]['weights']) == 10",
    "merge": "from rnn_zoos.generation import merge; merge([Path('zoo')], Path('merged'))",
}


MEASURE = """
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.labels import Snapshot
from rnn_zoos.families.landscape import landscape
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
family = FormalLanguages()
architecture = family.architecture("lstm", 2, 290)
network = RecurrentNetwork(architecture, initial_weights(architecture, 0, 0))
assert landscape(family, Snapshot(network, 0, 0, 101, 0, None))["gradient_norm"] > 0
"""


def peak_of(script: str, folder: Path) -> float:
    """Return the largest resident memory in MB of a process that runs a script in a folder."""
    paths = [str(Path(__file__).parents[2])]
    code = f"import sys; sys.path += {paths}\n{PREAMBLE}\n{script}\nprint(peak_megabytes())"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


@pytest.mark.slow
def test_the_landscape_of_a_million_parameters_is_measured_in_less_than_two_gigabytes(tmp_path):
    assert peak_of(MEASURE, tmp_path) < LIMIT


@pytest.mark.long
@pytest.mark.slow
def test_networks_of_a_million_parameters_take_less_than_two_gigabytes(tmp_path):
    """The shard is as large as one gets: three runs, where the preset allows twenty."""
    (tmp_path / "large.yaml").write_text(PRESET)
    assert peak_of(MAKE, tmp_path) < LIMIT
    manifest = read_manifest(tmp_path / "zoo")
    (weights,) = [manifest.files[path].bytes for path in manifest.files if path.startswith("shards/")]
    assert manifest.architecture.num_parameters > 1_000_000
    assert 0.9 * SHARD_BYTES < weights < 1.01 * SHARD_BYTES
    peaks = {name: peak_of(use, tmp_path) for name, use in USES.items()}
    assert max(peaks.values()) < LIMIT, peaks
    for path in (tmp_path / "exported" / "data").iterdir():
        groups = pq.read_metadata(path)
        assert all(groups.row_group(n).total_byte_size < 66 << 20 for n in range(groups.num_row_groups)), path
