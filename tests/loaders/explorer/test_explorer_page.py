"""What the explorer's page is made of: packed columns, chosen networks, maps, files."""

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from rnn_zoos.errors import FormatError, HubError, MissingExtraError, StorageError, UnknownNameError
from rnn_zoos.families.columns import Column
from rnn_zoos.loaders.explorer import assets
from rnn_zoos.loaders.explorer.columns import pack_columns, shown_rows
from rnn_zoos.loaders.explorer.data_files import Arrays, data_script
from rnn_zoos.loaders.explorer.maps import MapFeatures, pack_map, principal_components
from rnn_zoos.loaders.explorer.networks import choose_networks
from rnn_zoos.loaders.explorer.page import MARKER, build_page
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.networks.weights import flatten


def read_script(content: bytes) -> tuple[dict, bytes]:
    """Return head and block of a data file."""
    entry = json.loads(re.fullmatch(rb'.*?\)\["\w+"\] = (.*);\n', content, re.DOTALL)[1])
    return entry["head"], gzip.decompress(base64.b64decode(entry["bytes"])) if entry["bytes"] else b""


def array_at(block: bytes, place: dict) -> np.ndarray:
    return np.frombuffer(block, place["dtype"], place["length"], place["offset"])


def index_of(runs: int, steps: int = 3, split: str = "train") -> pa.Table:
    """Return an index with rows of runs 0.. that have `steps` snapshots each, in order."""
    run = np.repeat(np.arange(runs, dtype=np.int32), steps)
    columns = {"run": run, "step": np.tile(np.arange(steps, dtype=np.int32) * 10, runs), "split": [split] * len(run)}
    return pa.table({**columns, "task": [f"task {number % 5}" for number in run]})


def test_columns_come_back_as_they_were():
    index = pa.table(
        {
            "step": pa.array([0, 7, 11], pa.int32()),
            "automaton": pa.array([5, 2**32 - 1, 3], pa.int64()),
            "loss": pa.array([0.5, float("nan"), -1e30], pa.float32()),
            "angle": pa.array([0.1, 359.123456789012, 1 / 3], pa.float64()),
            "diverged": [True, False, True],
            "split": ["test", "train", "test"],
            "task": ["z", "a", "z"],
        }
    )
    kinds = {"step": "int32", "automaton": "int64", "loss": "float32", "angle": "float64", "diverged": "bool"}
    columns = {name: Column(kinds.get(name, "string"), f"about {name}", "u") for name in index.column_names}
    arrays = Arrays()
    described = {entry["name"]: entry for entry in pack_columns(index, columns, arrays)}
    block = arrays.block()
    values = {name: array_at(block, entry) for name, entry in described.items()}
    assert values["step"].tolist() == [0, 7, 11] and described["step"]["dtype"] == "int32"
    assert values["automaton"].tolist() == [5, 2**32 - 1, 3]  # does not fit int32
    np.testing.assert_array_equal(values["loss"], np.array([0.5, np.nan, -1e30], np.float32))
    assert values["angle"].tolist() == [0.1, 359.123456789012, 1 / 3], "as digits were turned for the networks"
    assert values["diverged"].tolist() == [1, 0, 1] and described["diverged"]["kind"] == "truth"
    assert described["split"]["values"] == ["train", "test"]  # in the order of splits, not of the alphabet
    assert values["split"].tolist() == [1, 0, 1]
    assert [described["task"]["values"][code] for code in values["task"]] == ["z", "a", "z"]
    assert described["loss"]["description"] == "about loss" and described["loss"]["unit"] == "u"
    assert all(entry["offset"] % np.dtype(entry["dtype"]).itemsize == 0 for entry in described.values())


def test_a_data_script_keeps_hostile_texts_and_odd_numbers():
    head = {"</script><script>alert(1)</script>": ["<!--", "\u2028", float("nan"), float("inf"), 0.1]}
    content = data_script("zoo", head, bytes(range(256)))
    assert b"<" not in content
    assert read_script(content) == ({**head, next(iter(head)): ["<!--", "\u2028", None, None, 0.1]}, bytes(range(256)))
    assert content == data_script("zoo", head, bytes(range(256)))


def test_a_large_zoo_is_thinned_by_whole_runs_of_every_split():
    large, small = index_of(1000), index_of(1, split="ood").set_column(0, "run", [np.full(3, 1000, np.int32)])
    index = pa.concat_tables([large, small])
    assert len(shown_rows(index, 5000)) == len(index)
    rows = shown_rows(index, 700)
    assert len(rows) <= 700 and np.all(np.diff(rows) > 0)
    shown = index.take(pa.array(rows)).to_pydict()
    runs = dict.fromkeys(shown["run"])
    assert len(rows) == 3 * len(runs) and "ood" in shown["split"]
    assert len(runs) > 200  # not fewer than necessary


