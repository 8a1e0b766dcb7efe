"""Finding a zoo by a path, a name or an address; what is said about one that is missing. No requests are sent."""

import shutil
from pathlib import Path

import pytest

from rnn_zoos.errors import FormatError, HubError
from rnn_zoos.loaders import finding
from rnn_zoos.loaders.zoo import open_zoo


@pytest.fixture
def here(zoo, tmp_path, monkeypatch):
    """A working directory with the zoos `zoos/formal-languages` and `zoos/other`."""
    for name in ("formal-languages", "other"):
        shutil.copytree(zoo("formal-languages"), tmp_path / "zoos" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """The arguments with which the Hub is asked; it answers with the last of them."""
    calls = []
    monkeypatch.setattr(finding, "find_revision", lambda *arguments: calls.append(arguments) or arguments)
    return calls


def test_directories_are_found_with_slashes_a_tilde_and_as_paths(here, monkeypatch):
    expected = open_zoo("zoos/other").source
    monkeypatch.setenv("HOME", str(here))
    for name in ("zoos/other/", "./zoos/other//", "~/zoos/other", "~/zoos/other/", str(here / "zoos" / "other")):
        assert open_zoo(name).source == open_zoo(Path(name)).source == expected


@pytest.mark.parametrize(
    ("address", "revision", "expected"),
    [
        ("owner/name", None, ("owner/name", None, None)),
        ("owner/name", "v1", ("owner/name", "v1", None)),
        ("hf://datasets/owner/name", None, ("owner/name", None, None)),
        ("hf://datasets/owner/name/", "v1", ("owner/name", "v1", None)),
        ("hf://datasets/owner/name@v1.0", None, ("owner/name", "v1.0", None)),
        ("hf://datasets/owner/name@v1", "v1", ("owner/name", "v1", None)),
        ("hf://datasets/owner/name@refs%2Fpr%2F3", None, ("owner/name", "refs/pr/3", None)),
        ("hf://datasets/owner/name@refs/pr/3", None, ("owner/name", "refs/pr/3", None)),
    ],
)
def test_names_and_addresses_of_the_hub_are_understood(address, revision, expected, asked, here):
    assert finding.find_source(address, revision) == expected and asked == [expected]


@pytest.mark.parametrize(
    "address",
    [
        "hf://datasets/owner",
        "hf://owner/name",
        "hf://models/owner/name",
        "hf://spaces/owner/name",
        "hf://datasets/owner/name/zoo.json",
        "hf://datasets/owner/name@v1/shards/train",
        "hf://datasets/owner/name@",
        "hf://datasets/../name",
        "hf:datasets/owner/name",
    ],
)
def test_other_addresses_are_refused(address, asked):
    with pytest.raises(FormatError, match=r"expected hf://datasets/OWNER/NAME.*never a file or folder of one"):
        open_zoo(address)
    assert not asked


def test_an_address_and_an_argument_that_name_different_revisions_are_refused(asked):
    with pytest.raises(FormatError, match=r"revision is 'v2', but hf://.* names the revision 'v1'. Give one of them"):
        open_zoo("hf://datasets/owner/name@v1", revision="v2")
    assert not asked


def test_a_folder_with_the_name_of_an_owner_does_not_hide_the_hub(here, asked):
    assert finding.find_source("zoos/of-somebody") == ("zoos/of-somebody", None, None)


def test_a_missing_directory_is_named_with_what_its_parent_contains(here):
    """HF_HUB_OFFLINE is set in tests, so that the Hub has nothing."""
    with pytest.raises(HubError) as error:
        open_zoo("zoos/formal-langauges")
    assert "HF_HUB_OFFLINE" in str(error.value) and str(error.value).endswith(
        "The directory zoos/formal-langauges does not exist; the directory zoos contains the zoos formal-languages, "
        "other. Did you mean zoos/formal-languages?"
    )
    (here / "empty").mkdir()
    with pytest.raises(
        HubError, match=r"The directory empty/x does not exist, and the directory empty contains no zoo"
    ):
        open_zoo("empty/x")
    with pytest.raises(HubError) as error:
        open_zoo("owner/name")
    assert "does not exist" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            Path("zoos/othr"),
            "The directory zoos/othr does not exist; the directory zoos contains .*Did you mean zoos/other",
        ),
        ("zoos/othr/", "Did you mean zoos/other"),
        ("~nobody-of-this-name/x", "The directory ~nobody-of-this-name does not exist, or cannot be read"),
        (
            "formal-languages",
            "The directory formal-languages does not exist, and the current directory contains no zoo",
        ),
        ("zoos/other/zoo.json", "zoos/other/zoo.json is a file"),
        ("a\0b/c/", "does not exist"),
        ("x" * 5000, "does not exist"),
        ("", "The zoo is ''"),
        (None, "The zoo is None"),
        (b"zoos/other", "The zoo is b'zoos/other'"),
    ],
)
def test_what_is_neither_a_directory_nor_a_name_is_explained(name, message, here, asked):
    with pytest.raises(FormatError, match=message):
        open_zoo(name)
    assert not asked
