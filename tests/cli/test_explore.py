"""The command `rnn-zoos explore`: what it writes and prints, and its messages."""

import hashlib
import json
import shutil
import signal
import socket

import pytest
from command import run_command
from publishing import REPO, contents, set_up_client

from rnn_zoos.baselines import EmulationRun, EmulationSettings, load_data, save_encoder
from rnn_zoos.baselines.benchmark import comparable
from rnn_zoos.baselines.benchmark.comparable import plan_entries
from rnn_zoos.baselines.emulation.saved_encoder import read_encoder
from rnn_zoos.baselines.emulation.zoo_embeddings import STORED_ENCODERS, embed_zoo, write_embeddings
from rnn_zoos.loaders.explorer import server
from rnn_zoos.loaders.zoo import open_zoo

SETTINGS = EmulationSettings(updates=1, evaluate_every=1, networks=3, hidden=5, layers=1)


@pytest.fixture(scope="module")
def embeddings(edited_zoo, tmp_path_factory):
    """A zoo, and the file of its embeddings by an encoder."""
    directory = edited_zoo(
        "formal-languages", {"runs: 7": "runs: 24", "strings: 13": "strings: 3", "[0, 2, 11]": "[0, 4]"}
    )
    folder = tmp_path_factory.mktemp("embeddings")
    run = EmulationRun(load_data(directory), "statistics", 3, SETTINGS, folder / "run")
    run.train()
    saved = folder / "statistics.3.safetensors"
    save_encoder(run, saved)
    opened, encoder = open_zoo(directory), read_encoder(saved)
    write_embeddings(folder / "out.safetensors", opened, encoder, embed_zoo(opened, encoder))
    return directory, folder / "out.safetensors"


def maps_of(page) -> list[str]:
    text = (page / "data" / "maps.js").read_text()
    return [own["name"] for own in json.loads(text[text.index("] = ") + 4 : -2])["head"]["maps"]]


def test_a_page_has_maps_of_embeddings_answers_and_statistics(embeddings, tmp_path):
    directory, file = embeddings
    out = tmp_path / "page"
    finished = run_command("explore", directory, "--out", out, "--networks", "5", "--embeddings", file)
    assert (finished.status, finished.err) == (0, "")
    said, opened = finished.out.splitlines()
    assert "of data, with the weights of 5 networks; the rest is the page and its library." in said
    assert opened == f"{out / 'index.html'}: open it in a browser."
    assert maps_of(out) == ["statistics.3", "answers", "statistics"]
    again = run_command("explore", directory, "--out", out, "--networks", "0")
    assert again.status == 0 and maps_of(out) == ["answers", "statistics"]


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own uploads
def test_a_space_has_the_networks_and_maps_that_were_asked_for(embeddings, hub, tmp_path, monkeypatch):
    set_up_client(monkeypatch)
    directory, file = embeddings
    asked = ("--networks", "5", "--embeddings", file)
    own = shutil.copytree(directory, tmp_path / "zoo")
    space, where = f"{REPO}-explorer", ("--repo", REPO, "--endpoint", hub.url)
    published = run_command("publish", own, *where, "--space", space, *asked)
    assert published.status == 0, published.err
    assert run_command("explore", own, "--out", tmp_path / "page", *asked).status == 0
    stored = contents(hub, kind="spaces", name=space)
    for name in ("data/maps.js", "data/networks.js"):
        assert stored[name] == hashlib.sha256((tmp_path / "page" / name).read_bytes()).hexdigest()


OTHER = "ab" * 32


def results_of(zoo, folder, identity=None, **changes):
    """Write a stored result of the benchmark as if it were of this zoo; or of a copy, which has another hash."""
    folder.mkdir(parents=True)
    path = next((STORED_ENCODERS / "formal-languages").glob("flat.*.json"))
    entries = plan_entries(zoo) | changes
    entries["zoo"]["sha256"] = identity or zoo.identity
    for losses in entries["by_run"].values():
        losses["total_variation"] = [0.1] * len(losses["run"])
    (folder / path.name).write_text(json.dumps(json.loads(path.read_text()) | entries))
    return folder


def dealt_otherwise(zoo):
    """Return the entry `by_run` of a zoo of the same preset whose first test run has another task."""
    runs = plan_entries(zoo)["by_run"]
    return runs | {"test": runs["test"] | {"task": ["another", *runs["test"]["task"][1:]]}}


def test_the_leaderboard_says_if_it_is_that_of_another_zoo(zoo, tmp_path):
    directory, opened = zoo("formal-languages"), open_zoo(zoo("formal-languages"))
    explore = ("explore", directory, "--networks", "0")
    own = results_of(opened, tmp_path / "own")
    finished = run_command(*explore, "--out", tmp_path / "page", "--results", own)
    assert (finished.status, finished.err) == (0, "") and (tmp_path / "page" / "leaderboard.html").is_file()
    changed = {"by_run": dealt_otherwise(opened)}
    for name, changes, what in (("copy", {}, "a copy of this zoo"), ("other", changed, "another zoo")):
        folder = results_of(opened, tmp_path / name, OTHER, **changes)
        finished = run_command(*explore, "--out", tmp_path / "page", "--results", folder)
        assert finished.status == 0 and (tmp_path / "page" / "leaderboard.html").is_file()
        expected = f"Note: {folder} has results of {what}, formal-languages, preset lstm (abababababab)."
        assert finished.err.startswith(expected) and str(directory) in finished.err
        page = (tmp_path / "page" / "data" / "results.js").read_text()
        assert f"These are results of {what}, formal-languages, preset lstm (abababababab)" in page


