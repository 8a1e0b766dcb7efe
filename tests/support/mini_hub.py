"""A Hugging Face Hub on loopback for the real clients (huggingface_hub, datasets), with fault injection.

    with MiniHub(tmp_path, tokens={"hf_good": "owner"}) as hub:
        hub.create("owner/zoo", private=True)
        hub.commit("owner/zoo", {"zoo.json": b"..."}, tag="v1")
        hub.faults.append(Fault("GET /_cdn", "rst", after=100))

Clients read HF_ENDPOINT when they are imported, so they have to run in another process, with the environment variables
`hub.environment(home)`. Repositories are in memory, the contents of their files on disk. Xet is not supported. The HTTP
API is in mini_hub_api.py, its transport in mini_hub_http.py.
"""

import datetime
import hashlib
import os
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path

from mini_hub_api import Handler

STATIC_SPACE = {  # what the Hub puts into a new static Space
    "README.md": b"---\ntitle: New\nemoji: \xf0\x9f\x93\x9a\ncolorFrom: red\ncolorTo: gray\nsdk: static\n---\n",
    "index.html": b"<!doctype html><title>My static Space</title>\n",
    "style.css": b"body { padding: 2rem; }\n",
}
LFS = (".safetensors", ".parquet", ".arrow", ".bin", ".npz", ".npy", ".tar", ".zip", ".gz", ".zst")


@dataclass
class Blob:
    """A file of a repository.

    `oid` is git's SHA-1 of the content, or of the LFS pointer if `pointer_size` is not 0.
    """

    oid: str
    size: int
    sha256: str  # also the name of the file with the content on disk
    pointer_size: int = 0

    def lfs(self, key="oid"):
        """Return the API's description of an LFS file; nothing for other files."""
        if not self.pointer_size:
            return {}
        return {"lfs": {key: self.sha256, "size": self.size, "pointerSize": self.pointer_size}}


@dataclass
class Commit:
    """A commit: path -> file, and its parent."""

    files: dict[str, Blob]
    parent: str | None
    title: str
    date: str


@dataclass
class Repo:
    """A repository, with its commits by hash."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)  # "main" or a tag -> commit


@dataclass
class Fault:
    """A fault of `times` requests whose "METHOD path" matches the regex `match`; `skip` earlier ones are answered.

    The kinds are: status (answers with `status`), cut (closes the connection after `after` bytes of the body), rst (the
    same with a TCP reset), corrupt (flips the bits of one byte of the body), lost (processes the request, then closes
    the connection without an answer), delay (waits `after` seconds before it answers).
    """

    match: str
    kind: str = "status"
    status: int = 500
    after: float = 0
    times: int = 1
    skip: int = 0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """A logged request."""

    method: str
    path: str
    query: str
    range: str | None
    status: int | None = None  # None: no answer


def git_sha1(data):
    """Return the hash that git gives a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class MiniHub:
    """The server and its repositories.

    `log` has every request; the first `faults` that match are applied; `steps` has functions that are called when
    "GET /_step/NAME" is requested. LFS uploads larger than `multipart` are made in parts.
    """

    def __init__(self, root, tokens=None, lfs_threshold=10 << 20, page=1000, multipart=None, cdn_redirect=True):
        self.root = Path(root)
        (self.root / "blobs").mkdir(parents=True, exist_ok=True)
        self.tokens = {"hf_good": "rnn-zoos"} if tokens is None else tokens
        self.lfs_threshold, self.page, self.multipart, self.cdn_redirect = lfs_threshold, page, multipart, cdn_redirect
        self.repos, self.faults, self.log, self.steps, self.lock = {}, [], [], {}, threading.RLock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home, **more):
        """Return environment variables for a process that uses only this Hub, with caches in `home` and no token."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        settings = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
        return {**kept, **settings, **quiet, "NO_PROXY": "*", **more}

    def create(self, repo_id, kind="datasets", private=False, gated=False):
        """Create a repository with its first commit."""
        repo = self.repos[kind, repo_id] = Repo(private, gated)
        attributes = "".join(f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in LFS).encode()
        files = {".gitattributes": attributes, **(STATIC_SPACE if kind == "spaces" else {})}
        self.add_commit(repo, "main", {path: self.put(data) for path, data in files.items()}, "initial commit")
        return repo

    def commit(self, repo_id, files, kind="datasets", tag=None):
        """Add or replace files (path -> bytes) in main, without a client. Return the hash of the commit."""
        repo = self.repos[kind, repo_id]
        blobs = {path: self.put(data, self.is_lfs(path, len(data))) for path, data in files.items()}
        previous = repo.commits[repo.refs["main"]].files
        commit = self.add_commit(repo, "main", previous | blobs, "from the test")
        if tag:
            repo.refs[tag] = commit
        return commit

    def is_lfs(self, path, size):
        return path.endswith(LFS) or size > self.lfs_threshold

    def blob_path(self, name):
        return self.root / "blobs" / name

    def put(self, data, lfs=False):
        """Store a content; return the file for it."""
        sha = hashlib.sha256(data).hexdigest()
        self.blob_path(sha).write_bytes(data)
        return self.lfs_blob(sha) if lfs else Blob(git_sha1(data), len(data), sha)

    def lfs_blob(self, sha):
        """Return the LFS file of a stored content."""
        size = self.blob_path(sha).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {size}\n".encode()
        return Blob(git_sha1(pointer), size, sha, len(pointer))

    def add_commit(self, repo, ref, files, title):
        """Add a commit with these files (path -> Blob) and move a branch to it."""
        parent = repo.refs.get(ref)
        date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        oid = hashlib.sha1(f"{parent}{title}{time.time_ns()}{sorted(files)}".encode()).hexdigest()
        repo.commits[oid] = Commit(files, parent, title, date)
        repo.refs[ref] = oid
        return oid

    def take_fault(self, request):
        """Return the fault to apply to "METHOD path" and count it, or None."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.match, request):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def fetched(self):
        """Return step -> paths of the files whose contents were requested between that step and the next."""
        commits = (commit for repo in self.repos.values() for commit in repo.commits.values())
        stored = {f"/_cdn/{blob.sha256}": path for commit in commits for path, blob in commit.files.items()}
        files, step = {None: []}, None
        for request in self.log:
            if request.path.startswith("/_step/"):
                files[step := request.path.removeprefix("/_step/")] = []
            elif request.method == "GET" and "/resolve/" in request.path:
                files[step].append(request.path.split("/resolve/")[1].partition("/")[2])
            elif request.path in stored:
                files[step].append(stored[request.path])
        return {step: sorted(set(paths)) for step, paths in files.items()}
