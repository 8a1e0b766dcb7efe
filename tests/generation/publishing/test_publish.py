"""Publishing to a loopback Hub with the real client, and reading the result with plain `datasets`."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from conftest import ZOOS
from mini_hub import Fault, MiniHub

from rnn_zoos.errors import FormatError, HubError
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.manifest import PUBLISHED, read_manifest
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.presets import load_preset
from rnn_zoos.generation.publishing import card, parquet, publish
from rnn_zoos.generation.publishing.export import export_parquet
from rnn_zoos.generation.publishing.publish import prepare_publication
from rnn_zoos.loaders.dataset import load_dataset

REPO = "rnn-zoos/tiny"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own uploads


@pytest.fixture
def own_zoo(zoo, tmp_path) -> Path:
    """A copy that may be written to."""
    return Path(shutil.copytree(zoo("formal-languages"), tmp_path / "zoo"))


@pytest.fixture
def hub(tmp_path) -> Iterator[MiniHub]:
    with MiniHub(tmp_path / "hub", tokens={"hf_good": "rnn-zoos"}) as started:
        yield started


@pytest.fixture(autouse=True)
def _client(monkeypatch) -> None:
    """Uploads go to the loopback Hub, with its token, and without Xet storage, which it does not have."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    monkeypatch.setattr("rnn_zoos.loaders.hub._FIRST_WAIT", 0.0)


def contents(hub: MiniHub, ref: str = "main") -> dict[str, str]:
    """Every file of the repository: path -> sha256."""
    repo = hub.repos["datasets", REPO]
    return {path: blob.sha256 for path, blob in repo.commits[repo.refs[ref]].files.items()}


def requests(hub: MiniHub, start: int) -> list[str]:
    return [f"{request.method} {request.path}" for request in hub.log[start:]]


def without_this_package(script: str, hub: MiniHub, home: Path) -> str:
    """Run a script as a user who does not have rnn_zoos; return what it prints."""
    preamble = (
        "import sys; sys.modules['rnn_zoos'] = None\n"
        "import datasets; datasets.config.USE_PARQUET_EXPORT = False\n"  # it would query another server
    )
    command = [sys.executable, "-c", preamble + script]
    done = subprocess.run(command, env=hub.environment(home), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ZOOS)
def test_parquet_has_the_same_rows_and_the_same_bits(name, zoo, tmp_path, monkeypatch):
    """With several files per split and several row groups per file, the last of each not full."""
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 2)
    monkeypatch.setattr(parquet, "_FILE_BYTES", 2 * 4 * read_manifest(zoo(name)).architecture.num_parameters)
    export_parquet(zoo(name), tmp_path / "out")
    plain = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    labels = datasets.load_dataset(str(tmp_path / "out"), "index", cache_dir=str(tmp_path / "cache"))
    ours = load_dataset(zoo(name))
    assert set(plain) == set(ours) == set(labels)
    for split, rows in ours.items():
        assert len(plain[split]) == len(rows) == len(labels[split])
        for own, row, label in zip(rows, plain[split].with_format("numpy"), labels[split], strict=True):
            for key, tensor in own.pop("weights").items():
                assert row[key].dtype == np.float32 and np.array_equal(row[key], tensor.numpy().ravel())
            assert all(label[key] == value == row[key] for key, value in own.items())
    assert len(list((tmp_path / "out" / "data").glob("train-*"))) > 1


def test_exporting_again_removes_files_of_an_export_of_another_size(own_zoo, tmp_path):
    export_parquet(own_zoo, tmp_path / "out")
    (tmp_path / "out" / "data" / "train-00001-of-00002.parquet").write_bytes(b"old")
    (tmp_path / "out" / "data" / "mine.parquet").write_bytes(b"the user's")
    before = {path: path.read_bytes() for path in export_parquet(own_zoo, tmp_path / "out")}
    assert (tmp_path / "out" / "data" / "mine.parquet").read_bytes() == b"the user's"
    assert not (tmp_path / "out" / "data" / "train-00001-of-00002.parquet").exists()
    assert {path: path.read_bytes() for path in export_parquet(own_zoo, tmp_path / "out")} == before, "same bytes"


@pytest.mark.parametrize("name", ZOOS)
def test_the_card_has_the_zoos_numbers_and_a_command_that_regenerates_it(name, zoo, tmp_path):
    export_parquet(zoo(name), tmp_path / "out", REPO)
    text = (tmp_path / "out" / "README.md").read_text()
    _, metadata, body = text.split("---\n", 2)
    configs = yaml.safe_load(metadata)["configs"]
    assert [(config["config_name"], config.get("default")) for config in configs] == [("full", True), ("index", False)]
    assert f'load_dataset("{REPO}"' in body and "&id" not in metadata and card._PLACE not in body
    manifest = read_manifest(zoo(name))
    assert f"| runs | {manifest.runs} |" in body
    for picture in re.findall(r"!\[.*\]\((.*)\)", body):
        assert (tmp_path / "out" / picture).is_file()
    command = re.search(r"rnn-zoos generate (\S+) --preset preset.yaml --backend (\S+)", body)
    assert command and command.groups() == (name, manifest.made["backend"])
    preset = str(tmp_path / "out" / "preset.yaml")
    plan = make_plan(name, preset, backend=command[2])
    assert load_preset(preset, name).as_data() == json.loads(json.dumps(manifest.settings))
    assert plan.settings.runs == manifest.runs


