"""Ray clusters of several nodes on this machine, in a network namespace of their own.

Ray's ports bind to every interface, so nothing of it may start outside of one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NODES = '''
"""Starts and ends nodes as lines on stdin say; a line of JSON on stdout for each."""

import json
import os
import signal
import sys

import ray
from ray.cluster_utils import Cluster

STORE_BYTES = 80 << 20  # what Ray takes at least, about

nodes = []
cluster = Cluster()
for line in sys.stdin:
    what, _, rest = line.strip().partition(" ")
    if what == "add":
        options = {"node_ip_address": "127.0.0.1", "object_store_memory": STORE_BYTES}
        if not nodes:
            options["include_dashboard"] = False
        nodes.append(cluster.add_node(num_cpus=int(rest), **options))
        said = {"address": cluster.address}
    elif what == "remove":
        cluster.remove_node(nodes[int(rest)], allow_graceful=False)
        said = {}
    elif what == "kill":
        [raylet] = nodes[int(rest)].all_processes["raylet"]
        raylet.process.kill()
        said = {}
    print(json.dumps(said), flush=True)
cluster.shutdown()
'''


UNSHARED = ("unshare", "--net")
IN_NAMESPACE = 'ip link set lo up; exec "$@"'


class Cluster:
    """A head that takes no worker, and the nodes that a test adds."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [*UNSHARED, "sh", "-c", IN_NAMESPACE, "sh", sys.executable, "-c", NODES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment | {"RAY_raylet_start_wait_time_s": "180"},  # on a busy machine
            start_new_session=True,
        )
        self.inside = ("nsenter", "--net", f"--target={self._process.pid}")
        self._num_nodes = 0
        self.address = self._say("add 0")["address"]

    def add(self, num_cpus: int = 1) -> int:
        """The number of the new node."""
        self._say(f"add {num_cpus}")
        self._num_nodes += 1
        return self._num_nodes

    def remove(self, node: int) -> None:
        """Kill all of the node's processes, with no grace."""
        self._say(f"remove {node}")

    def kill_raylet(self, node: int) -> None:
        self._say(f"kill {node}")

    def pids(self, name: str) -> list[int]:
        """Processes of the namespace with that in their command line: relays or their workers."""
        own = Path(f"/proc/{self._process.pid}/ns/net").readlink()
        found: list[int] = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if name.encode() in (folder / "cmdline").read_bytes():
                    found += [int(folder.name)] if (folder / "ns/net").readlink() == own else []
            except OSError:
                continue
        return found

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        finally:
            for pid in self.pids(""):
                os.kill(pid, signal.SIGKILL)

    def _say(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError("the cluster's nodes do not start")
        said: dict[str, Any] = json.loads(line)
        return said


def why_not() -> str:
    """Why no cluster can be started here; empty: it can."""
    if importlib.util.find_spec("ray") is None:
        return "ray is not installed"
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return "unshare, nsenter or ip is not installed"
    if subprocess.run([*UNSHARED, "true"], capture_output=True).returncode:
        return "no network namespace can be made here (it needs root)"
    return ""


@pytest.fixture(scope="module")
def cluster(started: Any) -> Iterator[Cluster]:
    """A cluster without workers; the module's runs are started inside of its namespace."""
    if reason := why_not():
        pytest.skip(reason)
    found = Cluster(started.environment)
    started.prefix = found.inside
    yield found
    found.close()


@pytest.fixture
def on_ray(started: Any, cluster: Cluster) -> Callable[..., tuple[int, str, str]]:
    """A function: run folder and flags -> exit code, stdout and stderr of a run on the cluster."""

    def run(out: str, *flags: str, **environment: Any) -> tuple[int, str, str]:
        found: tuple[int, str, str] = started.finish(
            out, "--ray", cluster.address, *flags, **environment
        )
        return found

    return run
