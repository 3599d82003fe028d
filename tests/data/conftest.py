"""Rows of copies, and a server that speaks as much of the hub's protocol as loading takes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from vlmbench.data import splits
from vlmbench.data.rows import Rows
from vlmbench.task import loading


@dataclass
class Repository:
    commit: str
    files: dict[str, bytes]
    gated: bool = False


@dataclass
class FakeHub:
    """Repositories by id and plain files by path; `requests` lists what was asked for."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    plain_files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    cut_off: bool = False
    """Ends every file halfway."""

    def add(self, id: str, folder: Path, commit: str, *, gated: bool = False) -> None:
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self.repositories[id] = Repository(commit, files, gated)

    def downloads(self) -> list[str]:
        """Files that were asked for, less "resolve" and what stands before it."""
        gets = (r.removeprefix("GET ") for r in self.requests if r.startswith("GET "))
        return sorted(path.split("/", 6)[-1] for path in gets if "/resolve/" in path)

    def answer(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        if path in self.plain_files:
            return 200, {}, self.plain_files[path]
        parts = path.strip("/").split("/")
        is_api = parts[0] == "api"
        id = "/".join(parts[2:4] if is_api else parts[1:3])
        repository = self.repositories.get(id)
        if repository is None:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        kind, revision, *rest = parts[4:] if is_api else parts[3:]
        if revision not in ("main", repository.commit):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if kind == "revision":
            return 200, {}, _json({"id": id, "sha": repository.commit, "siblings": []})
        if kind == "tree":
            return 200, {}, _json([_entry(p, b) for p, b in repository.files.items()])
        if repository.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        content = repository.files.get("/".join(rest))
        if content is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        digest = hashlib.sha1(content).hexdigest()
        return 200, {"ETag": f'"{digest}"', "X-Repo-Commit": repository.commit}, content


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _entry(path: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": digest}


@pytest.fixture
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            status, headers, body = hub.answer(path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                is_file = "/api/" not in path
                self.wfile.write(body[: len(body) // 2] if hub.cut_off and is_file else body)

        do_HEAD = do_GET  # the name that http.server calls

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


LOAD = """
import sys
from vlmbench.cli.main import main
from vlmbench.data import splits

splits.fetch = lambda task, split, force: splits.load(task, split)
sys.exit(main(["fetch", *sys.argv[2:]]))
"""


@pytest.fixture
def vlmbench(fake_hub: FakeHub, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function: arguments -> the command's result, run against the fake hub with its own cache.

    In a process of its own, as the libraries read the hub's address when they are imported. Besides
    the real commands there is `load TASK --tasks-dir DIR`, which prints what a run would read.
    """

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        program = ["-c", LOAD] if arguments[0] == "load" else ["-m", "vlmbench"]
        settings = {
            "HF_ENDPOINT": fake_hub.address,
            "HF_HOME": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": "0",
            "HF_DATASETS_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
        }
        return subprocess.run(
            [sys.executable, *program, *map(str, arguments)],
            env=os.environ | settings | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def load(hub_copy: Callable[..., Path]) -> Callable[[str], Rows]:
    """A function: a task's name -> the rows of its first split."""

    def loaded(name: str) -> Rows:
        split = loading.find(name).splits[0]
        return splits.load(name, split, hub_copy(name))

    return loaded
