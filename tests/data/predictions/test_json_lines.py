from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlmbench.data.predictions import Line, read
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Prediction
from vlmbench.task.loading import conventions_of

Write = Callable[[str | bytes], Path]

GOOD = '{"id": 1, "response": "yes"}\n'


def read_all(path: Path, task: str = "vqav2") -> list[Line]:
    return list(read(path, conventions_of(task)).lines)


def error_of(path: Path, task: str = "vqav2") -> str:
    """The message without the folder, which is one line."""
    with pytest.raises(VlmbenchError) as caught:
        read_all(path, task)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{path.parent}/", "")


def test_a_line_is_an_id_and_a_response(write: Write) -> None:
    path = write(GOOD)
    predictions = read(path, conventions_of("vqav2"))
    assert predictions.format == "vlmbench jsonl"
    assert not predictions.by_row_number
    want = Line(prediction=Prediction(id=1, response="yes"), row=None, where=f"{path}:1")
    assert list(predictions.lines) == [want]


@pytest.mark.parametrize("given", [7, "7", 7.0, 0.5, -1, "", "validation_Art_1", 10**30])
def test_an_id_keeps_its_type_and_value(write: Write, given: Any) -> None:
    (line,) = read_all(write(json.dumps({"id": given, "response": ""})))
    assert (type(line.prediction.id), line.prediction.id) == (type(given), given)


AWKWARD = ["", " ", "None", "NaN", "null", "1", "=1+1", "a\tb\r\nc\u2028d", "\x00", "é𝄞", "\ud800"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.sampled_from(AWKWARD) | st.text(st.characters()), min_size=1), st.booleans())
def test_any_text_survives(write: Write, texts: list[str], is_ascii: bool) -> None:
    is_ascii |= any("\ud800" <= c <= "\udfff" for text in texts for c in text)
    rows = ({"id": i, "response": text} for i, text in enumerate(texts))
    path = write("".join(json.dumps(row, ensure_ascii=is_ascii) + "\n" for row in rows))
    assert [line.prediction.response for line in read_all(path)] == texts


def test_order_mark_crlf_blank_lines_and_a_missing_last_break_are_let_be(write: Write) -> None:
    first, second = GOOD.strip(), GOOD.strip().replace("1", "2")
    lines = read_all(write(f"\ufeff\r\n{first}\r\n  \t\r\n\r\n{second}"))
    assert [line.prediction.id for line in lines] == [1, 2]
    assert lines[1].where.endswith(":5")


def test_a_sample_an_extraction_and_the_keys_of_a_log_are_read(write: Write) -> None:
    sample = {"pid": "3", "choices": None, "metadata": {"skills": ["x"]}}
    record = {"id": "3", "response": "it is 4", "extraction": "4", "sample": sample}
    (line,) = read_all(write(json.dumps(record | {"error": None, "latency_s": 0.2})), "mathvista")
    want = Prediction(id="3", response="it is 4", final="4", is_final=True)
    assert (line.prediction, line.row) == (want, sample)


@pytest.mark.parametrize("extraction", [None, "", "B", 4, 1.5, False, [1, 2], {"a": None}])
@pytest.mark.parametrize("task", ["mathvista", "mmmu", "a_users_own"])
def test_an_extraction_is_final_whatever_it_is(write: Write, extraction: Any, task: str) -> None:
    record = {"id": "3", "response": "x", "extraction": extraction}
    (line,) = read_all(write(json.dumps(record)), task)
    assert line.prediction.is_final
    assert line.prediction.final == extraction
    assert type(line.prediction.final) is type(extraction)


def test_a_null_response_is_a_failed_sample(write: Write) -> None:
    path = write('{"id": 1, "response": null, "error": "out of memory"}\n{"id":2,"response":null}')
    assert [line.prediction for line in read_all(path)] == [
        Prediction(id=1, response=None, error="out of memory"),
        Prediction(id=2, response=None),
    ]


def test_a_json_list_of_such_objects_is_read_too(write: Write) -> None:
    path = write('[{"id": 1, "response": "a"}, {"id": 2, "response": null}]')
    assert read(path, conventions_of("docvqa")).format == "vlmbench json"
    assert [line.prediction.response for line in read_all(path, "docvqa")] == ["a", None]
    assert read_all(path)[1].where == f"{path}: entry 2"


def test_lines_are_read_when_they_are_asked_for(write: Write) -> None:
    lines = read(write(GOOD.encode() * 2 + b'{"id": \xff\n'), conventions_of("mmmu")).lines
    assert next(lines).prediction.id == 1
    assert next(lines).prediction.id == 1
    with pytest.raises(VlmbenchError, match=r"answers:3: not UTF-8"):
        next(lines)


