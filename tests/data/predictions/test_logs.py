"""Logs of EvalScope and inspect_ai: lines, and the runs in a folder of them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from vlmbench.data.predictions import find_runs, inspect_ai, read
from vlmbench.errors import VlmbenchError
from vlmbench.task import loading
from vlmbench.task.loading import conventions_of

ASKED = "Answer it.\n\nWhich one is shown?\n\nA) a clay jug\nB) a tin kettle"


def message(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}


def output(text: str) -> dict[str, Any]:
    choice = {"message": {"role": "assistant", "content": text}, "stop_reason": "stop"}
    return {"model": "m", "choices": [choice], "completion": text}


def prediction(index: int, metadata: dict[str, Any], text: str = "ANSWER: B") -> dict[str, Any]:
    messages = [message("user", ASKED), {"role": "assistant", "content": text}]
    return {
        "index": index,
        "model": "m",
        "model_output": output(text),
        "messages": messages,
        "metadata": metadata,
    }


def review(index: int, target: Any, metadata: dict[str, Any], value: float = 1) -> dict[str, Any]:
    score = {"value": {"acc": value}, "extracted_prediction": "B", "prediction": "ANSWER: B"}
    score |= {"main_score_name": "acc", "metadata": {}}
    sample_score = {"score": score, "sample_id": index, "sample_metadata": metadata}
    messages = [message("user", "Answer it.\n\n", ASKED)]
    return {"index": index, "target": target, "messages": messages, "sample_score": sample_score}


MMMU = {"id": "validation_Art_1", "question_type": "multiple-choice", "topic_difficulty": "Easy"}


def write_lines(path: Path, *records: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_evalscopes_predictions_and_reviews(tmp_path: Path) -> None:
    for record in (prediction(0, MMMU), review(0, ["B"], MMMU), review(0, "B", MMMU)):
        file = read(write_lines(tmp_path / "a", record), conventions_of("mmmu"))
        [line] = file.lines
        assert (
            file.format == f"EvalScope {'reviews' if 'sample_score' in record else 'predictions'}"
        )
        assert (line.key, line.prediction.response) == ("validation_Art_1", "ANSWER: B")
        if "target" in record:
            assert line.row is not None and line.row["options"] == ["a clay jug", "a tin kettle"]
            assert line.row["answer"] == "B" and file.has_gold_only


def test_evalscope_names_rows_where_the_benchmark_has_no_id(tmp_path: Path) -> None:
    metadata = {"question_type": "free_form", "answer_type": "integer", "precision": None}
    file = read(
        write_lines(tmp_path / "a", review(7, ["4"], metadata)), conventions_of("mathvista")
    )
    [line] = file.lines
    assert file.by_row_number and line.key == "7" and "Which one is shown?" in line.prompt
    assert line.row is not None and (line.row["pid"], line.row["answer"]) == (7, "4")


@pytest.mark.parametrize(
    ("task", "metadata", "target", "row"),
    [
        ("docvqa", {"questionId": "338"}, '["0.28", "0,28"]', {"answers": ["0.28", "0,28"]}),
        ("vqav2", {"question_id": 5, "answers": ["a"] * 10}, "[]", {"answers": ["a"] * 10}),
        ("mmbench", {"index": 241, "category": "c"}, "B", {"answer": "B", "A": "a clay jug"}),
    ],
)
def test_evalscopes_gold_answers(
    task: str, metadata: dict[str, Any], target: str, row: dict[str, Any], tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "a", review(0, target, metadata))
    [line] = read(path, conventions_of(task)).lines
    assert line.key == str(next(iter(metadata.values())))
    assert line.row is not None and row.items() <= line.row.items()


def test_runs_of_evalscope_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "20251130_101500"
    for subject in ("Art", "Music"):
        metadata = MMMU | {"id": f"validation_{subject}_1"}
        value = float(subject == "Art")
        write_lines(folder / f"reviews/m/mmmu_{subject}.jsonl", review(0, ["B"], metadata, value))
        write_lines(folder / f"predictions/m/mmmu_{subject}.jsonl", prediction(0, metadata))
    write_lines(folder / "reviews/m/mmmu_pro_standard.jsonl", review(0, ["B"], {"id": "test_1"}))
    benchmarks = {task.name: task.conventions for task in loading.every(None)}
    [run], skipped = find_runs(tmp_path, benchmarks)
    assert (run.harness, run.model, run.date) == ("EvalScope", "m", "20251130_101500")
    [task] = run.tasks
    assert (task.name, task.spec, task.reported) == ("mmmu", "mmmu@validation", 50)
    assert task.values == {"validation_Art_1": 1, "validation_Music_1": 0}
    found = read(task.predictions, conventions_of("mmmu"))
    assert [line.key for line in found.lines] == ["validation_Art_1", "validation_Music_1"]
    assert not skipped


def sample(id: str, text: str = "", epoch: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "epoch": epoch,
        "input": [message("user", "attachment://77")],
        "choices": ["a clay jug", "a tin kettle"],
        "target": "B",
        "messages": [],
        "output": output(text) if text else {"model": "m", "choices": [], "completion": ""},
        "scores": {"choice": {"value": "C" if "B" in text else "I", "answer": "B"}},
        "metadata": {"subfield": "x", "topic_difficulty": "Easy"},
        "attachments": {"77": "Which one is shown?"},
        **more,
    }


SAMPLES = [
    sample("validation_Art_1", "ANSWER: B"),
    sample("validation_Art_2", error={"message": "timed out", "traceback": ""}),
    sample("validation_Art_1", "ANSWER: A", epoch=2),
]
HEADER = {
    "version": 2,
    "status": "success",
    "eval": {
        "task": "inspect_evals/mmmu_multiple_choice",
        "model": "openai/m",
        "created": "2025-11-30T10:15:00+00:00",
        "config": {"epochs": 2},
        "packages": {"inspect_ai": "0.3.285"},
    },
    "results": {
        "scores": [{"name": "choice", "metrics": {"accuracy": {"name": "accuracy", "value": 0.5}}}]
    },
}


def log(path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    if path.suffix == ".json":
        indent = 2 if path.stem == "log" else None
        path.write_text(json.dumps({**HEADER, "samples": SAMPLES}, indent=indent))
        return path
    with zipfile.ZipFile(path, "w", method) as archive:
        for one in SAMPLES:
            archive.writestr(f"samples/{one['id']}_epoch_{one['epoch']}.json", json.dumps(one))
        archive.writestr("header.json", json.dumps(HEADER))
    return path


@pytest.mark.parametrize("name", ["log.json", "one-line.json", "log.eval"])
def test_inspect_ais_logs(name: str, tmp_path: Path) -> None:
    file = read(log(tmp_path / name), conventions_of("mmmu"))
    first, failed = file.lines
    assert file.format == "inspect_ai log, the first of 2 epochs"
    assert (first.key, first.prediction.response) == ("validation_Art_1", "ANSWER: B")
    assert first.prompt == "Which one is shown?"
    assert first.row is not None and first.row["question_type"] == "multiple-choice"
    assert (first.row["answer"], first.row["options"]) == ("B", ["a clay jug", "a tin kettle"])
    assert (failed.prediction.response, failed.prediction.error) == (None, "timed out")


def packed_by_zstd(path: Path) -> Path:
    """The log as inspect_ai writes it, with a method that Python's zipfile did not know."""
    path = log(path, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    packed = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
    with packed:
        for info in infos:
            start = info.header_offset + 30 + len(info.filename)
            content = bytes(data[start : start + info.file_size])
            packed.writestr(info.filename, pa.compress(content, "zstd", asbytes=True))
    data = bytearray(path.read_bytes())
    for info, now in zip(infos, packed.infolist(), strict=True):
        entry = data.index(info.filename.encode(), packed.start_dir) - 46
        for header, method, size in ((now.header_offset, 8, 22), (entry, 10, 24)):
            data[header + method : header + method + 2] = inspect_ai.ZSTD.to_bytes(2, "little")
            data[header + size : header + size + 4] = info.file_size.to_bytes(4, "little")
    path.write_bytes(data)
    return path


def test_archives_that_python_cannot_unpack(tmp_path: Path) -> None:
    file = read(packed_by_zstd(tmp_path / "log.eval"), conventions_of("mmmu"))
    assert [line.prediction.response for line in file.lines] == ["ANSWER: B", None]


def test_runs_of_inspect_ai_are_found(tmp_path: Path) -> None:
    log(tmp_path / "a.eval")
    log(tmp_path / "b.json")
    (tmp_path / "other.json").write_text('{"eval": 1}')
    benchmarks = {task.name: task.conventions for task in loading.every(None)}
    found, skipped = find_runs(tmp_path, benchmarks)
    assert [run.model for run in found] == ["openai/m", "openai/m"] and not skipped
    [task] = found[0].tasks
    assert (task.name, task.spec) == ("mmmu_multiple_choice", "mmmu@validation")
    assert (task.metric, task.reported, found[0].version) == ("accuracy", 50, "0.3.285")
    assert task.values == {"validation_Art_1": 1, "validation_Art_2": 0}


def test_a_log_of_an_unfinished_run_or_without_samples_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.eval", "w") as archive:
        archive.writestr("_journal/start.json", "{}")
    with pytest.raises(VlmbenchError, match="has not ended"):
        read(tmp_path / "a.eval", conventions_of("mmmu"))
    (tmp_path / "b.json").write_text(json.dumps(HEADER))
    with pytest.raises(VlmbenchError, match="without samples"):
        list(read(tmp_path / "b.json", conventions_of("mmmu")).lines)
