"""Zoos unlike those of the paper in its layout: refused, or exported with a word about what an import does."""

import json
import re

import pytest
from conftest import generate_in_process
from mixed_preset import MIXED

from rnn_zoos.errors import FormatError
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.loaders.paper.exporting import export_paper
from rnn_zoos.loaders.paper.importing import import_paper
from rnn_zoos.loaders.paper.layout import layout
from rnn_zoos.loaders.zoo import open_zoo


def test_a_zoo_of_another_family_is_refused_with_those_that_the_layout_has(zoo, tmp_path):
    message = "has only zoos of formal-languages and sequential-mnist; this is a zoo of automata. Export it to parquet."
    with pytest.raises(FormatError, match=message):
        export_paper(zoo("automata"), tmp_path / "out")
    with pytest.raises(FormatError, match=message):
        layout("automata", 916)
    assert not (tmp_path / "out").exists()


def test_a_zoo_of_several_architectures_is_refused(tmp_path):
    (tmp_path / "mixed.yaml").write_text(MIXED.format(runs=3))
    plan = make_plan("formal-languages", str(tmp_path / "mixed.yaml"), backend="native")
    generate_in_process(tmp_path / "zoo", plan)
    with pytest.raises(FormatError, match="3 architectures"):
        export_paper(tmp_path / "zoo", tmp_path / "out")


EDITS = {
    "the paper's": {},
    "some runs are shorter": {"seed: 13": "seed: 13\n  vary: {num_updates: [2, 11]}"},
    "all lengths differ": {
        "seed: 13": "seed: 13\n  vary: {num_updates: [2, 4, 6, 8, 11]}",
        "[0, 2, 11]": "[0, 2, 4, 6, 8, 11]",
    },
    "two weight decays": {"weight_decay: [0.0001]": "weight_decay: [0.0001, 0.1]"},
    "digits": {},
    "some runs of digits are shorter": {"seed: 4": "seed: 4\n  vary: {num_updates: [3, 8]}"},
}


@pytest.mark.parametrize("kind", EDITS)
def test_an_export_says_what_an_import_of_it_does(kind, edited_zoo, tmp_path):
    name = "sequential-mnist" if "digits" in kind else "formal-languages"
    directory = edited_zoo(name, EDITS[kind])
    summary, runs = export_paper(directory, tmp_path / "out"), open_zoo(directory).manifest.runs
    left_out = re.search(rf"leaves out (\d) of {runs} runs: they lack steps", summary)
    if "`rnn-zoos import` refuses these files" in summary:
        with pytest.raises(FormatError, match="have the same steps|weight_decay is None"):
            import_paper(tmp_path / "out", tmp_path / "back")
    else:
        assert import_paper(tmp_path / "out", tmp_path / "back").runs == runs - (int(left_out[1]) if left_out else 0)
    assert ("refuses" in summary) == (kind in ("all lengths differ", "two weight decays"))
    assert bool(left_out) == ("shorter" in kind) and "\n" not in summary


def test_a_weight_decay_that_runs_have_in_place_of_that_of_the_settings_is_exported(edited_zoo, tmp_path):
    directory = edited_zoo("formal-languages", {"seed: 13": "seed: 13\n  vary: {weight_decay: [0.5]}"})
    export_paper(directory, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "args.json").read_text())["weight_decay"] == 0.5
    import_paper(tmp_path / "out", tmp_path / "back")
    assert set(open_zoo(tmp_path / "back").index()["weight_decay"].to_pylist()) == {0.5}
