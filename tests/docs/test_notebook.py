"""The notebook of docs/examples runs on a tiny zoo, and what is stored in it is small, and of no particular machine."""

import json
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from documents import make_zoos
from notebooks import outputs, sources

TOUR = ROOT / "docs" / "examples" / "tour.ipynb"
STORED = json.loads(TOUR.read_text(encoding="utf-8"))


def text_of(output):
    """Return the texts of an output, pictures left out."""
    parts = (
        [output["text"]] if "text" in output else [output["data"][kind] for kind in output["data"] if "text" in kind]
    )
    return re.sub(r"base64,[^\"]*", "", "".join("".join(part) for part in parts))


def kinds(notebook):
    """Return for every cell with outputs their kinds, in order."""
    return [
        [(output["output_type"], *output.get("data", [output.get("name")])) for output in cell["outputs"]]
        for cell in notebook["cells"]
        if cell.get("outputs")
    ]


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom_and_shows_what_is_stored(tmp_path):
    make_zoos(tmp_path, ["formal-languages"])
    command = [
        sys.executable,
        "-W",
        "error",
        ROOT / "tests" / "support" / "notebooks.py",
        TOUR,
        tmp_path / "tour.ipynb",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = json.loads((tmp_path / "tour.ipynb").read_text(encoding="utf-8"))
    assert kinds(ran) == kinds(STORED)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tour.ipynb", "zoos"]


def test_the_stored_outputs_are_complete_and_have_no_errors_and_no_paths():
    assert [cell["execution_count"] for cell in STORED["cells"] if "outputs" in cell] == [
        *range(1, len(sources(STORED)) + 1)
    ]
    assert {output["output_type"] for output in outputs(STORED)} == {"stream", "display_data"}
    assert not [output for output in outputs(STORED) if output.get("name") == "stderr"]
    for output in outputs(STORED):
        assert not re.search(r"(?<![<\w/])/\w+/\w|[A-Z]:\\|0x[0-9a-f]{6}|://", text_of(output))


def test_the_stored_notebook_is_small_and_valid():
    assert TOUR.stat().st_size < 400_000
    assert STORED["nbformat"] == 4 and STORED["nbformat_minor"] == 5
    names = [cell["id"] for cell in STORED["cells"]]
    assert len(names) == len(set(names)) and all(re.fullmatch(r"[\w-]{1,64}", name) for name in names)
    assert STORED["metadata"].keys() == {"kernelspec", "language_info"}
    assert all(cell["metadata"] == {} for cell in STORED["cells"])


def test_the_cells_are_formatted_and_without_findings():
    for arguments in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, TOUR], capture_output=True, text=True, cwd=ROOT
        )
        assert done.returncode == 0, done.stdout


def test_every_relative_link_of_the_notebook_leads_to_a_file():
    text = "\n".join("".join(cell["source"]) for cell in STORED["cells"] if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    assert links and all((TOUR.parent / link).is_file() for link in links)
