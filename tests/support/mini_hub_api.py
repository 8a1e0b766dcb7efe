"""The HTTP API of the loopback Hub in mini_hub.py: the routes that the real clients use, and no others."""

import base64
import hashlib
import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import mini_hub
import yaml
from mini_hub_http import AnswerError, Transport, route

COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
SPACE_RULES = {  # the Hub's rules for the metadata of a Space
    "title": lambda value: isinstance(value, str) and value,
    "emoji": lambda value: isinstance(value, str) and len(value) <= 2 and ord(value[0]) > 0x2000,
    "colorFrom": COLOURS.__contains__,
    "colorTo": COLOURS.__contains__,
    "sdk": ("gradio", "streamlit", "docker", "static").__contains__,
    "app_file": lambda value: isinstance(value, str),
    "license": lambda value: isinstance(value, (str, list)),
    "datasets": lambda value: isinstance(value, list) and all(re.fullmatch(REPO[1:-1], own) for own in value),
    "tags": lambda value: isinstance(value, list),
    "short_description": lambda value: isinstance(value, str) and len(value) <= 60,
}
SHA, KIND, REPO, REV = r"([0-9a-f]{64})", r"(models|datasets|spaces)", r"([^/]+/[^/]+)", r"([^/]+)"


def metadata_errors(kind, readme):
    """Return what is wrong with the metadata of the README.md of a repository."""
    if kind != "space":
        return []
    found = re.match(r"---\n(.*?)\n---\n", readme, re.DOTALL)
    data = yaml.safe_load(found[1]) if found else {}
    wrong = [f'"{name}" is invalid' for name, rule in SPACE_RULES.items() if name in data and not rule(data[name])]
    return wrong if "sdk" in data else [*wrong, '"sdk" is required']


