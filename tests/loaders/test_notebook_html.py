"""What notebooks show of zoos and rows: small HTML whose texts are escaped."""

import json
import pickle
import re
import shutil
from html.parser import HTMLParser

import pyarrow as pa
import pytest
import torch
from conftest import ALL_ZOOS
from damage import edit_manifest, replace_index

from rnn_zoos import load_dataset, load_model
from rnn_zoos.format.index import read_index
from rnn_zoos.loaders import Row, Zoo, open_zoo
from rnn_zoos.loaders.source import Directory

SCRIPT = "<script>alert('x')</script>\"&"


class Tags(HTMLParser):
    """The names of the tags of a page, and whether each one is closed in order."""

    def __init__(self, html):
        super().__init__()
        self.names, self.open = set(), []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def checked(html):
    """Return HTML that has only the tags of tables and texts, no reference to another host, and less than 20 kB."""
    assert Tags(html).names <= {"b", "code", "div", "table", "td", "th", "tr"}
    assert "://" not in html and len(html.encode()) < 20_000
    return html


@pytest.mark.parametrize("name", ALL_ZOOS)
def test_a_zoo_shows_its_name_counts_networks_splits_and_ranges(name, zoo):
    opened = open_zoo(zoo(name))
    html = checked(opened._repr_html_())
    text = re.sub(r"<[^>]+>", " ", html)
    index = opened.index()
    accuracy = index["accuracy"].to_pylist()
    assert f"Zoo {name} " in text and f" {opened.manifest.architecture.num_parameters:,} parameters" in text
    assert re.search(rf"\bsnapshots +{len(index)}\b", text) and re.search(rf"\bruns +{opened.manifest.runs}\b", text)
    assert all(re.search(rf"\b{split} +{counts['runs']} ", text) for split, counts in opened.manifest.splits.items())
    assert re.search(rf"\baccuracy +{min(accuracy):.4g} +{max(accuracy):.4g} ", text)


def test_a_zoo_of_several_architectures_shows_them(edited_zoo):
    sizes = "\n".join(f"    - {{cell: {cell}, num_layers: 2, hidden_size: 7}}" for cell in ("lstm", "gru"))
    edits = {"  cell: lstm\n  num_layers: 2\n  hidden_size: 7": f"  architectures:\n{sizes}"}
    opened = open_zoo(edited_zoo("formal-languages", edits))
    assert len(opened.manifest.architectures) == 2
    assert all(f"{own.name}, " in checked(opened._repr_html_()) for own in opened.manifest.architectures)


def test_a_zoo_that_would_have_to_be_downloaded_shows_what_its_manifest_says(zoo, monkeypatch):
    opened = open_zoo(zoo("formal-languages"))
    monkeypatch.setattr(Directory, "remote", True)
    monkeypatch.setattr(Zoo, "index", lambda self: pytest.fail("the index was read"))
    assert "zoo_info(zoo)" in checked(opened._repr_html_())


def hostile(directory):
    """Put a script into all strings of a zoo whose values the format leaves free, its name and columns among them."""
    texts = {}
    for path in directory.glob("index/*.parquet"):
        table = read_index(path)
        renamed = [name if name in KEPT else f"{SCRIPT}{name}" for name in table.column_names]
        for place, (field, column) in enumerate(zip(table.schema, table.columns, strict=True)):
            if field.type == pa.string() and field.name != "split":
                table = table.set_column(
                    place, pa.field(field.name, field.type, False), pa.array([SCRIPT] * len(column))
                )
        texts[path.stem] = table.rename_columns(renamed)
    for split, table in texts.items():
        replace_index(directory, split, table)
    edit_manifest(directory / "zoo.json", put_scripts)


KEPT = ("run", "step", "split", "task", "diverged", "shard", "row", "weight_decay")


def put_scripts(data):
    data["zoo"] = data["preset"] = SCRIPT
    data["columns"] = {
        name if name in KEPT else f"{SCRIPT}{name}": {"dtype": column["dtype"], "unit": SCRIPT, "description": SCRIPT}
        for name, column in data["columns"].items()
    }
    data["made"] = {name: value if name == "seconds" else SCRIPT for name, value in data["made"].items()}
    data["made"]["versions"] = {SCRIPT: SCRIPT}


def test_scripts_in_the_manifest_and_in_the_index_are_shown_as_text(zoo, tmp_path):
    shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    hostile(tmp_path / "zoo")
    opened = open_zoo(tmp_path / "zoo")
    row = opened.row(0, 2)
    for html in (checked(opened._repr_html_()), checked(row._repr_html_())):
        assert html.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;") > 5
    assert "<script" not in load_model(tmp_path / "zoo", 0, 2)._repr_html_()


def test_a_row_is_a_plain_dict_that_shows_its_labels(zoo):
    opened = open_zoo(zoo("formal-languages"))
    row = opened.row(2, 11)
    plain = next(own for own in opened.index().to_pylist() if (own["run"], own["step"]) == (2, 11))
    assert isinstance(row, dict) and row == plain and json.loads(json.dumps(row)) == plain and repr(row) == repr(plain)
    again = pickle.loads(pickle.dumps(row))  # noqa: S301 - that it can be done
    assert again == row and type(again) is Row
    assert torch.equal(opened.weights(row)["linear.bias"], opened.weights(plain)["linear.bias"])
    assert opened.stack([row]).num_networks == 1
    html = checked(row._repr_html_())
    assert (
        all(f">{name}<" in html for name in plain) and f">{plain['task']}<" in html and f">{plain['loss']:.4g}<" in html
    )


def test_a_row_of_a_dataset_shows_how_much_it_holds(zoo):
    row = load_dataset(zoo("formal-languages"), split="train", rollouts=True)[0]
    html = checked(Row(row)._repr_html_())
    assert ">10 entries<" in html and "tensor(" not in html
    assert ">Tensor [3, 4]<" in checked(Row(values=torch.zeros(3, 4))._repr_html_())
    assert ">9 entries<" in checked(Row(values=[0.5] * 9)._repr_html_())
    assert "more<" in checked(Row({f"{SCRIPT}{number}": SCRIPT * 9 for number in range(900)})._repr_html_())