BAD_LINES = [
    ('{"id": 1, "reponse": "x"}', "no 'response'; is 'reponse' meant for it?"),
    ('{"ID": 1, "response": "x"}', "no 'id'; is 'ID' meant for it?"),
    ('{"id": 1, "text": "x"}', "no 'response'; there are: 'id', 'text'"),
    ("{}", "no '"),
    ('{"id": null, "response": "x"}', "'id' is null, expected text or a number"),
    ('{"id": true, "response": "x"}', "'id' is true, expected text or a number"),
    ('{"id": [1], "response": "x"}', "'id' is a list, expected text or a number"),
    ('{"id": 1e999, "response": "x"}', "'id' is the number inf, expected text or a number"),
    ('{"id": NaN, "response": "x"}', "NaN is not JSON; write null or text"),
    ('{"id": 1, "response": -Infinity}', "-Infinity is not JSON; write null or text"),
    (f'{{"id": {"9" * 5000}, "response": "x"}}', "a number with thousands of digits"),
    ("[" * 1_000_000, "lists or objects nested too deeply"),
    ('{"id": 1, "response": 4}', "'response' is the number 4, expected text, or null where"),
    (f'{{"id": 1, "response": {"9" * 99}}}', "'response' is the number 99999999999999999..., exp"),
    ('{"id": 1, "response": ["x"]}', "'response' is a list, expected text, or null where"),
    ('{"id": 1, "response": {}}', "'response' is an object, expected text, or null where"),
    ('{"id": 1, "response": "x", "sample": [1]}', "'sample' is a list, expected an object with"),
    ('{"id": 1, "response": null, "error": 5}', "'error' is the number 5, expected text"),
    ('{"id": 1, "response": "x", "error": "y"}', "both a response and an error"),
    (
        '{"id": 1, "response": "x", "extracton": "y"}',
        "unknown key 'extracton'; is 'extraction' meant?",
    ),
    ('{"id": 1, "response": "x", "Sample": {}}', "unknown key 'Sample'; is 'sample' meant?"),
    ('{"id": 1, "response": "x", "extraction": 1}', "the task is scored from the response; drop"),
    ('"yes"', 'text, expected {"id": ..., "response": ...}'),
    ("[1]", 'a list, expected {"id": ..., "response": ...}'),
    ("null", 'null, expected {"id": ..., "response": ...}'),
    ('{"id": 1, "response": "x",}', "not JSON: Expecting property name enclosed in double quotes"),
    ('{"id": 1} {"id": 2}', "not JSON: Extra data (column 11)"),
    ("\x00\x00\x00", "not JSON: Expecting value (column 1)"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=[m for _, m in BAD_LINES])
def test_a_bad_line_is_named_with_its_number(write: Write, line: str, message: str) -> None:
    assert error_of(write(f"{GOOD}\n{line}\n")).startswith(f"answers:3: {message}")
    if line.startswith("{"):
        assert error_of(write(f"{line}\n{GOOD}")).startswith(f"answers:1: {message}")


def test_a_line_that_is_cut_off_is_said_to_be(write: Write) -> None:
    message = error_of(write(GOOD + '{"id": 2, "response": "ye'))
    assert message == (
        "answers:2: not JSON: Unterminated string starting at (column 23); "
        "the file ends in this line: was it cut off?"
    )


def test_bytes_that_are_not_utf8_are_named_with_line_and_place(write: Write) -> None:
    line = '{"id": 2, "response": "café"}'.encode("latin-1")
    want = "not UTF-8: byte 27 of the line is 0xe9; save it as UTF-8"
    assert error_of(write(GOOD.encode() + line)) == f"answers:2: {want}"
    assert error_of(write(b"[" + GOOD.encode() + b",\n" + line)) == f"answers:3: {want}"
    surrogate = GOOD.encode().replace(b"yes", b"\xed\xa0\x80")  # UTF-8 has no half of a pair
    assert "answers:1: not UTF-8: byte 24 of the line is 0xed" in error_of(write(surrogate))


OTHER_FILES = [
    (b"", "answers is empty; expected JSON lines"),
    (b" \n\t\r\n", "answers is empty; expected JSON lines"),
    (b"\xef\xbb\xbf", "answers is empty; expected JSON lines"),
    (b"PAR1\x15\x04\x15", "answers is a Parquet file; expected JSON lines"),
    (b"ARROW1\x00\x00", "answers is an Arrow file; expected JSON lines"),
    (b"\x1f\x8b\x08\x00", "answers is a gzip archive: unpack it; expected JSON lines"),
    (b"\xd0\xcf\x11\xe0\xa1", "answers is an old Excel file: save it as .xlsx; expected"),
    (b"\x80\x04\x95", "answers is a Python pickle; expected JSON lines"),
    (b"\x00" * 50, "answers is no text: it begins with a zero byte; expected JSON lines"),
    (GOOD.encode("utf-16"), "answers is UTF-16 text: save it as UTF-8; expected JSON lines"),
    (b"id,response\n1,yes\n", "answers:1: starts with 'id,response'; expected JSON lines"),
    (b"[]", "answers holds no predictions"),
    (b"[1]", "answers: entry 1 is the number 1, expected an object"),
    (b'[{"id": 1, "response": NaN}]', "answers: NaN is not JSON; write null or text"),
    (b"[\n{]", "answers:2: not JSON: Expecting property name enclosed in double quotes (column 2)"),
    (
        b'{\n"results": {}\n}',
        "answers: one JSON object, which is no prediction file (keys: 'results')",
    ),
]


@pytest.mark.parametrize(("content", "message"), OTHER_FILES, ids=[m for _, m in OTHER_FILES])
def test_a_file_of_another_kind_is_refused(write: Write, content: bytes, message: str) -> None:
    assert error_of(write(content)).startswith(message)


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert error_of(tmp_path / "nothing") == "no prediction file nothing"
    (tmp_path / "run").mkdir()
    assert error_of(tmp_path / "run").startswith("run is a folder without *.json, *.jsonl or")
    os.mkfifo(tmp_path / "pipe")
    assert error_of(tmp_path / "pipe").startswith("pipe is no file on disk; save the predictions")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert error_of(loop) == "cannot read loop: Too many levels of symbolic links"