@pytest.mark.parametrize("count", [0, 1, 7, 36, 10_000])
def test_networks_are_spread_over_tasks_and_steps(count):
    index = pa.concat_tables(
        [
            index_of(50),
            index_of(50, split="test").set_column(0, "run", [np.repeat(np.arange(50, 100, dtype=np.int32), 3)]),
        ]
    )
    rows = choose_networks(index, count)
    assert len(rows) == len({*rows.tolist()}) == min(count, len(index))
    chosen = index.take(pa.array(rows)).to_pydict()
    if count == 1:
        assert chosen["step"] == [20]  # a trained network rather than an untrained one
    if count == 36:
        assert {*chosen["task"]} == {f"task {number}" for number in range(5)}
        assert {*chosen["step"]} == {0, 10, 20} and chosen["split"].count("test") == 18


def test_further_snapshots_are_chosen_where_every_run_has_its_three():
    index = pa.table({"run": [0] * 7 + [1] * 7, "split": ["train"] * 14, "task": ["a"] * 14, "step": [*range(7)] * 2})
    assert choose_networks(index, 6).tolist() == [0, 3, 6, 7, 10, 13]
    rows = choose_networks(index, 9).tolist()
    assert {*choose_networks(index, 6).tolist()} < {*rows} and len({*rows}) == 9
    assert choose_networks(index, 99).tolist() == list(range(14))


def test_principal_components_are_those_of_the_whole_decomposition():
    generator = np.random.default_rng(5)
    scales = np.concatenate([np.arange(40, 24, -1), np.full(14, 0.1)])  # 16 that matter
    values = (generator.normal(size=(307, 30)) * scales) @ np.linalg.qr(generator.normal(size=(30, 30)))[0] + 9
    components, explained = principal_components(values)
    centred = values - values.mean(axis=0)
    centred /= np.sqrt((centred**2).sum(axis=1).mean())
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(explained, sizes[:16] ** 2 / 307, rtol=1e-4)
    expected = centred @ directions[:16].T
    signs = np.sign((expected * components).sum(axis=0))
    np.testing.assert_allclose(components, expected * signs, atol=2e-3)
    far = [[np.linalg.norm(a - b) for a in own[:20]] for own in (components, centred) for b in [own[40]]]
    np.testing.assert_allclose(far[0], far[1], rtol=0.01)


def test_a_map_of_one_number_or_without_differences_has_two_components():
    arrays = Arrays()
    for values in (np.arange(5.0)[:, None], np.ones((5, 3))):
        packed = pack_map(MapFeatures("f", "F", values), np.array([0, 2, 4]), arrays)
        assert packed["size"] >= 2 and packed["length"] == 3 * packed["size"]
    assert np.isfinite(np.frombuffer(arrays.block(), np.float16)).all()


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(FormatError, match="features odd have values that are not finite. Leave them out"):
        pack_map(MapFeatures("odd", "odd", np.array([[1.0, np.nan]])), np.array([0]), Arrays())


@pytest.mark.parametrize("name", ["formal-languages", "sequential-mnist", "automata"])
def test_the_page_of_a_zoo(name, zoo):
    opened = open_zoo(zoo(name))
    index = opened.index()
    page = build_page(
        opened, 5, [MapFeatures("numbers", "numbers", np.random.default_rng(0).normal(size=(len(index), 20)))]
    )
    assert {"index.html", "style.css", "vendor/plotly.min.js", "data/zoo.js", "data/networks.js", "data/maps.js"} <= {
        *page.files
    }
    assert ("data/digits.js" in page.files) == (name == "sequential-mnist") and "leaderboard.html" not in page.files
    head, block = read_script(page.files["data/zoo.js"])
    assert (head["name"], head["rows"], head["all_rows"]) == (name, len(index), len(index))
    columns = {column["name"]: column for column in head["columns"]}
    assert array_at(block, columns["run"]).tolist() == index["run"].to_pylist()
    assert head["view"]["axes"] and head["weights"] is None
    inside, block = read_script(page.files["data/networks.js"])
    assert len(inside["rows"]) == page.networks == 5
    row = inside["rows"][3]
    weights = opened.weights(index.slice(row, 1).to_pylist()[0])
    flat = flatten(opened.manifest.architecture, weights)
    assert torch.equal(torch.from_numpy(array_at(block, inside["places"][3]).copy()), flat)
    assert b'"explorer/main"' in page.files["index.html"] and b"http" not in page.files["index.html"].replace(
        b"http-equiv", b""
    )
    assert (
        page.files
        == build_page(
            opened, 5, [MapFeatures("numbers", "numbers", np.random.default_rng(0).normal(size=(len(index), 20)))]
        ).files
    )


