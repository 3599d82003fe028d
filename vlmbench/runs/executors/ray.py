"""Workers on a Ray cluster, whose nodes come and go."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vlmbench.backends import registry
from vlmbench.runs.dispatch import Lease
from vlmbench.runs.executors import worker as child
from vlmbench.runs.executors.child import End, Reader, Taken
from vlmbench.runs.executors.opening import Opening
from vlmbench.runs.executors.packing import Packing
from vlmbench.runs.executors.protocol import Event, Joined, Lost, Mistake, Noticed
from vlmbench.runs.executors.ray_cluster import Cluster, Node
from vlmbench.runs.executors.relay import Relay
from vlmbench.runs.job import lease_to_json

Kind = Literal["GPU", "CPU"]
"""What a worker takes of its node, one of it."""

MAX_FALSE_STARTS = 3
"""Workers of a node that die in a row before they join; then the node is left alone."""

LOOK_S = 1.0
"""How often the cluster's nodes are looked at."""

PATIENCE_S = 60.0
"""A run without any worker waits so long for a node to come."""

GOODBYE_S = 60.0
"""As for local workers."""

PACKING_S = 0.01
"""How often finished parcels are looked for, while some are being packed."""

NUM_THREADS = 3
"""Of an actor: one hands messages out, the others take them."""

UNEASY_S = 30.0
"""Without a worker for so long, the user is told what the run waits for."""


@dataclass(slots=True, eq=False)
class _Worker:
    name: str
    node: Node
    actor: Any
    stream: Any
    """Of the relay's messages."""

    reader: Reader
    has_joined: bool = False
    parcel: Any = None
    """The parcel that is on its way; it is in the object store as long as this refers to it."""


