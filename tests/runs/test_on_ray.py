"""Workers on Ray without Ray: which are started, avoided and given up; and the user's mistakes."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from vlmbench.cli.main import main
from vlmbench.runs.dispatch import Lease
from vlmbench.runs.executors import ray as module
from vlmbench.runs.executors.child import End
from vlmbench.runs.executors.opening import Opening
from vlmbench.runs.executors.protocol import Event, Finished, Joined, Lost, Mistake, Noticed
from vlmbench.runs.executors.ray import MAX_FALSE_STARTS, RayWorkers
from vlmbench.runs.executors.ray_cluster import Node
from vlmbench.runs.job import Job
from vlmbench.runs.plan import Item
from vlmbench.task.binding import PromptSettings

JOB = Job(
    tasks=["vqav2"],
    model="constant:yes",
    prompt=PromptSettings().resolved(),
    settings={},
    data_dir=None,
    tasks_dir=None,
)
ITEM = Item(task="t@s", index=0, id="0", image_group="0", cost=1.0)


class RayError(Exception):
    """What Ray raises for an actor that is gone."""


class Actor:
    """One that says what the test has it say."""

    def __init__(self, cluster: FakeCluster, options: dict[str, Any], name: str) -> None:
        self.name, self.node = name, options["scheduling_strategy"]
        self.says: deque[bytes | End | RayError] = deque(cluster.script(self.node))
        self.told: list[bytes] = []
        self.is_killed = False
        self.messages = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda: self))
        self.tell = SimpleNamespace(remote=self.told.append)

    def __next__(self) -> Actor:
        return self


class FakeCluster:
    """Nodes and actors, with the calls that the executor makes of ray."""

    def __init__(self, *nodes: Node, script: Callable[[str], Sequence[Any]]) -> None:
        self.alive, self.script = list(nodes), script
        self.actors: list[Actor] = []
        self.is_closed = False
        self.ray = SimpleNamespace(
            remote=lambda relay: SimpleNamespace(options=self._options),
            wait=self._wait,
            get=self._get,
            kill=self._kill,
            exceptions=SimpleNamespace(RayError=RayError),
        )

    def nodes(self) -> list[Node]:
        return self.alive

    def place(self, node: Node) -> str:
        return node.id

    def close(self) -> None:
        self.is_closed = True

    def _options(self, **options: Any) -> Any:
        def remote(name: str, *_: Any) -> Actor:
            self.actors.append(Actor(self, options, name))
            return self.actors[-1]

        return SimpleNamespace(remote=remote)

    def _wait(self, streams: list[Actor], **_: Any) -> tuple[list[Actor], list[Actor]]:
        return [stream for stream in streams if stream.says], []

    def _get(self, actor: Actor) -> bytes | End:
        message = actor.says.popleft()
        if isinstance(message, RayError):
            raise message
        return message

    def _kill(self, actor: Actor, *, no_restart: bool) -> None:
        assert no_restart
        actor.is_killed = True


def node(name: str, gpus: int = 0, cpus: int = 1) -> Node:
    return Node(id=f"id of {name}", host=name, num_gpus=gpus, num_cpus=cpus)


def workers(cluster: Any, **given: Any) -> RayWorkers:
    return RayWorkers(Opening(job=JOB), cluster, **{"kind": None, "most": None} | given)


@pytest.fixture(autouse=True)
def looks_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.0)


def seen(executor: RayWorkers, times: int = 12) -> list[Event]:
    return [event for _ in range(times) for event in executor.wait(0)]


def test_each_slot_has_a_worker_and_a_node_that_joins_late_has_too() -> None:
    cluster = FakeCluster(node("a", cpus=2), script=lambda _: [b"", b"J\n"])
    executor = workers(cluster)
    assert seen(executor) == [Joined("a-1"), Joined("a-2")]
    assert executor.num_expected == 3, "one more may always come"
    cluster.alive.append(node("b"))
    assert seen(executor) == [Joined("b-3")]


def test_gpus_are_taken_where_there_are_any_and_no_more_than_asked_for() -> None:
    cluster = FakeCluster(node("a", gpus=8), node("b", gpus=8), script=lambda _: [b"J\n"])
    executor = workers(cluster, most=4)
    seen(executor)
    assert sorted(actor.name.partition("-")[0] for actor in cluster.actors) == ["a", "a", "b", "b"]
    assert executor.num_expected == 4


def test_a_lost_actor_is_replaced_and_a_lost_node_is_not_its_fault() -> None:
    cluster = FakeCluster(node("a"), node("b"), script=lambda _: [b"J\n"])
    executor = workers(cluster)
    seen(executor)
    cluster.actors[0].says.append(RayError("the actor died"))
    [lost, joined] = seen(executor)
    assert lost == Lost(cluster.actors[0].name, "the actor died")
    assert joined == Joined(cluster.actors[2].name)
    gone = next(actor for actor in cluster.actors[1:] if actor.node == "id of b")
    cluster.alive = [one for one in cluster.alive if one.host == "a"]
    gone.says.append(RayError("its node died"))
    assert seen(executor) == [Lost(gone.name, "its node died", is_with_machine=True)]


def test_a_node_whose_workers_die_before_they_join_is_left_alone() -> None:
    died = End(code=-6, last_words="no such device")
    cluster = FakeCluster(
        node("bad"), node("good"), script=lambda id: [died] if "bad" in id else [b"J\n"]
    )
    events = seen(workers(cluster), 30)
    losses = [event for event in events if isinstance(event, Lost)]
    assert len(losses) == MAX_FALSE_STARTS
    assert {loss.how for loss in losses} == {"signal 6"}
    [notice] = [event for event in events if isinstance(event, Noticed)]
    assert "node bad is left alone: 3 workers died there" in notice.message
    assert "no such device" in notice.message


def test_a_mistake_of_one_node_is_told_and_one_of_all_is_the_users() -> None:
    mistaken = End(code=2, last_words="no folder ckpt")
    cluster = FakeCluster(
        node("bare"), node("good"), script=lambda id: [mistaken] if "bare" in id else [b"J\n"]
    )
    events = seen(workers(cluster))
    assert not any(isinstance(event, Mistake) for event in events)
    assert any("bare is left alone: no folder ckpt" in getattr(e, "message", "") for e in events)
    head = node("head", cpus=0)
    cluster = FakeCluster(head, node("a"), node("b"), script=lambda _: [mistaken])
    [mistake] = [event for event in seen(workers(cluster)) if isinstance(event, Mistake)]
    assert "no folder ckpt" in mistake.message


def test_a_cluster_that_stays_empty_is_given_up() -> None:
    executor = workers(FakeCluster(script=lambda _: []), patience_s=60.0)
    assert seen(executor) == [] and executor.num_expected == 1
    executor = workers(FakeCluster(script=lambda _: []), patience_s=0.0)
    assert seen(executor) == [] and executor.num_expected == 0


def test_a_dropped_worker_is_lost_at_once_and_what_it_says_later_is_not_heard() -> None:
    cluster = FakeCluster(node("a"), script=lambda _: [b"J\n"])
    executor = workers(cluster)
    seen(executor)
    executor.give("a-1", Lease(1, (ITEM,)))
    assert cluster.actors[0].told == [b'[["t@s", 0, "0"]]\n']
    executor.drop("a-1")
    cluster.actors[0].says.append(b"F\n")
    assert seen(executor) == [Lost("a-1", "dropped"), Joined("a-2")]
    assert cluster.actors[0].is_killed


def test_at_the_end_idle_workers_say_what_they_used_and_all_are_killed() -> None:
    cluster = FakeCluster(node("a"), script=lambda _: [b"J\n"])
    executor = workers(cluster)
    seen(executor)
    cluster.actors[0].says += [b"F\n", End(code=0, last_words="")]
    events = executor.close(is_at_once=False)
    assert events[0] == Finished("a-1")
    assert cluster.actors[0].told == [b"end\n"] and cluster.actors[0].is_killed
    assert cluster.is_closed


RUN = ("run", "--model", "constant:yes", "--tasks", "vqav2@mini")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ray", "somewhere"], "--ray somewhere: give auto"),
        (["--ray", "host:port"], "--ray host:port: give auto"),
        (["--ray-data", "driver"], "give --ray too"),
    ],
)
def test_a_mistake_is_one_line(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*RUN, *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_without_ray_the_way_to_get_it_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*RUN, "--ray", "auto"]) == 2
    error = capsys.readouterr().err
    assert "--ray needs the package ray" in error and ".[ray]" in error
    assert error.count("\n") == 1
