"""The Ray cluster that a run works on: how it is reached, and what it consists of."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vlmbench.errors import VlmbenchError

LOCAL_STORE_BYTES = 256 << 20
"""Object store of a cluster that a run starts: it takes parcels alone."""

CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster that is alive."""

    id: str
    host: str
    num_gpus: int
    num_cpus: int


def checked_address(text: str) -> str:
    """`auto`, `local` or HOST:PORT. Raises: VlmbenchError for anything else."""
    if text in ("auto", "local") or re.fullmatch(r"[^\s:/]+:\d{1,5}", text):
        return text
    raise VlmbenchError(
        f"--ray {text}: give auto (the cluster that this machine belongs to), local (a cluster of "
        "this machine alone), or HOST:PORT of the cluster's head"
    )


def module() -> Any:
    """Raises: VlmbenchError where ray is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise VlmbenchError(
            f"--ray needs the package ray ({error}): pip install -c constraints.txt -e '.[ray]'"
        ) from None
    return ray


class Cluster:
    """A connection; `close` ends it, and a cluster that it has started."""

    def __init__(self, address: str) -> None:
        """Raises: VlmbenchError where there is no such cluster."""
        self.ray = module()
        self._is_ours = not self.ray.is_initialized()
        if not self._is_ours:
            return
        if ":" in address:
            _check_head(address)
        options: dict[str, Any] = {"address": address, "log_to_driver": False}
        if address == "local":
            options |= {"include_dashboard": False, "object_store_memory": LOCAL_STORE_BYTES}
        try:
            with _signals_kept():
                self.ray.init(logging_level="ERROR", configure_logging=False, **options)
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise VlmbenchError(
                f"cannot work on the Ray cluster {address!r}: {reason[:300]}; start one here by "
                "`ray start --head`, join one by `ray start --address HOST:PORT`, or give --ray "
                "local"
            ) from None

    def nodes(self) -> list[Node]:
        """The machines that are alive."""
        return [
            Node(
                id=node["NodeID"],
                host=node["NodeManagerHostname"],
                num_gpus=int(node["Resources"].get("GPU", 0)),
                num_cpus=int(node["Resources"].get("CPU", 0)),
            )
            for node in self.ray.nodes()
            if node["Alive"]
        ]

    def place(self, node: Node) -> Any:
        """Scheduling strategy of an actor that is to be on that node, or nowhere."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node.id, soft=False)

    def close(self) -> None:
        if self._is_ours:
            with _signals_kept():
                self.ray.shutdown()


def _check_head(address: str) -> None:
    """Ray itself would try for minutes. Raises: VlmbenchError where nobody listens."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise VlmbenchError(
            f"no Ray cluster answers at {address}: {error}; its head is started by `ray start "
            "--head --port PORT`"
        ) from None


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself, which is to stop the run as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
