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
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

ip, nodes = sys.argv[1], []
cluster = Cluster()
print("{}", flush=True)
for line in sys.stdin:
    what, _, rest = line.strip().partition(" ")
    options = {"node_ip_address": ip, "object_store_memory": STORE_BYTES}
    if not nodes:
        options["include_dashboard"] = False
    if what == "add":
        nodes.append(cluster.add_node(num_cpus=int(rest), **options))
        said = {"address": cluster.address}
    elif what == "bare":
        options["env_vars"] = {"PYTHONPATH": rest}
        nodes.append(cluster.add_node(num_cpus=1, **options))
        said = {}
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


OWN_NAMESPACE = Path("/proc/self/ns/net").readlink() if Path("/proc/self/ns").exists() else Path()
UNSHARED = ("unshare", "--net")
IN_NAMESPACE = 'ip link set lo up; exec "$@"'


class Cluster:
    """A head that takes no worker, and the nodes that a test adds."""

    def __init__(self, given: dict[str, str], ip: str = "127.0.0.1") -> None:
        """`given`: the environment of the nodes and of their workers; `ip`: of this machine."""
        self._files = tempfile.mkdtemp(prefix="ray-")  # short: sockets are in it
        environment = given | {
            "RAY_TMPDIR": self._files,
            "RAY_raylet_start_wait_time_s": "180",  # on a busy machine
            "HOME": self._files,  # Ray writes a token
        }
        self._process = subprocess.Popen(
            [*UNSHARED, "sh", "-c", IN_NAMESPACE, "sh", sys.executable, "-c", NODES, ip],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self.environment = environment
        self.inside = ("nsenter", "--net", f"--target={self._process.pid}")
        self._num_nodes = 0
        self._namespace: Path | None = None
        self._answer()
        self._namespace = Path(f"/proc/{self._process.pid}/ns/net").readlink()
        if ip != "127.0.0.1":
            self._run("ip", "addr", "add", f"{ip}/32", "dev", "lo")
        self.ip = ip
        self.address = self._say("add 0")["address"]

    def add(self, num_cpus: int = 1) -> int:
        """The number of the new node."""
        self._say(f"add {num_cpus}")
        self._num_nodes += 1
        return self._num_nodes

    def add_bare(self) -> None:
        """A node without the backend of the tests."""
        self._say(f"bare {os.environ.get('PYTHONPATH', '')}")
        self._num_nodes += 1

    def remove(self, node: int) -> None:
        """Kill all of the node's processes, with no grace."""
        self._say(f"remove {node}")

    def kill_raylet(self, node: int) -> None:
        self._say(f"kill {node}")

    def workers(self) -> list[int]:
        """Worker processes, without those that are gone and not yet buried."""
        return self.pids("vlmbench.runs.executors.worker")

    def relays(self) -> list[int]:
        """The actors' processes."""
        return self.pids("ray::Relay")

    def pids(self, name: str) -> list[int]:
        """Processes of the namespace with that in their command line."""
        return pids_in(self._namespace, name) if self._namespace is not None else []

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=30)
        finally:
            for pid in self.pids(""):
                os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self._files, ignore_errors=True)

    def _say(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError("the cluster's nodes do not start")
        said: dict[str, Any] = json.loads(line)
        return said

    @contextmanager
    def far_node(self, ip: str) -> Iterator[FarNode]:
        """A node in a namespace of its own, linked with the cluster's."""
        with machine() as pid:
            far = FarNode(pid)
            far.link(self._process.pid, self.ip, ip)
            options = ["--address", self.address, "--node-ip-address", ip, "--num-cpus", "1"]
            options += ["--object-store-memory", str(80 << 20), "--block"]
            raylet = far.popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *options],
                self.environment,
            )
            yield far
            os.killpg(raylet.pid, signal.SIGKILL)
            raylet.wait()

    def _run(self, *command: str) -> None:
        subprocess.run([*self.inside, *command], check=True)


@contextmanager
def machine() -> Iterator[int]:
    """A network namespace, by a process in it; what is left in it at the end is killed."""
    with subprocess.Popen(
        [*UNSHARED, "sh", "-c", IN_NAMESPACE, "sh", "sleep", "infinity"], start_new_session=True
    ) as holder:
        namespace = OWN_NAMESPACE
        while namespace == OWN_NAMESPACE:
            time.sleep(0.01)  # unshare has only begun
            namespace = Path(f"/proc/{holder.pid}/ns/net").readlink()
        try:
            yield holder.pid
        finally:
            for pid in pids_in(namespace, ""):
                os.kill(pid, signal.SIGKILL)


def pids_in(namespace: Path, name: str) -> list[int]:
    """Processes of a network namespace with that in their command line."""
    assert namespace != OWN_NAMESPACE, "the processes of all others"
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if name.encode() in (folder / "cmdline").read_bytes():
                is_inside = (folder / "ns/net").readlink() == namespace
                found += [int(folder.name)] if is_inside else []
        except OSError:
            continue
    return found


class FarNode:
    """A second machine: a network namespace with a link that can be cut."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._inside = ("nsenter", "--net", f"--target={pid}")

    def link(self, other: int, other_ip: str, ip: str) -> None:
        near, far = ["netns", str(other)], ["netns", str(self._pid)]
        pair = ["ip", "link", "add", "near0", *near, "type", "veth", "peer", "name", "far0", *far]
        subprocess.run(pair, check=True)
        for pid, name, own_ip, peer in (
            (other, "near0", other_ip, ip),
            (self._pid, "far0", ip, other_ip),
        ):
            inside = ["nsenter", "--net", f"--target={pid}"]
            for command in (
                f"addr add {own_ip} peer {peer} dev {name}",
                f"link set {name} up",
            ):
                subprocess.run([*inside, "ip", *command.split()], check=True)

    def popen(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._inside, *command],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def cut(self) -> None:
        subprocess.run([*self._inside, "ip", "link", "set", "far0", "down"], check=True)

    def mend(self) -> None:
        subprocess.run([*self._inside, "ip", "link", "set", "far0", "up"], check=True)


def why_not() -> str:
    """Why no cluster can be started here; empty: it can."""
    if importlib.util.find_spec("ray") is None:
        return "ray is not installed"
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return "unshare, nsenter or ip is not installed"
    if subprocess.run([*UNSHARED, "true"], capture_output=True).returncode:
        return "no network namespace can be made here (it needs root)"
    return ""


@pytest.fixture
def in_machine() -> Iterator[tuple[str, ...]]:
    """Command that starts a command in a network namespace of its own."""
    if reason := why_not():
        pytest.skip(reason)
    with machine() as pid:
        yield ("nsenter", "--net", f"--target={pid}")


@pytest.fixture(scope="module")
def clusters(started: Any) -> Iterator[Callable[..., Cluster]]:
    """A function that starts a cluster without workers, in a namespace of its own."""
    if reason := why_not():
        pytest.skip(reason)
    environment, found = started.environment, list[Cluster]()

    def start(*ip: str) -> Cluster:
        found.append(Cluster(environment, *ip))
        return found[-1]

    yield start
    for cluster in found:
        cluster.close()


@pytest.fixture(scope="module")
def cluster(started: Any, clusters: Callable[..., Cluster]) -> Cluster:
    """A cluster without workers; the module's runs are started inside of its namespace."""
    found = clusters()
    started.prefix, started.environment = found.inside, found.environment
    return found
