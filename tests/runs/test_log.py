"""The log of responses: whole lines, whatever happens to the process or the disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from vlmbench import files
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder import layout
from vlmbench.runs.folder.manifest import (
    DataRecord,
    Manifest,
    changes,
    read_manifest,
    write_manifest,
)
from vlmbench.runs.folder.responses import Log, Responses, answered, records
from vlmbench.schema import Json
from vlmbench.task.binding import PromptSettings


def record(
    id: str, response: str | None = "yes", task: str = "vqav2@validation"
) -> dict[str, Json]:
    return {"task": task, "id": id, "response": response, "error": "" if response else "ValueError"}


def manifest(**fields: Any) -> Manifest:
    empty: dict[str, Any] = {
        **{"vlmbench": "0", "packages": {}, "hardware": {}, "model": {"spec": "m"}},
        **{"generation": {}, "prompt": PromptSettings(), "data": {}, "tasks": {}},
        **{"status": "running", "started": None, "finished": None},
    }
    return Manifest(**empty | fields)


def test_what_is_appended_is_read_back_in_order(tmp_path: Path) -> None:
    log = Log(tmp_path, "0")
    texts = ["yes", "", "line\nbreak", "\u2028 \x00 \ud800", "ja \u00e4 \U0001f600"]
    for number, text in enumerate(texts):
        log.write(files.encode(record(str(number), text)))
    log.close()
    assert [found.response for found in records(tmp_path)] == texts


@pytest.mark.parametrize("torn", [b'{"task": "vqav2@valid', b"\x00\x00\x00", b"{}", b'{"id": "9"}'])
def test_a_torn_last_line_is_cut_off_and_its_sample_runs_again(tmp_path: Path, torn: bytes) -> None:
    log = Log(tmp_path, "0")
    log.write(files.encode(record("1")))
    log.close()
    path = tmp_path / "responses-0.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert answered(tmp_path) == {"vqav2@validation": {"1"}}
    log = Log(tmp_path, "0")
    log.write(files.encode(record("2")))
    log.close()
    assert [found.id for found in records(tmp_path)] == ["1", "2"]
    assert path.read_bytes().startswith(whole)


def test_a_torn_line_longer_than_a_block_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "responses-0.jsonl"
    line = json.dumps(record("1")).encode() + b"\n"
    path.write_bytes(line + b'{"task": "' + b"x" * 200_000)
    Log(tmp_path, "0").close()
    assert path.read_bytes() == line


def test_torn_lines_of_all_workers_are_cut_off_at_once(tmp_path: Path) -> None:
    line = json.dumps(record("1")).encode() + b"\n"
    (tmp_path / "responses-0.jsonl").write_bytes(line + b'{"task": "vqav2@valid')
    (tmp_path / "responses-1.jsonl").write_bytes(line)
    (tmp_path / "responses-2.jsonl").write_bytes(b'{"task"')
    layout.cut_torn_lines(tmp_path)
    left = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert left == [line, line, b""]


def test_damaged_lines_in_the_middle_cost_their_own_samples_only(tmp_path: Path) -> None:
    lines = [json.dumps(record(str(n))).encode() + b"\n" for n in range(3)]
    (tmp_path / "responses-0.jsonl").write_bytes(lines[0] + b"\x00" * 50 + b"\n[]\n" + lines[2])
    assert answered(tmp_path) == {"vqav2@validation": {"0", "2"}}


def test_failed_samples_count_as_not_answered(tmp_path: Path) -> None:
    log = Log(tmp_path, "0")
    log.write(files.encode(record("1", None)))
    log.write(files.encode(record("2")))
    log.close()
    assert answered(tmp_path) == {"vqav2@validation": {"2"}}


FILL = """
import resource, sys
from pathlib import Path
from vlmbench import files
from vlmbench.runs.folder.responses import Log
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = Log(Path(sys.argv[1]), "0")
try:
    for number in range(1000):
        log.write(files.encode({"task": "t@s", "id": str(number), "response": "x" * 300}))
except OSError as error:
    print(error.errno)
"""


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """A limit on the file's size makes a write fail in its middle, as a full disk does."""
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().isdigit(), "the write did not fail"
    data = (tmp_path / "responses-0.jsonl").read_bytes()
    assert data.endswith(b"}\n")
    found = [json.loads(line)["id"] for line in data.splitlines()]
    assert found == [str(number) for number in range(len(found))]
    assert 10_000 - 400 < len(data) <= 10_000


def test_a_second_run_is_kept_out_until_the_first_has_ended(tmp_path: Path) -> None:
    lock = layout.Lock(tmp_path)
    with pytest.raises(VlmbenchError, match="another run"):
        layout.Lock(tmp_path, wait_s=0)
    lock.release()
    layout.Lock(tmp_path, wait_s=0).release()


HOLD = """
import os, sys, time
from pathlib import Path
from vlmbench.runs.folder.layout import Lock
lock = Lock(Path(sys.argv[1]))
if os.fork() == 0:
    time.sleep(0.5)  # a worker that outlives its parent for a moment
    os._exit(0)
print("locked", flush=True)
time.sleep(60)
"""


