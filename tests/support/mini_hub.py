"""A Hub on loopback for the real clients (huggingface_hub, datasets): repositories, tokens, and faults to order.

    with MiniHub(tmp_path, tokens={"hf_good": "owner"}) as hub:
        hub.create("owner/zoo", private=True)
        hub.commit("owner/zoo", {"zoo.json": b"..."}, tag="v1")
        hub.faults.append(Fault("GET /_cdn", "rst", after=100))

Clients read HF_ENDPOINT when they are imported, so that what is tested runs in a process of its own, with
`hub.environment(home)`. The index is in memory, contents are files. No xet. The HTTP API is in mini_hub_api.py, its
transport in mini_hub_http.py.
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

LFS = (".safetensors", ".parquet", ".arrow", ".bin", ".npz", ".npy", ".tar", ".zip", ".gz", ".zst")


@dataclass
class Blob:
    """A file of a repository. `oid` is git's sha1: of the content, or of the LFS pointer if `pointer_size` is not 0."""

    oid: str
    size: int
    sha256: str  # also the name of the content on disk
    pointer_size: int = 0

    def lfs(self, key="oid"):
        """What the API says of an LFS file; nothing of others."""
        if not self.pointer_size:
            return {}
        return {"lfs": {key: self.sha256, "size": self.size, "pointerSize": self.pointer_size}}


@dataclass
class Commit:
    files: dict[str, Blob]
    parent: str | None
    title: str
    date: str


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)  # "main" or a tag -> commit


@dataclass
class Fault:
    """Strikes `times` requests whose "METHOD path" the regex `match` finds, after it let `skip` of them pass.

    kind: status | cut (closes after `after` bytes of the body) | rst (the same with a reset) | corrupt (flips a byte of
    the body) | lost (does the work, then closes without an answer) | delay (waits `after` seconds first).
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
    method: str
    path: str
    query: str
    range: str | None
    status: int | None = None  # None: no answer


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class MiniHub:
    """The server and what it stores. `log` has every request.

    `multipart` is the size above which LFS uploads come in parts. `steps` has what to do when "GET /_step/NAME" comes.
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
        """The environment of a process that knows no other Hub, with its own caches and no token."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        settings = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
        return {**kept, **settings, **quiet, "NO_PROXY": "*", **more}

    def create(self, repo_id, kind="datasets", private=False, gated=False):
        """Make a repository with its first commit."""
        repo = self.repos[kind, repo_id] = Repo(private, gated)
        attributes = "".join(f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in LFS).encode()
        self.add_commit(repo, "main", {".gitattributes": self.put(attributes)}, "initial commit")
        return repo

    def commit(self, repo_id, files, kind="datasets", tag=None):
        """Commit contents (path -> bytes) to main, beside what is there, without a client. Return the sha."""
        repo = self.repos[kind, repo_id]
        blobs = {path: self.put(data, self.is_lfs(path, len(data))) for path, data in files.items()}
        before = repo.commits[repo.refs["main"]].files
        commit = self.add_commit(repo, "main", before | blobs, "from the test")
        if tag:
            repo.refs[tag] = commit
        return commit

    def is_lfs(self, path, size):
        return path.endswith(LFS) or size > self.lfs_threshold

    def blob_path(self, name):
        return self.root / "blobs" / name

    def put(self, data, lfs=False):
        """Store a content."""
        sha = hashlib.sha256(data).hexdigest()
        self.blob_path(sha).write_bytes(data)
        return self.lfs_blob(sha) if lfs else Blob(git_sha1(data), len(data), sha)

    def lfs_blob(self, sha):
        """Return the file that a pointer to a stored content stands for."""
        size = self.blob_path(sha).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {size}\n".encode()
        return Blob(git_sha1(pointer), size, sha, len(pointer))

    def add_commit(self, repo, ref, files, title):
        parent = repo.refs.get(ref)
        date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        oid = hashlib.sha1(f"{parent}{title}{time.time_ns()}{sorted(files)}".encode()).hexdigest()
        repo.commits[oid] = Commit(files, parent, title, date)
        repo.refs[ref] = oid
        return oid

    def take_fault(self, request):
        """Return the fault that strikes "METHOD path" now, if any."""
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
        """Return, for every step that was named, the files whose content was asked for before the next one."""
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