def test_stored_results_are_found_for_their_zoo_then_for_a_copy_and_for_no_other(zoo, tmp_path, monkeypatch):
    opened = open_zoo(zoo("formal-languages"))
    monkeypatch.setattr(comparable, "STORED", tmp_path)
    assert comparable.stored_results_on(opened) is None
    results_of(opened, tmp_path / "a" / "formal-languages", OTHER, by_run=dealt_otherwise(opened))
    results_of(opened, tmp_path / "b" / "formal-languages", transfer="sizes")
    assert comparable.stored_results_on(opened) is None
    copy = results_of(opened, tmp_path / "c" / "formal-languages", OTHER)
    assert comparable.stored_results_on(opened) == copy
    own = results_of(opened, tmp_path / "d" / "formal-languages")
    assert comparable.stored_results_on(opened) == own


@pytest.mark.parametrize("stored", [True, False])
def test_the_page_has_the_leaderboard_of_stored_results_if_there_are_any(stored, zoo, tmp_path, monkeypatch):
    directory = zoo("formal-languages")
    monkeypatch.setattr(comparable, "STORED", tmp_path / "stored")
    if stored:
        results_of(open_zoo(directory), tmp_path / "stored" / "quick" / "formal-languages")
    finished = run_command("explore", directory, "--networks", "0", "--out", tmp_path / "page")
    assert (finished.status, finished.err) == (0, "")
    assert (tmp_path / "page" / "leaderboard.html").is_file() == stored


def test_what_cannot_be_explored_is_explained(embeddings, zoo, tmp_path):
    _, file = embeddings
    finished = run_command("explore", zoo("formal-languages"), "--out", tmp_path / "page", "--embeddings", file)
    assert finished.status == 1 and "has embeddings of another zoo" in finished.err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    finished = run_command("explore", zoo("formal-languages"), "--out", tmp_path / "mine", "--networks", "0")
    assert finished.status == 1 and "is not a page of the explorer; nothing was changed" in finished.err
    assert "MB of data" not in finished.out  # found before the page is made
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = run_command("explore", zoo("formal-languages"), "--serve", "--port", port, "--networks", "0")
    assert finished.status == 1 and f"Port {port} of 127.0.0.1 cannot be used" in finished.err
    assert "MB of data" not in finished.out
    finished = run_command("explore", "nowhere", "--out", tmp_path / "page")
    assert finished.status == 1 and "nowhere is neither a directory nor the name of a zoo" in finished.err
    finished = run_command("explore", zoo("automata"), "--out", tmp_path / "page", "--results", tmp_path / "mine")
    assert finished.status == 1 and "has no result files" in finished.err
    assert not (tmp_path / "page").exists()


def test_without_a_directory_or_serve_the_usage_is_wrong(zoo):
    finished = run_command("explore", zoo("formal-languages"))
    assert finished.status == 2 and "Give --out a directory, or --serve." in finished.err
    finished = run_command("explore", zoo("formal-languages"), "--out", "page", "--port", "8001")
    assert finished.status == 2 and "--port is that of --serve." in finished.err


def test_a_zoo_in_the_home_directory_is_no_zoo_on_the_hub(zoo, monkeypatch):
    """The shell leaves a quoted ~ as it is."""
    directory, served = zoo("formal-languages"), []
    monkeypatch.setenv("HOME", str(directory.parent))
    monkeypatch.setattr(server, "serve", lambda page, directory, **options: served.append(directory))
    finished = run_command("explore", f"~/{directory.name}", "--serve", "--networks", "0")
    assert (finished.status, finished.err, served) == (0, "", [directory])


def test_serve_gives_the_zoo_to_the_server_and_removes_a_temporary_page(zoo, monkeypatch):
    served = []

    def serve(page, directory, port, started):
        started("http://127.0.0.1:8123/")
        head = (page / "data" / "zoo.js").read_text()
        served.append((page, directory, port, '"weights":"zoo/"' in head))

    monkeypatch.setattr(server, "serve", serve)
    finished = run_command("explore", zoo("formal-languages"), "--serve", "--port", "0", "--networks", "0")
    assert finished.status == 0, finished.err
    assert finished.out.endswith("http://127.0.0.1:8123/: open it in a browser. Ctrl-C ends the server.\n")
    ((page, directory, port, from_zoo),) = served
    assert (directory, port, from_zoo) == (zoo("formal-languages"), 0, True) and not page.exists()


def test_the_server_ends_by_other_signals_as_by_ctrl_c_so_that_the_page_is_removed(zoo, monkeypatch):
    signals, handlers = (signal.SIGTERM, signal.SIGHUP), []
    before = [signal.signal(own, signal.SIG_DFL) for own in signals]
    monkeypatch.setattr(server, "serve", lambda *page, **options: handlers.extend(map(signal.getsignal, signals)))
    finished = run_command("explore", zoo("formal-languages"), "--serve", "--networks", "0")
    for own, handler in zip(signals, before, strict=True):
        signal.signal(own, handler)
    assert finished.status == 0 and handlers == [signal.default_int_handler] * 2
