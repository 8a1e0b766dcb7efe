"""Publishing to a loopback Hub with the real client, and reading the result with plain `datasets`."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import run_command
from mini_hub import Fault, MiniHub
from publishing import REPO, contents, requests, set_up_client

from rnn_zoos.errors import FormatError, HubError, StorageError
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.manifest import PUBLISHED, read_manifest
from rnn_zoos.generation.publishing import publish
from rnn_zoos.generation.publishing.preparing import prepare_publication

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own uploads


@pytest.fixture
def own_zoo(zoo, tmp_path) -> Path:
    """A copy that may be written to."""
    return Path(shutil.copytree(zoo("formal-languages"), tmp_path / "zoo"))


@pytest.fixture(autouse=True)
def _client(monkeypatch) -> None:
    set_up_client(monkeypatch)


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


def test_publishing_uploads_all_files_once_and_nothing_the_second_time(own_zoo, hub, tmp_path):
    publication = prepare_publication(own_zoo, REPO)
    assert check_zoo(own_zoo) == [], "preparing does not change the zoo"
    head = publish.publish(publication, REPO, "v1", endpoint=hub.url)
    on_hub = contents(hub)
    assert {path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in publication.files.items()} == on_hub
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
    assert set(contents(hub, "v2")) == set(publication.files)


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
    assert not fault.times and set(contents(hub, "v1")) == set(publication.files)
    assert len(hub.repos["datasets", REPO].commits) == 2, "a commit whose response was lost is not made twice"


def test_a_lasting_failure_leaves_no_partial_zoo_and_the_next_call_continues(own_zoo, hub):
    publication = prepare_publication(own_zoo, REPO)
    hub.faults.append(Fault(r"/commit/", status=500, times=99))
    with pytest.raises(HubError, match=r"failed 5 times .*: status 500. No partial zoo is visible.*same command again"):
        publish.publish(publication, REPO, "v1", endpoint=hub.url)
    assert not contents(hub)
    hub.faults.clear()
    start = len(hub.log)
    publish.publish(publication, REPO, "v1", endpoint=hub.url)
    assert set(contents(hub, "v1")) == set(publication.files)
    assert not [line for line in requests(hub, start) if line.startswith("PUT")], (
        "files that arrived are not uploaded again"
    )


def test_other_data_than_a_zoo_are_never_replaced(own_zoo, hub):
    files = {"README.md": b"mine", "data/train.parquet": b"mine", "index/all.csv": b"mine"}
    hub.create(REPO)
    hub.commit(REPO, files)
    publication, before = prepare_publication(own_zoo, REPO), contents(hub)
    for send in (
        lambda: publish.publish(publication, REPO, endpoint=hub.url),
        lambda: publish.check_dataset(REPO, hub.url),
    ):
        with pytest.raises(HubError, match="The dataset rnn-zoos/tiny exists and is not a zoo: .* was not changed"):
            send()
    assert contents(hub) == before
    hub.create(REPO)
    hub.commit(REPO, {"README.md": b"a card that was written on the Hub"})
    publish.publish(publication, REPO, endpoint=hub.url)
    publish.check_dataset(REPO, hub.url)
    assert set(contents(hub)) == set(publication.files)


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


def test_a_file_that_was_added_to_what_is_published_is_an_error_even_if_all_else_is_as_before(own_zoo):
    prepare_publication(own_zoo, REPO)
    (own_zoo / "published" / "mine.txt").write_text("mine")
    with pytest.raises(StorageError, match="mine.txt was not written by an export"):
        prepare_publication(own_zoo, REPO)


def test_a_damaged_zoo_is_not_published(own_zoo):
    shard = next((own_zoo / "shards").glob("train-*"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(FormatError, match=f"does not conform, so it is not published: .*{shard.name}"):
        prepare_publication(own_zoo, REPO)
    assert not (own_zoo / PUBLISHED).exists()


@pytest.mark.parametrize("repo", ["tiny", "a/b/c", "no spaces/x", "", "a--b/c", "a/.git"])
def test_a_name_that_no_repository_can_have_is_refused(repo, own_zoo, hub):
    finished = run_command("publish", own_zoo, "--repo", repo, "--endpoint", hub.url)
    assert finished.status == 1 and "Expected OWNER/NAME" in finished.err and not hub.log


@pytest.mark.parametrize(
    ("token", "message"), [("hf_é", "The token has characters that no token has"), ("hf_a b", "hf auth login")]
)
def test_a_malformed_token_is_not_shown(token, message, own_zoo, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=message) as refused:
        publish.publish(prepare_publication(own_zoo, REPO), REPO, endpoint=hub.url)
    assert token not in str(refused.value)


def test_a_server_that_is_no_hub_is_reported(own_zoo, hub, monkeypatch):
    monkeypatch.setattr("mini_hub_api.Handler._json", lambda self, *_: self._send(200, {}, 6, [b"<html>"]))
    with pytest.raises(HubError, match="answered for rnn-zoos/tiny with something else than JSON"):
        publish.publish(prepare_publication(own_zoo, REPO), REPO, endpoint=hub.url)