class Handler(Transport):
    """Answers requests according to the repositories of `hub`."""

    def _user(self, required=False):
        """Return the user of the request's token, None without one. Raises AnswerError for an invalid token."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise AnswerError(401, "Invalid credentials in Authorization header")
        if required and not token:
            raise AnswerError(401, "Invalid username or password.")
        return self.hub.tokens.get(token)

    def _repo(self, kind, repo_id, rev=None, write=False):
        """Return a repository that the user may access, and the hash and the commit of a revision."""
        user, repo = self._user(write), self.hub.repos.get((kind or "models", repo_id))
        if repo is None or (repo.private and user is None):
            raise AnswerError(404 if user else 401, "Repository not found", "RepoNotFound")
        oid = repo.refs.get(rev or "main") or (rev if rev in repo.commits else None)
        if oid is None:
            raise AnswerError(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        return repo, oid, repo.commits[oid]

    @route("GET", "/api/whoami-v2")
    def whoami(self):
        self._json({"type": "user", "name": self._user(True), "orgs": [], "auth": {"type": "access_token"}})

    @route("POST", "/api/repos/create")
    def create_repo(self):
        request, user = json.loads(self.body), self._user(True)
        repo_id, kind = f"{request.get('organization') or user}/{request['name']}", request.get("type", "model") + "s"
        url = f"{self.hub.url}/{'' if kind == 'models' else kind + '/'}{repo_id}"
        with self.hub.lock:
            if (kind, repo_id) in self.hub.repos:
                return self._json({"error": "You already created this repo", "url": url}, 409)
            if kind == "spaces" and not SPACE_RULES["sdk"](request.get("sdk")):
                raise AnswerError(400, "sdk: must be one of gradio, streamlit, docker, static")
            private = request.get("visibility") == "private" or request.get("private") is True
            self.hub.create(repo_id, kind, private)
        self._json({"url": url, "id": repo_id, "name": repo_id})

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self):
        request = json.loads(self.body)
        errors = metadata_errors(request["repoType"], request["content"])
        answer = {"errors": [{"message": message} for message in errors], "warnings": []}
        self._json(answer, 400 if errors else 200)

    @route("POST", f"/api/{KIND}/{REPO}/preupload/{REV}")
    def preupload(self, kind, repo_id, rev):
        files, answer = self._repo(kind, repo_id, rev, write=True)[2].files, []
        for file in json.loads(self.body)["files"]:
            path, old = file["path"], files.get(file["path"])
            mode = "lfs" if self.hub.is_lfs(path, file["size"]) else "regular"
            oid = old and (old.sha256 if old.pointer_size else old.oid)
            answer.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json({"files": answer})

    @route("POST", rf"/(?:(datasets|spaces)/)?{REPO}\.git/info/lfs/objects/batch")
    def lfs_batch(self, kind, repo_id):
        self._repo(kind, repo_id, write=True)
        objects = [self._lfs_object(item["oid"], item["size"]) for item in json.loads(self.body)["objects"]]
        self._json({"transfer": "basic", "objects": objects})

    def _lfs_object(self, oid, size):
        answer, href, part = {"oid": oid, "size": size}, f"{self.hub.url}/_lfs/{oid}", self.hub.multipart
        if self.hub.blob_path(oid).exists():
            return answer  # without "actions" the client does not upload it
        upload, header = href, {}
        if part and size > part:
            upload, numbers = href + "/complete", range(1, -(-size // part) + 1)
            header = {"chunk_size": str(part), **{str(number): f"{href}/part/{number}" for number in numbers}}
        actions = {"upload": {"href": upload, "header": header}, "verify": {"href": href + "/verify"}}
        return {**answer, "actions": actions}

    @route("PUT", rf"/_lfs/{SHA}(?:/part/(\d+))?")
    def lfs_put(self, oid, part):
        if part is None and hashlib.sha256(self.body).hexdigest() != oid:
            raise AnswerError(400, "sha256 mismatch")
        self.hub.blob_path(oid if part is None else f"{oid}.{part}").write_bytes(self.body)
        self._send(200, {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'}, 0, [])

    @route("POST", rf"/_lfs/{SHA}/(complete|verify)")
    def lfs_finish(self, oid, action):
        request, path = json.loads(self.body), self.hub.blob_path(oid)
        if action == "complete":
            parts = (self.hub.blob_path(f"{oid}.{part['partNumber']}") for part in request["parts"])
            if self.hub.put(b"".join(part.read_bytes() for part in parts)).sha256 != oid:
                raise AnswerError(400, "sha256 mismatch")
        elif not path.exists() or path.stat().st_size != request["size"]:
            raise AnswerError(404, "object missing")
        self._json({})

    @route("POST", f"/api/{KIND}/{REPO}/commit/{REV}")
    def commit(self, kind, repo_id, rev):
        header, *operations = [json.loads(line) for line in self.body.splitlines() if line]
        with self.hub.lock:  # all operations or none
            repo, head, previous = self._repo(kind, repo_id, rev, write=True)
            if not head.startswith(header["value"].get("parentCommit") or ""):
                raise AnswerError(412, "A commit has happened since. Please refresh and try again.")
            files = dict(previous.files)
            for operation in operations:
                files = self._operate(kind.removesuffix("s"), files, operation["key"], operation["value"])
            oid = self.hub.add_commit(repo, rev, files, header["value"]["summary"])
        self._json({"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{kind}/{repo_id}/commit/{oid}"})

    def _operate(self, kind, files, key, value):
        """Return the files after one operation of a commit."""
        path = value["path"]
        if key == "file":
            if path == "README.md" and metadata_errors(kind, base64.b64decode(value["content"]).decode()):
                raise AnswerError(400, "Invalid metadata in README.md")
            return files | {path: self.hub.put(base64.b64decode(value["content"]))}
        if key == "lfsFile":
            if not self.hub.blob_path(value["oid"]).exists():
                raise AnswerError(400, f"LFS pointer points to a file that does not exist: {path}")
            return files | {path: self.hub.lfs_blob(value["oid"])}
        if key == "deletedFile" and path not in files:
            raise AnswerError(404, "A file with this name doesn't exist", "EntryNotFound")
        folder = path.rstrip("/") + "/"
        gone = {path} if key == "deletedFile" else {name for name in files if name.startswith(folder)}
        return {name: blob for name, blob in files.items() if name not in gone}

    @route("POST", f"/api/{KIND}/{REPO}/tag/{REV}")
    def tag(self, kind, repo_id, rev):
        name, (repo, oid, _) = json.loads(self.body)["tag"], self._repo(kind, repo_id, rev, write=True)
        if name in repo.refs:
            raise AnswerError(409, "Tag reference exists already")
        repo.refs[name] = oid
        self._json({})

    @route("PUT", f"/api/{KIND}/{REPO}/settings")
    def settings(self, kind, repo_id):
        request, (repo, _, _) = json.loads(self.body), self._repo(kind, repo_id, write=True)
        repo.private = request.get("visibility") == "private" or request.get("private") is True
        self._json({})

    @route("GET", f"/api/{KIND}/{REPO}/commits/{REV}")
    def commits(self, kind, repo_id, rev):
        repo, oid, _ = self._repo(kind, repo_id, rev)
        answer = []
        while oid is not None:
            commit = repo.commits[oid]
            answer.append({"id": oid, "title": commit.title, "message": "", "date": commit.date, "authors": []})
            oid = commit.parent
        self._json(answer)

    @route("GET", f"/api/{KIND}/{REPO}/refs")
    def refs(self, kind, repo_id):
        def ref(name, folder):
            return {"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": refs[name]}

        refs = self._repo(kind, repo_id)[0].refs
        tags = [ref(name, "tags") for name in refs if name != "main"]
        self._json({"branches": [ref("main", "heads")], "converts": [], "tags": tags})

    @route("GET", f"/api/{KIND}/{REPO}(?:/revision/{REV})?")
    def info(self, kind, repo_id, rev):
        repo, oid, commit = self._repo(kind, repo_id, rev)
        siblings = []
        for path, blob in sorted(commit.files.items()):
            more = {"size": blob.size, "blobId": blob.oid, **blob.lfs("sha256")} if self.query.get("blobs") else {}
            siblings.append({"rfilename": path, **more})
        about = {"id": repo_id, "author": repo_id.split("/")[0], "sha": oid, "tags": [], "lastModified": commit.date}
        self._json({**about, "private": repo.private, "gated": repo.gated and "auto", "siblings": siblings})

    def _entries(self, oid, commit, expand):
        """Return the files and directories of a commit, sorted by path."""
        wanted = str(expand).lower() in ("1", "true")
        last = {"lastCommit": {"id": oid, "title": commit.title, "date": commit.date}} if wanted else {}
        folders = {folder.as_posix() for path in commit.files for folder in Path(path).parents if folder.name}
        entries = [
            {"type": "directory", "path": path, "oid": mini_hub.git_sha1(path.encode()), "size": 0, **last}
            for path in folders
        ]
        for path, blob in commit.files.items():
            entries.append({"type": "file", "path": path, "oid": blob.oid, "size": blob.size, **blob.lfs(), **last})
        return sorted(entries, key=lambda entry: entry["path"])

    @route("GET", f"/api/{KIND}/{REPO}/tree/{REV}(?:/(.*))?")
    def tree(self, kind, repo_id, rev, path):
        _, oid, commit = self._repo(kind, repo_id, rev)
        folder = path.strip("/") + "/" if path else ""
        deep = self.query.get("recursive", "").lower() in ("1", "true")
        entries = [
            entry
            for entry in self._entries(oid, commit, self.query.get("expand"))
            if entry["path"].startswith(folder) and (deep or "/" not in entry["path"][len(folder) :])
        ]
        if path and not entries:
            raise AnswerError(404, f"{path} does not exist on {rev}", "EntryNotFound", {"X-Repo-Commit": oid})
        start, headers = int(self.query.get("cursor", 0)), {}
        end = start + min(int(self.query.get("limit", self.hub.page)), self.hub.page)
        if end < len(entries):
            rest = "".join(f"{name}={value}&" for name, value in self.query.items() if name != "cursor")
            headers["Link"] = f'<{self.hub.url}{urlsplit(self.path).path}?{rest}cursor={end}>; rel="next"'
        self._json(entries[start:end], headers=headers)

    @route("POST", f"/api/{KIND}/{REPO}/paths-info/{REV}")
    def paths_info(self, kind, repo_id, rev):
        _, oid, commit = self._repo(kind, repo_id, rev)
        if self.body.startswith(b"{"):
            request = json.loads(self.body)
        else:  # the client sends a form
            form = parse_qs(self.body.decode())
            request = {"paths": form["paths"], "expand": form.get("expand", [""])[0]}
        wanted = {path.strip("/") for path in request["paths"]}
        self._json([entry for entry in self._entries(oid, commit, request.get("expand")) if entry["path"] in wanted])

    @route("GET", rf"/(?:(datasets|spaces)/)?{REPO}/resolve/{REV}/(.+)")
    def resolve(self, kind, repo_id, rev, path):
        repo, oid, commit = self._repo(kind, repo_id, rev)
        if repo.gated and self._user() is None:
            raise AnswerError(401, "Access to this dataset is restricted.", "GatedRepo")
        headers, blob = {"X-Repo-Commit": oid, "Accept-Ranges": "bytes"}, commit.files.get(path)
        if blob is None:
            raise AnswerError(404, "Entry not found", "EntryNotFound", headers)
        if blob.pointer_size:
            headers |= {"X-Linked-Size": blob.size, "X-Linked-Etag": f'"{blob.sha256}"'}
            if self.hub.cdn_redirect:  # another origin, to which the client must not send its token
                headers["Location"] = f"{self.hub.url.replace('127.0.0.1', 'localhost')}/_cdn/{blob.sha256}"
                return self._send(302, headers, 0, [])
        self._file(blob.sha256, {**headers, "ETag": f'"{blob.sha256 if blob.pointer_size else blob.oid}"'})

    @route("GET", f"/_cdn/{SHA}")
    def cdn(self, sha):
        if self.headers.get("Authorization"):
            raise AnswerError(400, "token leaked to the CDN")
        self._file(sha, {"ETag": f'"{sha[:32]}"', "Accept-Ranges": "bytes"})

    @route("GET", "/_step/(.+)")
    def step(self, name):
        """Call the function for a step of the test. The real Hub has no such route."""
        self.hub.steps.get(name, lambda: None)()
        self._json({})
