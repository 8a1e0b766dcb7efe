"""How files get to the Hub: in batches before one commit, resumed without reading again, by Xet or without."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from publishing import REPO, contents, requests, set_up_client

from rnn_zoos.errors import FormatError, HubError, IntegrityError, StorageError
from rnn_zoos.format.files import sha256_of
from rnn_zoos.format.manifest import PUBLISHED, read_manifest
from rnn_zoos.generation.publishing import preparing, publish, repository
from rnn_zoos.generation.publishing.preparing import Publication, prepare_publication
from rnn_zoos.generation.publishing.repository import Repository

CLIENT = "huggingface_hub._commit_api"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own uploads


@pytest.fixture(scope="module")
def prepared(zoo, tmp_path_factory) -> Path:
    """A zoo that is prepared for publication."""
    copy = Path(shutil.copytree(zoo("formal-languages"), tmp_path_factory.mktemp("prepared") / "zoo"))
    prepare_publication(copy, REPO)
    return copy


@pytest.fixture
def own_zoo(prepared, tmp_path) -> Path:
    """A copy that may be written to; times of modification are copied, so it is still prepared."""
    return Path(shutil.copytree(prepared, tmp_path / "zoo"))


@pytest.fixture(autouse=True)
def _client(monkeypatch) -> None:
    set_up_client(monkeypatch)


@pytest.fixture
def publication(own_zoo) -> Publication:
    return prepare_publication(own_zoo, REPO)


def small_files(folder: Path, count: int) -> Publication:
    """A publication of `count` files that are large to the Hub, all different, and a zoo.json."""
    folder.mkdir()
    files = {f"shards/train-{number:05d}.safetensors": folder / str(number) for number in range(count)}
    files["zoo.json"] = folder / "zoo.json"
    for path, file in files.items():
        file.write_text(path)
    return Publication.of(files)


def test_all_batches_are_sent_before_the_only_commit(publication, hub, monkeypatch):
    monkeypatch.setattr(repository, "_BATCH_FILES", 3)
    publish.publish(publication, REPO, "v1", endpoint=hub.url)
    log = requests(hub)
    (commit,) = (number for number, line in enumerate(log) if "/commit/" in line)
    puts = [number for number, line in enumerate(log) if line.startswith("PUT")]
    batches = [line for line in log if line.endswith("/lfs/objects/batch")]
    assert max(puts) < commit and len(batches) > 3
    assert len(hub.repos["datasets", REPO].commits) == 2 and set(contents(hub)) == set(publication.files)


def test_an_interrupted_upload_sends_only_what_is_missing(publication, hub, monkeypatch):
    monkeypatch.setattr(repository, "_BATCH_FILES", 3)
    send, calls = Repository._send, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        send(*arguments)

    monkeypatch.setattr(Repository, "_send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish.publish(publication, REPO, "v1", endpoint=hub.url)
    assert not contents(hub), "nothing is visible"
    before = [line for line in requests(hub) if line.startswith("PUT")]
    monkeypatch.setattr(Repository, "_send", send)
    start = len(hub.log)
    publish.publish(publication, REPO, "v1", endpoint=hub.url)
    after = [line for line in requests(hub, start) if line.startswith("PUT")]
    assert before and after and not set(before) & set(after)
    assert set(contents(hub, "v1")) == set(publication.files)


def test_a_commit_that_someone_makes_during_the_upload_is_not_overwritten(publication, hub, monkeypatch):
    send, card = Repository._send, b"of someone else"
    monkeypatch.setattr(Repository, "_send", lambda *a: (send(*a), hub.commit(REPO, {"README.md": card})))
    with pytest.raises(HubError, match="rnn-zoos/tiny got another commit in the meantime.*same command again"):
        publish.publish(publication, REPO, endpoint=hub.url)
    assert contents(hub) == {"README.md": hashlib.sha256(card).hexdigest()}


def test_resuming_neither_checks_nor_exports_nor_hashes_again(own_zoo, publication, hub, monkeypatch):
    """Except zoo.json, whose hash no other file has."""

    def fail(*_, **__):
        raise AssertionError("read again")

    monkeypatch.setattr(preparing, "check_zoo", fail)
    monkeypatch.setattr(preparing, "write_export", fail)
    monkeypatch.setattr(preparing, "sha256_of", lambda path: sha256_of(path) if path.name == "zoo.json" else fail())
    monkeypatch.setattr("huggingface_hub.lfs.sha_fileobj", fail)
    assert prepare_publication(own_zoo, REPO) == publication
    head = publish.publish(publication, REPO, endpoint=hub.url)
    assert publish.publish(prepare_publication(own_zoo, REPO), REPO, "v1", endpoint=hub.url) == head
    with pytest.raises(AssertionError, match="read again"):
        prepare_publication(own_zoo, "rnn-zoos/other")


def test_a_file_that_changed_since_is_checked_again(own_zoo, publication):
    shard = next((own_zoo / "shards").glob("train-*"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(FormatError, match=f"does not conform, so it is not published: .*{shard.name}"):
        prepare_publication(own_zoo, REPO)


def test_an_exported_file_that_is_missing_is_made_again(own_zoo, publication):
    figure = own_zoo / PUBLISHED / "figures" / "tasks.png"
    data = figure.read_bytes()
    figure.unlink()
    again = prepare_publication(own_zoo, REPO)
    assert figure.read_bytes() == data
    assert {path: state.sha256 for path, state in again.states.items()} == {
        path: state.sha256 for path, state in publication.states.items()
    }


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(path.read_bytes())])
@pytest.mark.parametrize("when", ["before", "while"])
def test_a_file_that_changes_while_it_is_published_is_not_committed(
    change, when, own_zoo, publication, hub, monkeypatch
):
    shard = next((own_zoo / "shards").glob("train-*"))
    if when == "before":
        change(shard)
    else:
        upload = HfApi.preupload_lfs_files
        monkeypatch.setattr(HfApi, "preupload_lfs_files", lambda *a, **k: (upload(*a, **k), change(shard)))
    with pytest.raises(IntegrityError, match=f"{shard.name} was deleted or changed while the zoo was being published"):
        publish.publish(publication, REPO, endpoint=hub.url)
    assert not contents(hub)


@pytest.mark.parametrize(
    ("name", "limit", "message"),
    [
        ("MAX_FILES", 22, "The zoo has 23 files; the Hub accepts 22 in a commit"),
        ("MAX_FOLDER_FILES", 4, "shards/ has 5 files; the Hub accepts 4 in a folder of rnn-zoos/tiny"),
    ],
)
def test_more_files_than_the_hub_accepts_are_refused_before_anything_is_sent(
    name, limit, message, publication, hub, monkeypatch
):
    monkeypatch.setattr(publish, name, limit)
    with pytest.raises(HubError, match=f"{message}. Generate the zoo with a larger `runs_per_shard`"):
        publish.publish(publication, REPO, endpoint=hub.url)
    assert not hub.log


@pytest.mark.slow
def test_thousands_of_files_are_published_in_one_commit(tmp_path, hub):
    publication = small_files(tmp_path / "files", 2_100)
    publish.publish(publication, REPO, "v1", endpoint=hub.url)
    assert len(hub.repos["datasets", REPO].commits) == 2
    assert contents(hub, "v1") == {path: state.sha256 for path, state in publication.states.items()}
    start = len(hub.log)
    publish.publish(publication, REPO, "v1", endpoint=hub.url)
    assert not [line for line in requests(hub, start) if "/commit/" in line or "PUT" in line or "preupload" in line]


NOT_FOUND = "Network error: Request error: HTTP status client error (404 Not Found), domain: {url}/xet-write-token/main"


@pytest.mark.parametrize(
    ("error", "attempts", "message"),
    [
        (
            ConnectionError(NOT_FOUND + " hf_good"),
            1,
            r"failed: status 404\. Nothing was committed\. .*HF_HUB_DISABLE_XET=1",
        ),
        (
            ConnectionError("HTTP status client error (401 Unauthorized) hf_good"),
            1,
            "refuses .*status 401.*hf auth login",
        ),
        (
            PermissionError("token hf_good has expired"),
            1,
            "refuses .*PermissionError.*hf auth login.*HF_HUB_DISABLE_XET=1",
        ),
        (
            ConnectionError("HTTP status server error (503 Service Unavailable)"),
            5,
            "failed 5 times .*: status 503.*DISABLE",
        ),
        (
            ConnectionError("reset hf_good"),
            5,
            "failed 5 times .*: ConnectionError.*same command again.*HF_HUB_DISABLE_XET=1",
        ),
        (RuntimeError("task panicked hf_good"), 5, "failed 5 times .*: RuntimeError.*HF_HUB_DISABLE_XET=1"),
        (OSError("hf_good"), 5, "failed 5 times .*: OSError"),
        (TimeoutError("hf_good"), 5, "failed 5 times .*: TimeoutError"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_errors_of_xet_transfers_are_explained_without_the_token(
    error, attempts, message, publication, hub, monkeypatch
):
    set_up_client(monkeypatch, xet=True)
    calls = []

    def fail(**arguments):
        calls.append(arguments)
        raise error

    monkeypatch.setattr(f"{CLIENT}._upload_xet_files", fail)
    with pytest.raises(HubError, match=message) as raised:
        publish.publish(publication, REPO, endpoint=hub.url)
    assert len(calls) == attempts and "hf_good" not in str(raised.value) and not contents(hub)


def test_a_passing_error_of_a_xet_transfer_is_retried(publication, hub, monkeypatch):
    set_up_client(monkeypatch, xet=True)
    errors = [ConnectionError("reset"), RuntimeError("task panicked")]

    def transfer(additions, **_):
        if errors:
            raise errors.pop()
        for addition in additions:
            hub.put(Path(addition.path_or_fileobj).read_bytes(), lfs=True)

    monkeypatch.setattr(f"{CLIENT}._upload_xet_files", transfer)
    publish.publish(publication, REPO, "v1", endpoint=hub.url)
    assert not errors and set(contents(hub, "v1")) == set(publication.files)


@pytest.mark.slow
def test_a_hub_without_xet_is_reported_by_the_command_and_works_without(own_zoo, hub, tmp_path):
    """With the real transfer library, in a process of its own because the library starts threads."""
    command = [sys.executable, "-m", "rnn_zoos", "publish", str(own_zoo), "--repo", REPO]
    environment = hub.environment(tmp_path / "home", HF_TOKEN="hf_good")
    by_xet = subprocess.run(
        command, env={**environment, "HF_HUB_DISABLE_XET": "0"}, capture_output=True, text=True, check=False
    )
    assert by_xet.returncode == 1 and "Traceback" not in by_xet.stderr and "hf_good" not in by_xet.stderr
    assert "status 404. Nothing was committed. Files are sent by the Xet transfer" in by_xet.stderr
    assert "HF_HUB_DISABLE_XET=1" in by_xet.stderr and not contents(hub)
    without = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert without.returncode == 0 and read_manifest(own_zoo).files.keys() < contents(hub).keys(), without.stderr


def test_files_that_the_hub_refuses_to_store_are_named(publication, hub, monkeypatch):
    refusal = [{"oid": "12ab", "error": {"message": "storage quota exceeded"}}]
    monkeypatch.setattr(f"{CLIENT}.post_lfs_batch_info", lambda **_: ([], refusal, None))
    with pytest.raises(HubError, match=r"The Hub refused files of rnn-zoos/tiny: .*12ab.*storage quota exceeded"):
        publish.publish(publication, REPO, endpoint=hub.url)


def test_a_local_file_that_cannot_be_read_is_no_fault_of_the_hub(publication, hub, monkeypatch):
    def unreadable(**_):
        raise RuntimeError("Error while uploading") from PermissionError(13, "Permission denied", "/zoo/shards/x")

    monkeypatch.setattr(f"{CLIENT}._upload_files", unreadable)
    with pytest.raises(StorageError, match="/zoo/shards/x cannot be read: Permission denied. Nothing was committed"):
        publish.publish(publication, REPO, endpoint=hub.url)
