"""Publishing the explorer as a static Space beside its dataset, to a loopback Hub with the real client."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from command import Finished, run_command
from mini_hub import Fault, MiniHub
from publishing import REPO, contents, requests, set_up_client

from rnn_zoos.baselines.emulation.zoo_embeddings import STORED_ENCODERS
from rnn_zoos.errors import HubError
from rnn_zoos.generation.publishing.card import linked_space, make_card
from rnn_zoos.generation.publishing.preparing import Publication, prepare_publication
from rnn_zoos.generation.publishing.repository import Repository
from rnn_zoos.generation.publishing.space import Space, prepare_space, publish_with_space
from rnn_zoos.loaders.explorer.page import MARKER, Page, build_page
from rnn_zoos.loaders.zoo import open_zoo

SPACE = "rnn-zoos/tiny-explorer"
LINK = f"(https://huggingface.co/spaces/{SPACE})"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own uploads


@pytest.fixture(scope="module")
def prepared(zoo, tmp_path_factory) -> Path:
    """A zoo that is prepared for publication with a Space."""
    copy = Path(shutil.copytree(zoo("formal-languages"), tmp_path_factory.mktemp("prepared") / "zoo"))
    prepare_publication(copy, REPO, space=SPACE)
    return copy


@pytest.fixture
def own_zoo(prepared, tmp_path) -> Path:
    """A copy that may be written to; times of modification are copied, so it is still prepared."""
    return Path(shutil.copytree(prepared, tmp_path / "zoo"))


@pytest.fixture
def publication(own_zoo) -> Publication:
    return prepare_publication(own_zoo, REPO, space=SPACE)


@pytest.fixture(scope="module")
def space(zoo) -> Space:
    opened = open_zoo(zoo("formal-languages"))
    return prepare_space(build_page(opened, 2, dataset=REPO), opened.manifest, SPACE, REPO)


@pytest.fixture(scope="module")
def space_with_board(zoo) -> Space:
    opened = open_zoo(zoo("formal-languages"))
    page = build_page(opened, 3, results={"rows": []}, dataset=REPO)
    return prepare_space(page, opened.manifest, SPACE, REPO)


@pytest.fixture(autouse=True)
def _client(monkeypatch) -> None:
    set_up_client(monkeypatch)


def hashes(space: Space) -> dict[str, str]:
    return {path: hashlib.sha256(content).hexdigest() for path, content in space.files.items()}


def shown(hub: MiniHub) -> dict[str, str]:
    return contents(hub, kind="spaces", name=SPACE)


def text(hub: MiniHub, path: str, kind: str, name: str) -> str:
    repo = hub.repos[kind, name]
    return hub.blob_path(repo.commits[repo.refs["main"]].files[path].sha256).read_text()


def metadata(readme: str) -> dict:
    return yaml.safe_load(readme.split("---\n")[1])


def commits(hub: MiniHub) -> tuple[int, int]:
    """How many commits the dataset and the Space have, without the first, which the Hub makes."""
    return len(hub.repos["datasets", REPO].commits) - 1, len(hub.repos["spaces", SPACE].commits) - 1


def command(hub: MiniHub, directory: Path, *options: object) -> Finished:
    return run_command("publish", directory, "--repo", REPO, "--endpoint", hub.url, *options)


def results_of(zoo: Path, folder: Path) -> Path:
    """Return a folder with results of the benchmark as if they were of this zoo."""
    folder.mkdir()
    for path in sorted((STORED_ENCODERS / "formal-languages").glob("*.json"))[:2]:
        result = json.loads(path.read_text())
        result["zoo"]["sha256"] = open_zoo(zoo).identity
        (folder / path.name).write_text(json.dumps(result))
    (folder / "leaderboard.md").write_text("| encoder | loss |\n")
    return folder


def test_the_command_publishes_both_with_links_to_each_other_and_nothing_the_second_time(own_zoo, hub, tmp_path):
    options = "--space", SPACE, "--results", results_of(own_zoo, tmp_path / "results")
    done = command(hub, own_zoo, *options)
    assert done.status == 0, done.err
    assert f"Published {REPO}, commit " in done.out and f"Published its Space {SPACE}, commit " in done.out
    pages = {"README.md", MARKER, "index.html", "leaderboard.html", "style.css", "vendor/plotly.min.js"}
    pages |= {f"data/{name}.js" for name in ("zoo", "networks", "maps", "results")}
    assert set(shown(hub)) == pages and commits(hub) == (1, 1)
    readme = text(hub, "README.md", "spaces", SPACE)
    about = metadata(readme)
    assert about["sdk"] == "static" and about["app_file"] == "index.html" and about["datasets"] == [REPO]
    assert about["license"] == "cc-by-4.0" and "formal-languages" in about["tags"] and about["title"] and about["emoji"]
    assert f"https://huggingface.co/datasets/{REPO}" in readme and f"--repo {REPO} --space {SPACE}" in readme
    assert "leaderboard" in readme
    assert f'"dataset":"{REPO}"' in text(hub, "data/zoo.js", "spaces", SPACE)
    assert LINK in text(hub, "README.md", "datasets", REPO)
    start = len(hub.log)
    again = command(hub, own_zoo, *options)
    assert again.status == 0 and commits(hub) == (1, 1)
    assert not [line for line in requests(hub, start) if "/commit/" in line or line.startswith("PUT")]


def test_a_dry_run_lists_files_and_sizes_and_asks_the_hub_nothing(own_zoo, hub):
    done = command(hub, own_zoo, "--space", SPACE, "--dry-run")
    assert done.status == 0 and "Nothing was uploaded" in done.out, done.err
    for path in ("README.md", MARKER, "index.html", "data/zoo.js", "vendor/plotly.min.js"):
        assert re.search(rf"^{re.escape(path)} +[\d.]+ MB$", done.out, re.M), path
    assert f"for the Space {SPACE}" in done.out
    assert not hub.log and linked_space((own_zoo / "published" / "README.md").read_text()) == SPACE


def test_the_link_of_a_published_card_stays_without_the_option(own_zoo, hub):
    """Also where the zoo was prepared without it, as on another machine."""
    assert command(hub, own_zoo, "--space", SPACE).status == 0
    prepare_publication(own_zoo, REPO)
    done = command(hub, own_zoo)
    assert done.status == 0 and commits(hub) == (1, 1), done.err
    assert command(hub, own_zoo, "--dry-run").status == 0
    assert LINK in (own_zoo / "published" / "README.md").read_text()


def test_a_card_without_a_space_has_no_link(zoo):
    opened = open_zoo(zoo("formal-languages"))
    without = make_card(opened, REPO, [], True)
    assert "huggingface.co/spaces" not in without and "--space" not in without and linked_space(without) is None
    assert linked_space(make_card(opened, REPO, [], True, space=SPACE)) == SPACE


def test_a_page_that_changed_replaces_the_old_one_in_one_commit(publication, space, space_with_board, hub):
    publish_with_space(publication, space_with_board, REPO, endpoint=hub.url)
    assert shown(hub) == hashes(space_with_board)
    hub.commit(SPACE, {"notes.txt": b"of its owner", "data/old.js": b"of an earlier version"}, kind="spaces")
    publish_with_space(publication, space, REPO, endpoint=hub.url)
    assert shown(hub) == {**hashes(space), "notes.txt": hashlib.sha256(b"of its owner").hexdigest()}
    assert {"leaderboard.html", "data/results.js"} <= set(space_with_board.files) - set(shown(hub))
    assert commits(hub) == (1, 3)


def test_a_failure_between_the_two_says_what_is_published_and_the_same_call_completes_it(publication, space, hub):
    hub.faults.append(Fault(rf"POST /api/spaces/{SPACE}/commit/", status=500, times=99))
    message = rf"The dataset {REPO} is published, at commit [0-9a-f]{{40}}. Its Space {SPACE} is not: .*status 500"
    with pytest.raises(HubError, match=message):
        publish_with_space(publication, space, REPO, "v1", endpoint=hub.url, private=True, public=True)
    assert set(contents(hub, "v1")) == set(publication.files) and commits(hub) == (1, 0)
    assert hub.repos["datasets", REPO].private, "it is shown when both are complete"
    hub.faults.clear()
    publish_with_space(publication, space, REPO, "v1", endpoint=hub.url, private=True, public=True)
    assert shown(hub) == hashes(space) and commits(hub) == (1, 1)
    assert not hub.repos["datasets", REPO].private and not hub.repos["spaces", SPACE].private


@pytest.mark.parametrize("kind", ["lost", "rst", "status"])
@pytest.mark.parametrize("match", ["POST /api/repos/create", f"POST /api/spaces/{SPACE}/commit/"])
def test_transient_failures_of_the_space_are_retried(kind, match, publication, space, hub):
    fault = Fault(match, kind, status=503, skip=int(match.endswith("create")))
    hub.faults.append(fault)
    publish_with_space(publication, space, REPO, endpoint=hub.url)
    assert not fault.times and shown(hub) == hashes(space) and commits(hub) == (1, 1)


@pytest.mark.parametrize("files", [{"app.py": b"import gradio"}, {"index.html": b"my page"}, {}])
def test_a_space_of_someone_else_is_refused_before_anything_is_changed(files, publication, space, hub):
    repo = hub.create(SPACE, "spaces")
    repo.commits[repo.refs["main"]].title = "Duplicate from someone/else"
    hub.commit(SPACE, files, kind="spaces")
    before = shown(hub)
    with pytest.raises(HubError, match=rf"{SPACE} exists and is not an explorer of rnn-zoos: it has no {MARKER}"):
        publish_with_space(publication, space, REPO, endpoint=hub.url)
    assert shown(hub) == before and ("datasets", REPO) not in hub.repos


def test_a_space_that_someone_fills_meanwhile_is_not_overwritten(publication, space, hub, monkeypatch):
    send = Repository._send

    def meanwhile(repository, *arguments):
        send(repository, *arguments)
        if repository.kind == "space":
            hub.commit(SPACE, {"app.py": b"import gradio"}, kind="spaces")

    monkeypatch.setattr(Repository, "_send", meanwhile)
    with pytest.raises(HubError, match=f"Its Space {SPACE} is not: {SPACE} got another commit in the meantime"):
        publish_with_space(publication, space, REPO, endpoint=hub.url)
    assert "app.py" in shown(hub) and MARKER not in shown(hub)


def test_a_space_beside_a_private_dataset_is_private(publication, space, hub):
    hub.create(REPO, private=True)
    publish_with_space(publication, space, REPO, endpoint=hub.url)
    assert hub.repos["spaces", SPACE].private
    publish_with_space(publication, space, REPO, endpoint=hub.url, public=True)
    assert not hub.repos["spaces", SPACE].private and not hub.repos["datasets", REPO].private


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "<b>/x", "é/x", "a/b\n"])
def test_a_name_that_no_space_can_have_is_refused(name, own_zoo, hub):
    done = command(hub, own_zoo, "--space", name, "--dry-run")
    assert done.status == 1 and "is not the name of a repository on the Hub. Expected OWNER/NAME" in done.err
    assert not hub.log


def test_digits_bring_their_licence(zoo):
    opened = open_zoo(zoo("sequential-mnist"))
    readme = prepare_space(Page({}, 1, 1, 1), opened.manifest, SPACE, REPO).files["README.md"].decode()
    assert metadata(readme)["license"][0] == "cc-by-4.0" and len(metadata(readme)["license"]) == 2


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("sdk: static", "sdk: none"), ("colorTo: green", "colorTo: mauve"), ("sdk: static\n", ""), ("Walk", "Walk" * 9)],
)
def test_metadata_that_the_hub_does_not_accept_is_not_committed(right, wrong, publication, space, hub):
    """Which shows that it accepts the metadata of `prepare_space`."""
    readme = space.files["README.md"].replace(right.encode(), wrong.encode())
    with pytest.raises(HubError, match="The dataset .* is published, .* is not: .* Invalid metadata in README.md"):
        publish_with_space(publication, Space(SPACE, {**space.files, "README.md": readme}), REPO, endpoint=hub.url)
    assert MARKER not in shown(hub)
