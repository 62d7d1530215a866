"""A small Hugging Face Hub on loopback, for the real client libraries to talk to.

It answers what `huggingface_hub`, `transformers` and `datasets` ask for when they load a model or a data set: descriptions,
file lists, and files with the headers that the client's cache lives by. Nothing else is there: an unknown path is an error 404
and stands in `requests`, where a test can see it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request: method, path without query, and what stood in its Authorization header."""

    method: str
    path: str
    authorization: str | None


@dataclass
class Repository:
    """A model or data set: its files by path. The commit is a hash of them, as in git."""

    name: str
    kind: str
    files: dict[str, bytes]
    private: bool = False

    @property
    def commit(self) -> str:
        digest = hashlib.sha1()
        for path in sorted(self.files):
            digest.update(path.encode() + b"\0" + self.files[path] + b"\0")
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        return {
            "id": self.name,
            "_id": self.commit[:24],
            "sha": self.commit,
            "private": self.private,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "lastModified": "2024-01-01T00:00:00.000Z",
            "createdAt": "2024-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": path, "size": len(content)} for path, content in sorted(self.files.items())],
            "cardData": {"license": found[1]} if (found := re.search(r"license: (\S+)", self.card)) else {},
        }

    @property
    def card(self) -> str:
        return self.files.get("README.md", b"").decode()

    def entries(self, under: str = "", recursive: bool = True) -> list[dict[str, Any]]:
        """Files and folders below `under`, as the Hub lists a tree."""
        start = f"{under}/" if under else ""
        found: dict[str, dict[str, Any]] = {}
        for path, content in sorted(self.files.items()):
            if not path.startswith(start):
                continue
            steps = path[len(start) :].split("/")
            for depth in range(1, len(steps)):
                folder = start + "/".join(steps[:depth])
                found[folder] = {"type": "directory", "oid": hashlib.sha1(folder.encode()).hexdigest(), "size": 0, "path": folder}
            found[path] = {"type": "file", "oid": etag(content), "size": len(content), "path": path}
        return [entry for path, entry in found.items() if recursive or "/" not in path[len(start) :]]


def etag(content: bytes) -> str:
    """The name of a file's content: git's for a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class HubStandIn:
    """The server. Use it as a context manager; `url` is what HF_ENDPOINT must be.

    requests  every request so far, in order
    """

    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    requests: list[Asked] = field(default_factory=list)

    def add(self, name: str, files: dict[str, bytes], kind: str = "models") -> Repository:
        """Put a repository on the Hub; kind is "models" or "datasets"."""
        self.repositories[kind, name] = repository = Repository(name, kind, dict(files))
        return repository

    def __enter__(self) -> HubStandIn:
        hub = self

        class Handler(_Handler):
            standin = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def asked_for(self, part: str) -> list[Asked]:
        return [asked for asked in self.requests if part in asked.path]


class _Handler(BaseHTTPRequestHandler):
    standin: HubStandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Tests read `requests`; the terminal stays quiet."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        self.standin.requests.append(Asked(self.command, path, self.headers.get("Authorization")))
        if path == "/api/repos/create":
            self.create(json.loads(body))
        elif path == "/api/validate-yaml":
            self.send_json({"warnings": [], "errors": []})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            wanted = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in json.loads(body)["files"]]
            self.on_repository("models", match[1], None, lambda repository: self.send_json({"files": wanted}))
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            self.on_repository("models", match[1], None, lambda repository: self.commit(repository, body))
        elif match := re.fullmatch(r"/api/(models|datasets)/((?:[^/]+/)?[^/]+)(?:/revision/([^/]+))?", path):
            self.on_repository(match[1], match[2], match[3], lambda repository: self.send_json(repository.describe()))
        elif match := re.fullmatch(r"/api/(models|datasets)/((?:[^/]+/)?[^/]+)/tree/([^/]+)/?(.*)", path):
            recursive = "recursive=true" in parts.query.lower()
            self.on_repository(match[1], match[2], match[3], lambda repository: self.send_tree(repository, match[4], recursive))
        elif match := re.fullmatch(r"/api/(models|datasets)/((?:[^/]+/)?[^/]+)/paths-info/([^/]+)", path):
            self.on_repository(match[1], match[2], match[3], lambda repository: self.send_paths(repository, body))
        elif match := re.fullmatch(r"/(datasets/)?((?:[^/]+/)?[^/]+)/resolve/([^/]+)/(.+)", path):
            kind = "datasets" if match[1] else "models"
            self.on_repository(kind, match[2], match[3], lambda repository: self.send_file(repository, match[4]))
        else:
            self.send_error_code(404, None, "Not Found")

    def create(self, asked: dict[str, Any]) -> None:
        """A new, empty repository, for somebody with a token."""
        if not self.headers.get("Authorization"):
            self.send_error_code(401, None, "Invalid username or password.")
            return
        name = f"{asked.get('organization') or 'someone'}/{asked['name']}"
        self.standin.repositories.setdefault(
            ("models", name), Repository(name, "models", {}, asked.get("visibility") == "private" or bool(asked.get("private")))
        )
        self.send_json({"url": f"{self.standin.url}/{name}", "name": name, "id": "1"})

    def commit(self, repository: Repository, body: bytes) -> None:
        """Lines of JSON: a header, then the files, each whole."""
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                repository.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        self.send_json({"commitUrl": f"{self.standin.url}/{repository.name}/commit/{repository.commit}", "commitOid": repository.commit})

    def on_repository(self, kind: str, name: str, revision: str | None, then: Any) -> None:
        repository = self.standin.repositories.get((kind, name))
        if repository is None:
            # The Hub does not tell strangers whether a name is free or hidden.
            self.send_error_code(401, "RepoNotFound", "Invalid username or password.")
        elif revision not in (None, "main", repository.commit):
            self.send_error_code(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            then(repository)

    def send_tree(self, repository: Repository, under: str, recursive: bool) -> None:
        entries = repository.entries(under, recursive)
        if under and not entries:
            self.send_error_code(404, "EntryNotFound", f"{under} does not exist")
        else:
            self.send_json(entries)

    def send_paths(self, repository: Repository, body: bytes) -> None:
        """Asked with a form or with JSON; answered with the entries that exist."""
        if (self.headers.get("Content-Type") or "").startswith("application/json"):
            wanted = json.loads(body)["paths"]
        else:
            wanted = [unquote(pair[6:].replace("+", " ")) for pair in body.decode().split("&") if pair.startswith("paths=")]
        self.send_json([entry for entry in repository.entries() if entry["path"] in wanted])

    def send_file(self, repository: Repository, path: str) -> None:
        content = repository.files.get(path)
        if content is None:
            self.send_error_code(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repository.commit})
            return
        headers = {"ETag": f'"{etag(content)}"', "X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        status = 200
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(asked[1]), int(asked[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{min(last, len(content) - 1)}/{len(content)}"
            status, content = 206, content[first : last + 1]
        self.send(status, content, "application/octet-stream", headers)

    def send_json(self, value: Any) -> None:
        self.send(200, json.dumps(value).encode(), "application/json", {})

    def send_error_code(self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> None:
        named = {"X-Error-Code": code} if code else {}
        body = json.dumps({"error": message}).encode()
        self.send(status, body, "application/json", {**named, "X-Error-Message": message, **(headers or {})})

    def send(self, status: int, content: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