class RayWorkers:
    """An `Executor` of actors, one for each GPU or CPU of each node, also of those that come late.

    Ray starts none of them again, nor asks it anything twice: what is lost is the driver's to hand
    out again. A node on which workers find a mistake or die before they join is left alone.
    """

    def __init__(
        self,
        opening: Opening,
        cluster: Cluster,
        *,
        kind: Kind | None,
        most: int | None,
        packing: Packing | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`kind` None: GPUs where the cluster has any, else CPUs. `most`: workers; None: no limit.

        `packing`: makes the parcels for an opening that says `is_sent`.
        """
        self._opening, self._cluster, self._ray = opening, cluster, cluster.ray
        self._kind, self._most, self._packing = kind, most, packing
        self._patience_s = patience_s
        self._workers: dict[str, _Worker] = {}
        self._events: list[Event] = []
        self._num_started = 0
        self._false_starts: Counter[str] = Counter()
        self._avoided: dict[str, str] = {}
        """Nodes that are left alone, each with the reason."""

        self._has_joined = False
        self._next_look = 0.0
        self._started = self._last_seen = time.monotonic()
        self._actor = self._ray.remote(Relay)

    @property
    def num_expected(self) -> int:
        """More than there are, where nodes may join: the first worker is not to take all."""
        if self._workers:
            may_grow = self._most is None or len(self._workers) < self._most
            return len(self._workers) + may_grow
        return int(time.monotonic() - self._last_seen < self._patience_s)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        events, self._events = self._events, []
        self._look()
        events += self._waits_for()
        self._send_parcels()
        if self._workers:
            self._last_seen = time.monotonic()
        if self._packing is not None and self._packing.is_busy:
            timeout_s = PACKING_S
        for worker in self._ready(0 if events else timeout_s):
            events += self._read(worker)
        return events

    def give(self, worker: str, lease: Lease) -> None:
        if self._packing is not None:
            self._packing.begin(worker, lease)
        else:
            self._workers[worker].actor.tell.remote(lease_to_json(lease).encode() + b"\n")

    def drop(self, worker: str) -> None:
        """Without waiting for its node, which may hang too."""
        dropped = self._workers.pop(worker)
        self._end(dropped)
        self._events.append(Lost(worker, "dropped"))

    def close(self, *, is_at_once: bool) -> Sequence[Event]:
        events: list[Event] = []
        try:
            if not is_at_once:
                events = self._said_goodbye()
            for worker in self._workers.values():
                self._end(worker)
        finally:
            if self._packing is not None:
                self._packing.close()
            self._cluster.close()
        return events

    def _said_goodbye(self) -> list[Event]:
        """Let idle workers say what they used."""
        for worker in [one for one in self._workers.values() if not one.has_joined]:
            self._end(self._workers.pop(worker.name))
        for worker in self._workers.values():
            worker.actor.tell.remote(child.END)
        events: list[Event] = []
        deadline = time.monotonic() + GOODBYE_S
        while self._workers and (left_s := deadline - time.monotonic()) > 0:
            for worker in self._ready(left_s):
                events += self._read(worker)
        return events

    def _look(self) -> None:
        """Start workers on what is free of the nodes that are there now."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_S
        nodes = self._cluster.nodes()
        if self._kind is None and any(node.num_gpus or node.num_cpus for node in nodes):
            self._kind = "GPU" if any(node.num_gpus for node in nodes) else "CPU"
        used = Counter(worker.node.id for worker in self._workers.values())
        free = {node.id: _slots(node, self._kind) - used[node.id] for node in nodes}
        usable = self._usable(nodes)
        while self._most is None or len(self._workers) < self._most:
            node = max(usable, key=lambda one: free[one.id], default=None)
            if node is None or free[node.id] <= 0:
                break
            free[node.id] -= 1
            self._start(node)
        if self._avoided and not usable and not self._workers:
            self._patience_s = 0.0  # the reasons are told

    def _usable(self, nodes: Sequence[Node]) -> list[Node]:
        """Those that can have workers, and are not left alone."""
        return [one for one in nodes if _slots(one, self._kind) and one.id not in self._avoided]

    def _waits_for(self) -> Iterator[Event]:
        """Once, where no worker has come for long: what is missing."""
        if self._has_joined or time.monotonic() - self._started < UNEASY_S:
            return
        self._started = float("inf")
        kind = self._kind or "GPU or CPU"
        yield Noticed(
            "",
            f"no worker yet: {len(self._workers)} wait to be placed or to load their model; `ray "
            f"status` says which {kind}s of the cluster others use",
        )

    def _start(self, node: Node) -> None:
        self._num_started += 1
        name = f"{re.sub(r'[^A-Za-z0-9.-]', '-', node.host)}-{self._num_started}"
        is_gpu = self._kind == "GPU"
        actor = self._actor.options(
            num_gpus=int(is_gpu),
            num_cpus=int(not is_gpu),
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=NUM_THREADS,
            scheduling_strategy=self._cluster.place(node),
        ).remote(
            name, self._opening_on(is_gpu).to_json(), _environment(node, is_gpu), str(Path.cwd())
        )
        stream = actor.messages.options(num_returns="streaming").remote()
        self._workers[name] = _Worker(name, node, actor, stream, Reader(name))

    def _opening_on(self, is_gpu: bool) -> Opening:
        """On a GPU that was found and not asked for, a worker must not fall back to the CPU."""
        job = self._opening.job
        if not is_gpu or "device" in job.settings or not registry.uses(job.model, "device"):
            return self._opening
        return replace(self._opening, job=replace(job, settings={**job.settings, "device": "cuda"}))

    def _ready(self, timeout_s: float) -> list[_Worker]:
        """Workers that have said something, or are gone."""
        if not self._workers:
            time.sleep(timeout_s)
            return []
        by_stream = {worker.stream: worker for worker in self._workers.values()}
        wait, streams = self._ray.wait, list(by_stream)
        ready, _ = wait(streams, num_returns=1, timeout=timeout_s, fetch_local=False)
        if ready and len(streams) > 1:
            ready, _ = wait(streams, num_returns=len(streams), timeout=0, fetch_local=False)
        return [by_stream[stream] for stream in ready]

    def _read(self, worker: _Worker) -> Iterator[Event]:
        try:
            message = self._ray.get(next(worker.stream))
        except (self._ray.exceptions.RayError, StopIteration) as error:
            yield from self._gone(worker, _reason(error), "")
            return
        if isinstance(message, End):
            if message.code == child.EXIT_MISTAKE:
                yield from self._mistaken(worker, message.last_words)
            else:
                yield from self._gone(worker, message.how, message.last_words)
            return
        for event in worker.reader.events(message):
            if isinstance(event, Taken):
                worker.parcel = None
                assert self._packing is not None
                self._packing.taken(worker.name)
                continue
            if isinstance(event, Joined):
                worker.has_joined = self._has_joined = True
                self._false_starts[worker.node.id] = 0
            yield event

    def _gone(self, worker: _Worker, how: str, last_words: str) -> Iterator[Event]:
        self._end(self._workers.pop(worker.name))
        self._next_look = 0.0
        node = worker.node
        is_there = any(one.id == node.id for one in self._cluster.nodes())
        if is_there and not worker.has_joined:
            self._false_starts[node.id] += 1
            if self._false_starts[node.id] >= MAX_FALSE_STARTS:
                words = f"{MAX_FALSE_STARTS} workers died there as they began ({how})"
                yield from self._avoid(worker, f"{words}: {last_words}" if last_words else words)
        yield Lost(worker.name, how, last_words, is_with_machine=not is_there)

    def _mistaken(self, worker: _Worker, message: str) -> Iterator[Event]:
        """The user's, where every node finds it; else that node's."""
        self._end(self._workers.pop(worker.name))
        self._next_look = 0.0
        hint = "files that a run names must be on each node, under the same path"
        yield from self._avoid(worker, f"{message} ({hint})")
        is_hopeless = not (self._workers or self._usable(self._cluster.nodes()))
        if is_hopeless and not self._has_joined:
            yield Mistake(f"node {worker.node.host}: {message}")
        else:
            yield Lost(worker.name, "refused", message, is_with_machine=True)

    def _avoid(self, worker: _Worker, why: str) -> Iterator[Event]:
        if worker.node.id not in self._avoided:
            self._avoided[worker.node.id] = why
            yield Noticed(worker.name, f"node {worker.node.host} is left alone: {why}")

    def _end(self, worker: _Worker) -> None:
        """Kill the worker's actor, with which its process dies."""
        if self._packing is not None:
            self._packing.stop(worker.name)
        worker.parcel = None
        self._ray.kill(worker.actor, no_restart=True)

    def _send_parcels(self) -> None:
        if self._packing is None:
            return
        for parcel in self._packing.packed():
            worker = self._workers.get(parcel.worker)
            if worker is not None:
                worker.parcel = self._ray.put(parcel.content)
                worker.actor.tell_parcel.remote(
                    worker.parcel, parcel.lease, parcel.number, parcel.is_last
                )


def _slots(node: Node, kind: Kind | None) -> int:
    return node.num_gpus if kind == "GPU" else node.num_cpus


def _environment(node: Node, is_gpu: bool) -> Mapping[str, str]:
    """A GPU's worker has its share of the node's threads; Ray itself says which GPU is its own."""
    threads = str(max(1, node.num_cpus // max(1, node.num_gpus)) if is_gpu else 1)
    given = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    return given if is_gpu else given | {"CUDA_VISIBLE_DEVICES": ""}


def _reason(error: BaseException) -> str:
    """Ray's own account in a line."""
    cause = getattr(error, "cause", None) or error
    text = str(cause).strip()
    if found := re.search(r"ModuleNotFoundError: .*|ImportError: .*", text):
        return found[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