def test_the_page_names_its_dataset_and_no_other_text_as_one(zoo):
    opened = open_zoo(zoo("formal-languages"))
    page = build_page(opened, 0, dataset="me/a.zoo_1")
    assert read_script(page.files["data/zoo.js"])[0]["dataset"] == "me/a.zoo_1"
    assert b"http" not in page.files["index.html"].replace(b"http-equiv", b"")
    for name in ("zoo", "a/b/c", "javascript:alert(1)/x", 'a/b"onclick="c', "../x", "a/b?c", "é/x", "a/b\n"):
        with pytest.raises(HubError, match="is not the name of a repository on the Hub. Expected OWNER/NAME"):
            build_page(opened, 0, dataset=name)


def test_digits_of_the_page_are_ten_of_each_kind_in_turns(zoo):
    page = build_page(open_zoo(zoo("sequential-mnist")), 0)
    head, block = read_script(page.files["data/digits.js"])
    assert head["labels"] == list(range(10)) * 6
    assert array_at(block, head).reshape(60, 784).max(axis=1).min() > 200


def test_a_page_replaces_a_page_and_nothing_else(zoo, tmp_path):
    page = build_page(open_zoo(zoo("formal-languages")), 1)
    out = tmp_path / "deep" / "page"
    page.write(out)
    (out / "index.html").write_text("")
    (out / "old.js").write_text("")  # of an earlier version
    (out / MARKER).write_text((out / MARKER).read_text() + "old.js\n")
    page.write(out)
    assert not (out / "old.js").exists() and (out / "index.html").read_bytes() == page.files["index.html"]
    listed = (out / MARKER).read_text().splitlines()[1:]
    assert sorted(listed) == sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    (out / "notes.md").write_text("mine")
    with pytest.raises(StorageError, match="has files that are not of its page, such as notes.md; nothing was changed"):
        page.write(out)
    assert (out / "notes.md").read_text() == "mine"
    assert sorted(path.name for path in out.parent.iterdir()) == ["page"]
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(StorageError, match="is not a page of the explorer; nothing was changed"):
        page.write(other)
    with pytest.raises(StorageError, match="is not a page of the explorer"):
        page.write(other / "thesis.tex")
    with pytest.raises(StorageError, match="could not be written"):
        page.write(other / "thesis.tex" / "below")
    assert (other / "thesis.tex").read_text() == "x"


@pytest.mark.parametrize("present", ["nothing", "a page"])
def test_the_current_directory_is_not_replaced_by_a_page(present, zoo, tmp_path, monkeypatch):
    page, out = build_page(open_zoo(zoo("formal-languages")), 0), tmp_path / "page"
    page.write(out) if present == "a page" else out.mkdir()
    before = sorted(out.iterdir())
    monkeypatch.chdir(out)
    for given in (Path(), Path("../page"), out):
        with pytest.raises(
            StorageError, match="is the current directory, which cannot be replaced; nothing was changed"
        ):
            page.write(given)
    assert sorted(out.iterdir()) == before and [path.name for path in tmp_path.iterdir()] == ["page"]
    monkeypatch.chdir(tmp_path)
    page.write(Path("page"))
    assert (out / MARKER).is_file()


def test_two_maps_of_one_name_are_refused(zoo):
    opened = open_zoo(zoo("formal-languages"))
    features = MapFeatures("a", "A", np.zeros((len(opened.index()), 2)))
    with pytest.raises(UnknownNameError, match="have the same name"):
        build_page(opened, 0, [features, features])


def test_without_plotly_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(assets, "find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"'plotly' is not installed. Install it with: pip install 'rnn-zoos\[explore\]'"
    ):
        assets.page_assets()


def test_the_import_map_has_every_module_and_modules_import_nothing_else():
    modules = {path.stem for path in (Path(assets.__file__).parent / "static" / "js").glob("*.js")}
    urls = json.loads(assets._import_map())["imports"]
    assert {*urls} == {f"explorer/{name}" for name in modules}
    for url in urls.values():
        text = base64.b64decode(url.partition("base64,")[2]).decode()
        assert {*re.findall(r'^(?:import|export) .*?from "(.*?)";', text, re.MULTILINE)} <= {*urls}
