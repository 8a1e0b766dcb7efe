"""Results produced in parallel: the same as those of one process, and errors in a worker are reported."""

import json
from collections.abc import Callable, Iterator

import pytest
import torch

from rnn_zoos.baselines.benchmark.schedule import BenchmarkWork, Job, make_results
from rnn_zoos.errors import UnknownNameError

CONTROLS = [Job("mean", None), Job("step only", None), Job("task mean", None)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny data
def test_several_workers_produce_the_results_of_one(edited_zoo, tmp_path, monkeypatch, threads):
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")  # in the worker processes
    edits = {"runs: 7": "runs: 24", "strings: 13": "strings: 3", "[0, 2, 11]": "[0, 4]"}
    zoo = str(edited_zoo("formal-languages", {**edits, "num_layers: 2": "num_layers: 1"}))
    made, fractions = {}, []
    for workers in (1, 2):
        paths = []
        benchmark = BenchmarkWork(zoo, tmp_path / str(workers))
        threads(2)  # of this process, which does the work if it is the only worker
        make_results(benchmark, CONTROLS, workers, lambda job, path, paths=paths: paths.append(path), fractions.append)
        assert len(paths) == 3 and fractions.pop() == 1
        made[workers] = {path.name: json.loads(path.read_text()) for path in paths}
        for result in made[workers].values():
            assert result["made"].pop("threads") == 1
    assert made[1] == made[2]
    for workers in (1, 2):
        with pytest.raises(UnknownNameError, match="Unknown control 'hope'"):
            make_results(BenchmarkWork(zoo, tmp_path), [Job("hope", None), *CONTROLS], workers)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of torch's threads for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_jobs_have_readable_names():
    assert [str(Job("flat", 2)), str(CONTROLS[1])] == ["flat, seed 2", "control step only"]
