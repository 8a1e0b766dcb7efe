"""Publishing the explorer of a zoo as a static Space on the Hugging Face Hub, beside the dataset.

The dataset comes first, then the Space: a page never links to a dataset that is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from huggingface_hub import HfApi

from rnn_zoos import __version__
from rnn_zoos.errors import HubError
from rnn_zoos.format.files import write_atomically
from rnn_zoos.format.manifest import CARD, Manifest
from rnn_zoos.generation.publishing.card import TAGS, licenses, linked_space
from rnn_zoos.generation.publishing.hub_requests import retried
from rnn_zoos.generation.publishing.preparing import Publication
from rnn_zoos.generation.publishing.publish import dataset_repository, publish
from rnn_zoos.generation.publishing.repository import Repository
from rnn_zoos.loaders.explorer.page import MARKER, Page
from rnn_zoos.loaders.hub import check_hub_name

_OWN = ("data/", "vendor/", "leaderboard.html")  # what earlier pages may have and a new one lacks
_INITIAL = "initial commit"  # title that the Hub gives the commit with which it creates a Space


@dataclass(frozen=True)
class Space:
    """A static Space that has been made, but not published.

    Attributes:
        name: OWNER/NAME.
        files: Path in the repository -> content.
    """

    name: str
    files: Mapping[str, bytes]

    def summary(self) -> Iterator[str]:
        """Yield one line per file, with its size."""
        for path, content in sorted(self.files.items()):
            yield f"{path:<24} {len(content) / 1e6:>10,.3f} MB"


def prepare_space(page: Page, manifest: Manifest, name: str, repo: str) -> Space:
    """Return the Space that shows a page of the explorer.

    Args:
        page: The page, made with `dataset=repo`.
        manifest: That of the zoo.
        name: OWNER/NAME of the Space.
        repo: OWNER/NAME of the zoo's dataset.

    Raises HubError if a name is not of that form.
    """
    for own in (name, repo):
        check_hub_name(own)
    return Space(name, {**page.files, CARD: _readme(page, manifest, name, repo).encode()})


def published_space(repo: str, endpoint: str | None = None) -> str | None:
    """Return OWNER/NAME of the Space to which the published card of a zoo links, None if there is none.

    Raises HubError if the Hub cannot be reached or refuses, or `repo` is not of the form OWNER/NAME.
    """
    check_hub_name(repo)
    dataset = dataset_repository(repo, endpoint)
    if not dataset.exists() or CARD not in dataset.files("main"):
        return None
    with TemporaryDirectory() as folder:
        path = retried(lambda: dataset.api.hf_hub_download(repo, CARD, repo_type=dataset.kind, local_dir=folder), repo)
        return linked_space(Path(path).read_text(encoding="utf-8"))


def check_space(name: str, endpoint: str | None = None) -> None:
    """Raise HubError if a Space exists that has something else than a page of the explorer."""
    space = _repository(name, endpoint)
    if space.exists():
        _check_replaceable(space, space.head())


def publish_with_space(
    publication: Publication,
    space: Space,
    repo: str,
    tag: str | None = None,
    private: bool = False,
    endpoint: str | None = None,
    public: bool = False,
) -> tuple[str, str]:
    """Publish a zoo, then its Space, each in one commit; see `publish` for the arguments, which apply to both.

    A new Space beside a private dataset is private, too. With `public`, both are made public when both are complete.

    Returns:
        The shas of the commits of the dataset and of the Space.

    Raises:
        HubError: As by `publish`; or the Space has something else than a page of the explorer, and nothing was changed;
            or the dataset is published but the Space is not, which the message says.
        IntegrityError: A file was deleted or modified since the publication was prepared.
        StorageError: The page cannot be stored temporarily.
    """
    dataset = dataset_repository(repo, endpoint)
    shown = _repository(space.name, endpoint)
    existed = shown.exists()
    if existed:
        _check_replaceable(shown, shown.head())
    with TemporaryDirectory() as folder:
        files = _written(space, Path(folder))
        commit = publish(publication, repo, tag, private, endpoint)
        try:
            shown.create(private or (dataset.is_private() and not public))
            page_commit = shown.make_equal(files, "Explorer", partial(_check_replaceable, shown) if existed else None)
        except HubError as error:
            raise HubError(
                f"The dataset {repo} is published, at commit {commit}. Its Space {space.name} is not: {error} The same "
                "command completes it."
            ) from error
    if public:
        dataset.make_public()
        shown.make_public()
    return commit, page_commit


def _repository(name: str, endpoint: str | None) -> Repository:
    return Repository(HfApi(endpoint=endpoint), name, "space", _OWN)


def _written(space: Space, folder: Path) -> Publication:
    for path, content in space.files.items():
        write_atomically(folder / path, content)
    return Publication.of({path: folder / path for path in space.files})


def _check_replaceable(space: Repository, commit: str) -> None:
    """Raise HubError if a Space has something else than a page of the explorer, or what the Hub itself put there."""
    if MARKER in space.files(commit):
        return
    titles = retried(
        lambda: [
            commit_info.title
            for commit_info in space.api.list_repo_commits(space.name, repo_type=space.kind, revision=commit)
        ],
        space.name,
    )
    if titles != [_INITIAL]:
        raise HubError(
            f"The Space {space.name} exists and is not an explorer of rnn-zoos: it has no {MARKER}. It was not "
            "changed. Give --space another name."
        )


def _readme(page: Page, manifest: Manifest, name: str, repo: str) -> str:
    """Return the README of the Space: YAML metadata for the Hub, and what it shows."""
    names = licenses(manifest)
    metadata = {
        "title": f"Explorer of {repo.partition('/')[2]}",
        "emoji": "\N{COMPASS}",
        "colorFrom": "blue",
        "colorTo": "green",
        "sdk": "static",
        "app_file": "index.html",
        "license": names[0] if len(names) == 1 else names,
        "datasets": [repo],
        "tags": [*TAGS, manifest.zoo],
        "short_description": "Walk among the networks of a zoo, and run them",
    }
    text = _TEXT.format(
        title=metadata["title"],
        repo=repo,
        name=name,
        page=page,
        board=_BOARD if "leaderboard.html" in page.files else "",
        version=__version__,
    )
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)}---\n\n{text}"


_TEXT = """\
# {title}

Small recurrent networks of the dataset [{repo}](https://huggingface.co/datasets/{repo}): pictures of their training, a
map of networks that are alike, and {page.networks} networks that run in the browser. The page shows
{page.rows:,} of {page.all_rows:,} snapshots.{board}

Made with [rnn-zoos](https://github.com/rnn-zoos/rnn-zoos) {version}, by:

```sh
rnn-zoos publish ZOO --repo {repo} --space {name}
```

It has no server: everything runs in the browser, which asks no other host for anything. To make such a page on your own
machine, where every network of the zoo runs: `rnn-zoos explore DIR --serve`.
"""

_BOARD = " The leaderboard is made of the results in `benchmark/` of the dataset."
