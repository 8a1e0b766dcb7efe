"""What the tests of publishing share: the real client set up for a loopback Hub, and what that Hub then holds."""

from mini_hub import MiniHub

REPO = "rnn-zoos/tiny"


def set_up_client(monkeypatch, xet: bool = False) -> None:
    """Let the client of this process use the network and a token, and Xet transfers only if asked.

    The loopback Hub has no Xet storage.
    """
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", not xet)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    monkeypatch.setattr("rnn_zoos.loaders.downloads._FIRST_WAIT", 0.0)


def contents(hub: MiniHub, ref: str = "main", kind: str = "datasets", name: str = REPO) -> dict[str, str]:
    """Every file of a repository except .gitattributes: path -> sha256."""
    repo = hub.repos[kind, name]
    files = repo.commits[repo.refs[ref]].files
    return {path: blob.sha256 for path, blob in files.items() if path != ".gitattributes"}


def requests(hub: MiniHub, start: int = 0) -> list[str]:
    """METHOD PATH of every request since the first `start` ones."""
    return [f"{request.method} {request.path}" for request in hub.log[start:]]