def test_publishing_uploads_all_files_once_and_nothing_the_second_time(own_zoo, hub, tmp_path):
    publication = prepare_publication(own_zoo, REPO)
    assert check_zoo(own_zoo) == [], "preparing does not change the zoo"
    head = publish.publish(publication, REPO, "v1", endpoint=hub.url)
    on_hub = contents(hub)
    assert {path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in publication.files.items()} == {
        path: sha for path, sha in on_hub.items() if path != ".gitattributes"
    }
    assert contents(hub, "v1") == on_hub
    start = len(hub.log)
    assert publish.publish(prepare_publication(own_zoo, REPO), REPO, "v1", endpoint=hub.url) == head
    assert not [line for line in requests(hub, start) if "/commit/" in line or "PUT" in line]
    script = (
        f"d = datasets.load_dataset({REPO!r}); i = datasets.load_dataset({REPO!r}, 'index', split='train')\n"
        f"s = datasets.load_dataset({REPO!r}, split='train', streaming=True, revision='v1')\n"
        f"f = datasets.load_dataset({REPO!r}, split='train', columns=['run', 'step'], filters=[('step', '==', 2)])\n"
        "print(d['train'].num_rows, i.num_rows, sum(1 for _ in s), sorted(f.column_names), set(f['step']))"
    )
    rows = read_manifest(own_zoo).splits["train"]["rows"]
    assert without_this_package(script, hub, tmp_path / "home") == f"{rows} {rows} {rows} ['run', 'step'] {{2}}\n"


def test_a_zoo_that_changed_replaces_the_old_one_under_a_new_tag(own_zoo, zoo, hub):
    first = publish.publish(prepare_publication(own_zoo, REPO), REPO, "v1", endpoint=hub.url)
    old = contents(hub)
    publication = prepare_publication(
        Path(shutil.copytree(zoo("formal-languages", "gru"), own_zoo.parent / "gru")), REPO
    )
    extra = {path for path in old if path.startswith("shards/")} - set(publication.files)
    with pytest.raises(HubError, match="already has the tag v1 at .*give another --tag"):
        publish.publish(publication, REPO, "v1", endpoint=hub.url)
    assert contents(hub) == old, "nothing was uploaded"
    second = publish.publish(publication, REPO, "v2", endpoint=hub.url)
    assert second != first and contents(hub, "v1") == old and not extra & set(contents(hub))
    assert set(contents(hub, "v2")) - {".gitattributes"} == set(publication.files)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(r"POST /api/repos/create", status=503),
        Fault(r"/commit/", status=500, times=2),
        Fault(r"/commit/", kind="lost"),
        Fault(r"/commit/", status=429, headers={"Retry-After": "0"}),
        Fault(r"GET /api/datasets/rnn-zoos/tiny$", status=502),
        Fault(r"/refs", kind="rst"),
        Fault(r"/tag/", status=500),
        Fault(r"PUT ", status=403),
        Fault(r"PUT ", status=503, times=2),
        Fault(r"PUT ", kind="rst"),
    ],
    ids=lambda fault: f"{fault.match} {fault.kind} {fault.status}",
)
def test_transient_failures_are_retried(fault, own_zoo, hub):
    publication = prepare_publication(own_zoo, REPO)
    hub.faults.append(fault)
    publish.publish(publication, REPO, "v1", endpoint=hub.url)
    assert not fault.times and set(contents(hub, "v1")) - {".gitattributes"} == set(publication.files)
    assert len(hub.repos["datasets", REPO].commits) == 2, "a commit whose response was lost is not made twice"


def test_a_lasting_failure_leaves_no_partial_zoo_and_the_next_call_continues(own_zoo, hub):
    publication = prepare_publication(own_zoo, REPO)
    hub.faults.append(Fault(r"/commit/", status=500, times=99))
    with pytest.raises(HubError, match=r"failed 5 times .*: status 500. No partial zoo is visible.*same command again"):
        publish.publish(publication, REPO, "v1", endpoint=hub.url)
    assert not [path for path in contents(hub) if path != ".gitattributes"]
    hub.faults.clear()
    start = len(hub.log)
    publish.publish(publication, REPO, "v1", endpoint=hub.url)
    assert set(contents(hub, "v1")) - {".gitattributes"} == set(publication.files)
    assert not [line for line in requests(hub, start) if line.startswith("PUT")], (
        "files that arrived are not uploaded again"
    )


def test_a_concurrent_commit_of_someone_else_is_not_overwritten(own_zoo, hub):
    publication = prepare_publication(own_zoo, REPO)
    hub.faults.append(Fault(r"/commit/", status=412))
    with pytest.raises(HubError, match="rnn-zoos/tiny got another commit in the meantime.*same command again"):
        publish.publish(publication, REPO, endpoint=hub.url)


@pytest.mark.parametrize(("token", "hint"), [("hf_bad", "log in with `hf auth login`"), ("", "hf auth login")])
def test_without_a_valid_token_the_error_says_how_to_log_in_and_does_not_show_the_token(
    token, hint, own_zoo, hub, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=hint) as refused:
        publish.publish(prepare_publication(own_zoo, REPO), REPO, endpoint=hub.url)
    assert "hf_bad" not in str(refused.value) and not hub.repos


def test_a_damaged_zoo_is_not_published(own_zoo):
    shard = next((own_zoo / "shards").glob("train-*"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(FormatError, match=f"does not conform, so it is not published: .*{shard.name}"):
        prepare_publication(own_zoo, REPO)
    assert not (own_zoo / PUBLISHED).exists()
