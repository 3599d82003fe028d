"""Result folders as the other harnesses write them, of the example predictions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

EXAMPLES = Path(__file__).parents[3] / "results" / "examples"


@pytest.fixture(scope="session")
def examples() -> Callable[[str], list[dict[str, Any]]]:
    """A function: a task -> its example predictions, each with `id`, `response` and `sample`."""

    def read(task: str) -> list[dict[str, Any]]:
        lines = (EXAMPLES / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    return read


@pytest.fixture
def lmms_folder(tmp_path: Path, examples: Callable[[str], list[dict[str, Any]]]) -> Path:
    """lmms-eval 0.7's: one document wrong on purpose, to be seen as a difference."""
    folder = tmp_path / "logs" / "HuggingFaceM4__idefics2-8b"
    folder.mkdir(parents=True)
    docvqa, mmmu = examples("docvqa"), examples("mmmu")
    _lines(
        folder / "20260801_120000_samples_docvqa_val.jsonl",
        [
            {
                "doc_id": number,
                "target": str(one["sample"]["answers"]),
                "filtered_resps": one["response"],
                "token_counts": [None],
                "anls": 0.25 if number == 0 else 1.0,
                "submission": {"questionId": int(one["id"]), "answer": one["response"]},
                "input": one["sample"]["question"],
            }
            for number, one in enumerate(docvqa)
        ],
    )
    _lines(
        folder / "20260801_120000_samples_mmmu_val.jsonl",
        [
            {
                "doc_id": number,
                "doc": one["sample"],
                "target": one["sample"]["answer"],
                "filtered_resps": [one["response"]],
                "mmmu_acc": {
                    "id": one["id"],
                    "question_type": one["sample"]["question_type"],
                    "answer": one["sample"]["answer"],
                    "parsed_pred": [one["sample"]["answer"]],
                },
                "input": "prompt",
            }
            for number, one in enumerate(mmmu)
        ],
    )
    results = {
        "results": {
            "docvqa_val": {"alias": "docvqa_val", "anls,none": 0.5, "anls_stderr,none": 0.1},
            "mmmu_val": {"mmmu_acc,none": 0.45},
            "mme": {"mme_perception_score,none": 1500.0},
        },
        "configs": {"docvqa_val": {"generation_kwargs": {"max_new_tokens": 32}}},
        "n-shot": {"docvqa_val": 0},
        "config": {
            "model": "idefics2",
            "model_args": "pretrained=HuggingFaceM4/idefics2-8b,api_key=secret123",
        },
        "model_name": "HuggingFaceM4/idefics2-8b",
        "lmms_eval_version": "main@75571cfe",
        "date": "20260801_120000",
    }
    (folder / "20260801_120000_results.json").write_text(json.dumps(results), encoding="utf-8")
    return folder.parent


@pytest.fixture
def kit_folder(tmp_path: Path, examples: Callable[[str], list[dict[str, Any]]]) -> Path:
    """VLMEvalKit's, with the links to its latest files and a sheet of verdicts."""
    folder = tmp_path / "outputs" / "llava"
    evaluation = folder / "T20260701_G0a1b2c3d"
    evaluation.mkdir(parents=True)
    asked = [
        {
            "index": one["id"],
            "question": one["sample"]["question"],
            "answer": str(one["sample"]["answers"]),
            "prediction": one["response"],
        }
        for one in examples("docvqa")
    ]
    _sheet(evaluation / "llava_DocVQA_VAL.xlsx", asked)
    verdicts = [{**row, "eval_score": float(n > 0)} for n, row in enumerate(asked)]
    _sheet(evaluation / "llava_DocVQA_VAL_results.xlsx", verdicts)
    (evaluation / "llava_DocVQA_VAL_acc.csv").write_text('"val","Overall"\n"80.5","80.5"\n')
    (folder / "llava_DocVQA_VAL.xlsx").symlink_to(evaluation / "llava_DocVQA_VAL.xlsx")
    return folder.parent


def _lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def _sheet(path: Path, rows: list[dict[str, Any]]) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in [list(rows[0]), *(list(row.values()) for row in rows)]:
        book.active.append(row)
    book.save(path)
