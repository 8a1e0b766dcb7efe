"""Concurrent readers with DataLoader workers read a zoo while it is extended: they get correct data or an error."""

import shutil
import subprocess
import sys

import pytest
from conftest import contents
from faults import TALLY, TIMES, generate_command

from rnn_zoos.loaders.zoo import open_zoo

pytestmark = pytest.mark.slow

READER = """
import sys
import torch
from torch.utils.data import DataLoader
from rnn_zoos import load_dataset

def total(rows):
    return sum(float(tensor.double().abs().sum()) for row in rows for tensor in row["weights"].values()), len(rows)

if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.multiprocessing.set_sharing_strategy("file_system")
    rows = load_dataset(sys.argv[1], split="train")
    for epoch in range(int(sys.argv[2])):
        loader = DataLoader(rows, batch_size=5, num_workers=2, collate_fn=total)
        sums, counts = zip(*loader)
        assert sum(counts) == len(rows)
        print(f"{sum(counts)} {sum(sums):.6f}", flush=True)
"""


def readers(script, zoo, number, epochs):
    command = [sys.executable, str(script), str(zoo), str(epochs)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen(command, **pipes) for _ in range(number)]


def test_readers_get_the_same_rows_while_a_copy_of_the_zoo_is_extended(tmp_path):
    from faults import PRESET

    number, epochs = (8, 5) if TIMES else (2, 2)
    preset, script = tmp_path / "load.yaml", tmp_path / "reader.py"
    preset.write_text(PRESET)
    script.write_text(READER)
    subprocess.run(generate_command(preset, tmp_path / "zoo"), check=True, capture_output=True)
    before = contents(tmp_path / "zoo")
    shutil.copytree(tmp_path / "zoo", tmp_path / "elsewhere")
    rows = open_zoo(tmp_path / "zoo").index("train")
    weights = open_zoo(tmp_path / "zoo").take("weights", rows.to_pydict())
    expected = sum(float(abs(array.astype("float64")).sum()) for array in weights.values())
    reading = readers(script, tmp_path / "zoo", number, epochs)
    subprocess.run(generate_command(preset, tmp_path / "elsewhere", "--runs", "60"), check=True, capture_output=True)
    for process in reading:
        out, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        lines = [line.split() for line in out.splitlines()]
        assert len(lines) == epochs and {int(count) for count, _ in lines} == {rows.num_rows}
        assert all(abs(float(total) - expected) < 1e-3 for _, total in lines)
    assert contents(tmp_path / "zoo") == before
    TALLY["readers with 2 workers"].update(
        tried=number, survived=number, **{"rows read": number * epochs * rows.num_rows}
    )


def test_reading_a_zoo_that_is_extended_in_place_is_an_error_and_never_gives_wrong_weights(tmp_path, tiny_preset):
    """Mapped files keep their content; files opened later no longer exist under the old name, which is an error."""
    from conftest import generate_in_process

    from rnn_zoos.errors import ZooError
    from rnn_zoos.generation.plan import make_plan

    generate_in_process(tmp_path, make_plan("formal-languages", tiny_preset(), runs=4))
    zoo = open_zoo(tmp_path)
    rows = zoo.index().to_pydict()
    first = {name: values[:1] for name, values in rows.items()}
    before = zoo.take("weights", first)
    generate_in_process(tmp_path, make_plan("formal-languages", tiny_preset(), runs=60))
    for name, array in zoo.take("weights", first).items():
        assert (array == before[name]).all(), "an open file keeps its content"
    with pytest.raises(ZooError):
        zoo.take("weights", rows)
