"""Requests that travel to workers: what arrives asks the very same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlmbench.errors import VlmbenchError
from vlmbench.runs.dispatch import Lease
from vlmbench.runs.executors import parcels
from vlmbench.runs.executors.opening import Opening, code_digest, task_files
from vlmbench.runs.executors.packing import MAX_PARCELS, Packed, Packing
from vlmbench.runs.job import Job, Plan
from vlmbench.runs.plan import Item
from vlmbench.runs.prepare import prepare
from vlmbench.runs.runner import ask
from vlmbench.task.binding import PromptSettings, pictures_of, prompt_digest

TASK_FILES = Path(__file__).parents[2] / "tasks"
TASKS = ["vqav2", "textvqa", "docvqa", "mmmu", "mathvista", "mmbench"]


@pytest.fixture(scope="module")
def planned(hub_copies: Path) -> Plan:
    return prepare("constant:yes", TASKS, prompt=PromptSettings(shots=0), data_dir=hub_copies)


def test_all_six_tasks_arrive_as_they_were_asked(planned: Plan) -> None:
    asked = list(ask(planned.sources, planned.items))
    arrived = [one for parcel in parcels.packed(asked) for one in parcels.unpacked(parcel)]
    assert len(arrived) == len(asked) == 73
    for sent, got in zip(asked, arrived, strict=True):
        assert sent.request is not None and got.request is not None
        assert (got.item.task, got.item.id) == (sent.item.task, sent.item.id)
        assert (got.prompt, got.images) == (sent.prompt, sent.images)
        pictures = pictures_of(got.request)
        assert prompt_digest(got.request, [picture.digest for picture in pictures]) == sent.prompt
        assert got.request == replace(sent.request, messages=got.request.messages)
        for own, other in zip(pictures_of(sent.request), pictures, strict=True):
            assert own.decode().tobytes() == other.decode().tobytes()


def test_a_picture_is_in_a_parcel_once(planned: Plan) -> None:
    [item, *_] = planned.items
    asked = list(ask(planned.sources, [item] * 50))
    [one], [many] = parcels.packed(asked[:1]), parcels.packed(asked)
    [picture] = pictures_of(asked[0].request) if asked[0].request else []
    assert len(many) - len(one) < 50 * len(picture.encoded()) / 2


def test_a_sample_that_cannot_be_asked_arrives_with_its_reason(planned: Plan) -> None:
    [asked] = ask(planned.sources, planned.items[:1])
    broken = replace(asked, request=None, error="ValueError: no picture", prompt="", images=())
    [parcel] = parcels.packed([broken])
    [got] = parcels.unpacked(parcel)
    assert got.request is None and got.error == "ValueError: no picture"


def test_large_pictures_go_in_several_parcels(
    planned: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcels, "PARCEL_BYTES", 4000)
    sizes = [len(parcel) for parcel in parcels.packed(ask(planned.sources, planned.items))]
    assert len(sizes) > 5
    assert max(sizes) < 4000 + max(sizes[0], 20_000)


def all_of(packing: Packing) -> Iterator[Packed]:
    deadline = time.monotonic() + 30
    while packing.is_busy and time.monotonic() < deadline:
        yield from packing.packed()
        time.sleep(0.001)


def test_the_next_parcel_is_packed_once_the_one_before_is_taken(
    planned: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcels, "PARCEL_SAMPLES", 10)
    packing = Packing(planned.sources)
    packing.begin("w", Lease(1, tuple(planned.items)))
    numbers, asked = [], 0
    while parts := list(all_of(packing)):
        [part] = parts
        numbers.append((part.number, part.is_last))
        asked += len(list(parcels.unpacked(part.content)))
        packing.taken("w")
    packing.close()
    assert numbers == [(n, n == 7) for n in range(8)] and asked == 73


def test_parcels_on_their_way_are_bounded_whatever_workers_there_are(planned: Plan) -> None:
    packing = Packing(planned.sources)
    for number in range(3 * MAX_PARCELS):
        packing.begin(str(number), Lease(number, tuple(planned.items[:2])))
    first = list(all_of(packing))
    assert len(first) == MAX_PARCELS
    packing.stop(first[0].worker)
    packing.taken(first[1].worker)
    assert len(list(all_of(packing))) == 2
    packing.close()


def test_a_parcel_of_a_lease_that_is_over_is_not_sent(planned: Plan) -> None:
    packing = Packing(planned.sources)
    packing.begin("w", Lease(1, tuple(planned.items[:3])))
    packing.begin("w", Lease(2, tuple(planned.items[3:6])))
    found = list(all_of(packing))
    packing.close()
    assert [part.lease for part in found] == [2]


@pytest.fixture
def opened(planned: Plan) -> Callable[..., Opening]:
    def opening(**more: Any) -> Opening:
        return Opening.from_json(Opening(job=planned.job, **more).to_json())

    return opening


def test_other_rows_than_the_drivers_are_refused_by_name(opened: Callable[..., Opening]) -> None:
    own = {source.name: source.rows.fingerprint for source in opened().sources()}
    assert len(opened(fingerprints=own).sources()) == 6
    other = own | {"mmmu@validation": "0" * 32}
    with pytest.raises(VlmbenchError, match=r"rows of mmmu@validation .*--ray-data driver"):
        opened(fingerprints=other).sources()


def test_another_commit_is_refused(opened: Callable[..., Opening]) -> None:
    opened(code=code_digest()).check_code()
    with pytest.raises(VlmbenchError, match="is not the driver's; install the same"):
        opened(code="0" * 32).check_code()


def test_task_files_travel(tmp_path: Path, planned: Plan) -> None:
    (tmp_path / "mine.py").write_text(
        (TASK_FILES / "vqav2.py").read_text().replace('name="vqav2"', 'name="mine"')
    )
    (tmp_path / "notes.txt").write_text("not a task file")
    files = task_files(tmp_path)
    assert list(files) == ["mine.py"]
    data_dir = f"{planned.job.data_dir}/vqav2"
    job = replace(planned.job, tasks=["mine"], tasks_dir="/no/such/folder", data_dir=data_dir)
    [source] = Opening(job=job, task_files=files).sources()
    assert source.name.startswith("mine@")


def test_a_folder_that_is_no_folder_of_task_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlmbench.runs.executors.opening.MAX_TASK_FILES_BYTES", 10)
    (tmp_path / "large.py").write_text("#" * 20)
    with pytest.raises(VlmbenchError, match="too much to send"):
        task_files(tmp_path)


def test_the_job_survives_its_json(opened: Callable[..., Opening], planned: Plan) -> None:
    assert opened().job == replace(planned.job, tasks=list(planned.job.tasks))
    assert isinstance(opened().job, Job)
    assert isinstance(planned.items[0], Item)
