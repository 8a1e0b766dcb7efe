"""Results side by side: the same as one after the other, and what goes wrong in a worker is said."""

import json

import pytest

from rnn_zoos.baselines.benchmark.schedule import Benchmark, Work, make_results
from rnn_zoos.errors import UnknownNameError

CONTROLS = [Work("mean", None), Work("step only", None), Work("task mean", None)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny data
def test_processes_make_what_one_makes(edited_zoo, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")  # of the processes
    edits = {"runs: 7": "runs: 24", "strings: 13": "strings: 3", "[0, 2, 11]": "[0, 4]"}
    zoo = str(edited_zoo("formal-languages", {**edits, "num_layers: 2": "num_layers: 1"}))
    made, shares = {}, []
    for workers in (1, 2):
        paths = []
        benchmark = Benchmark(zoo, tmp_path / str(workers))
        make_results(benchmark, CONTROLS, workers, lambda work, path, paths=paths: paths.append(path), shares.append)
        assert len(paths) == 3 and shares.pop() == 1
        made[workers] = {path.name: json.loads(path.read_text()) for path in paths}
        for result in made[workers].values():
            assert result["made"].pop("threads") == 1 or workers == 1
    assert made[1] == made[2]
    for workers in (1, 2):
        with pytest.raises(UnknownNameError, match="Unknown control 'hope'"):
            make_results(Benchmark(zoo, tmp_path), [Work("hope", None), *CONTROLS], workers)


def test_work_is_named_for_people():
    assert [str(Work("flat", 2)), str(CONTROLS[1])] == ["flat, seed 2", "control step only"]