def test_the_lock_goes_with_the_last_process_of_a_killed_run(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "locked\n"
        owner.send_signal(signal.SIGKILL)
    with pytest.raises(VlmbenchError, match="an earlier run"):
        layout.Lock(tmp_path, wait_s=0)
    layout.Lock(tmp_path, wait_s=10).release()


def test_a_manifest_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest())
    write_manifest(tmp_path, manifest(status="complete"))
    assert read_manifest(tmp_path).status == "complete"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no run"),
        ("[]", "schema version None"),
        ('{"schema_version": 99}', "schema version 99, this vlmbench reads 1"),
    ],
)
def test_a_folder_without_a_readable_run_is_an_error(
    tmp_path: Path, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(VlmbenchError, match=message):
        read_manifest(tmp_path)


def test_changes_name_what_can_move_a_score_and_nothing_else() -> None:
    rows = DataRecord(version=1, source="s", revision="r", fingerprint="f", num_rows=5)
    before = manifest(
        model={"spec": "m", "weights": "a"},
        data={"vqav2@validation": rows, "docvqa@validation": rows},
        num_workers=1,
    )
    now = manifest(
        model={"spec": "m", "weights": "b"},
        data={"vqav2@validation": replace(rows, version=2), "mmmu@dev": rows},
        num_workers=8,
    )
    assert changes(before, before) == []
    assert changes(before, now) == [
        'model.weights was "a", is now "b"',
        "data.vqav2@validation.version was 1, is now 2",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"response": 5},
        {"task": None},
        {"id": 3},
        {"worker": 0},
        {"error": None},
        {"images": None},
    ],
)
def test_a_line_that_is_no_record_counts_as_never_written(
    tmp_path: Path, changes: dict[str, Json]
) -> None:
    lines = [record("1"), record("2") | changes, record("3")]
    (tmp_path / "responses-0.jsonl").write_bytes(b"".join(map(files.encode, lines)))
    assert [found.id for found in records(tmp_path)] == ["1", "3"]
    assert answered(tmp_path) == {"vqav2@validation": {"1", "3"}}


ABSURD: tuple[Json, ...] = (10**400, 10**5_000, -1, float("nan"), float("inf"), "3", True, [])


@pytest.mark.parametrize(
    "name",
    [
        *("visual_tokens", "prompt_tokens", "generated_tokens", "flops", "reasoning_tokens"),
        *("token_limit", "attempt", "time", "timings", "total_s"),
    ],
)
@pytest.mark.parametrize("value", ABSURD, ids=lambda value: type(value).__name__)
def test_an_absurd_figure_is_unknown_and_costs_no_answer(
    tmp_path: Path, name: str, value: Json
) -> None:
    sys.set_int_max_str_digits(0)
    changed = (
        {"timings": {"total_s": value, "prefill_s": 1.0}} if name == "total_s" else {name: value}
    )
    text = json.dumps(record("1") | changed)
    sys.set_int_max_str_digits(4300)
    (tmp_path / "responses-0.jsonl").write_text(text + "\n")
    [found] = records(tmp_path)
    assert found.id == "1" and found.response == record("1")["response"]
    kept = {"attempt": 1, "time": 0.0, "timings": {}, "total_s": {"prefill_s": 1.0}}
    shown = found.timings if name == "total_s" else getattr(found, name)
    assert shown == kept.get(name) or shown is UNSET


def test_what_a_line_does_not_say_is_unknown(tmp_path: Path) -> None:
    line = json.dumps({"task": "t@s", "id": "1", "response": "yes"})
    (tmp_path / "responses-0.jsonl").write_text(f'{line}\n{{"task": "t@s", "id": "2"}}\n')
    log = Responses(tmp_path)
    assert log.ids("t@s") == ["1"]
    found = log.get("t@s", "1")
    log.close()
    assert found is not None
    assert (found.response, found.timings, found.visual_tokens) == ("yes", {}, None)


def test_a_log_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "responses-0.jsonl").mkdir()
    for read in (answered, Responses):
        with pytest.raises(VlmbenchError, match=r"cannot read .*responses-0.jsonl: Is a directory"):
            read(tmp_path)


def test_a_lock_that_cannot_be_taken_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".lock-end").mkdir()
    message = r"cannot write .*\.lock-end: Is a directory; remove it"
    with pytest.raises(VlmbenchError, match=message), layout.alone(tmp_path):
        pass


def test_a_name_that_is_no_utf8_stands_in_the_manifest(tmp_path: Path) -> None:
    name = os.fsdecode(b"r\xff \xc3\xa4")
    write_manifest(tmp_path, manifest(command=(name,)))
    assert read_manifest(tmp_path).command == (name,)
    assert "\u00e4" in (tmp_path / "run.json").read_text("utf-8")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00" * 9, id="zero bytes"),
        pytest.param(b'{"schema_version": 1, "st', id="cut"),
        pytest.param(b"\xff", id="no UTF-8"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b'{"schema_version": 1, "tasks": []}', id="tasks in a list"),
        pytest.param(b'{"schema_version": 1, "prompt": null}', id="no prompt"),
    ],
)
def test_of_a_damaged_manifest_the_way_out_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(VlmbenchError, match=r"answers in .* are safe: remove run\.json") as raised:
        read_manifest(tmp_path)
    assert "\n" not in str(raised.value)
