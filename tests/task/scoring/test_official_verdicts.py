"""`vlmbench score` reproduces the official evaluators' verdicts, from hub-like rows to scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

Rows = list[dict[str, Any]]
Conformance = Callable[[str], tuple[Rows, dict[str, Any]]]


def line(id: object, response: str, sample: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": id, "response": response, "sample": sample, **more}


def vqa_lines(rows: Rows) -> Iterator[dict[str, Any]]:
    for row in rows:
        nested = [{"answer": a, "answer_id": i + 1} for i, a in enumerate(row["answers"])]
        kinds = {key: row[key] for key in ("question_id", "answer_type", "question_type")}
        yield line(row["id"], row["prediction"], kinds | {"answers": nested, "image_id": 1})


def textvqa_lines(rows: Rows) -> Iterator[dict[str, Any]]:
    for row in rows:
        sample = {"question_id": row["question_id"], "answers": row["answers"]}
        yield line(row.get("id", row["question_id"]), row["prediction"], sample)


def docvqa_lines(rows: Rows) -> Iterator[dict[str, Any]]:
    for row in rows:
        sample = {"questionId": str(row["question_id"]), "answers": row["answers"]}
        yield line(row.get("id", row["question_id"]), row["prediction"], sample)


def mmmu_lines(rows: Rows) -> Iterator[dict[str, Any]]:
    for row in rows:
        answer = row["answer"]
        sample = {
            "id": row["id"],
            "question_type": row["question_type"],
            "options": repr(list(row["index2ans"].values()) if "index2ans" in row else []),
            "answer": answer if isinstance(answer, str) else repr(answer),
        }
        if "prediction" in row:
            yield line(row["id"], "", sample, extraction=row["prediction"])
        else:
            yield line(row["id"], row["response"], sample)


def mathvista_lines(rows: Rows) -> Iterator[dict[str, Any]]:
    columns = ("pid", "question", "choices", "unit", "answer", "question_type", "answer_type")
    for row in rows:
        precision = None if row["precision"] is None else float(row["precision"])  # as on the hub
        sample = {name: row[name] for name in columns} | {"precision": precision}
        sample["metadata"] = row.get("metadata")
        id = row.get("id", row["pid"])
        yield line(id, row.get("response", ""), sample, extraction=row["extraction"])


def mmbench_lines(rows: Rows) -> Iterator[dict[str, Any]]:
    for row in rows:
        sample = {key: row[key] for key in ("index", "question", "answer", "split")}
        sample |= {letter: "nan" if row[letter] is None else row[letter] for letter in "ABCD"}
        yield line(row["index"], row["prediction"], sample)


def values(scores: Rows) -> dict[str, Any]:
    return {str(score["id"]): score["value"] for score in scores}


def test_vqav2(
    conformance: Conformance, conformance_cases: Callable[[str], list[str]], score: Any
) -> None:
    for case in conformance_cases("vqa/*"):
        rows, expected = conformance(case)
        outcome = score("vqav2", vqa_lines(rows), "--json")
        verdicts = {id: verdict["vqa"] for id, verdict in expected["samples"].items()}
        assert values(outcome.scores) == pytest.approx(verdicts, abs=1e-9)
        assert outcome.json["score"] == pytest.approx(
            expected["aggregate"]["vqa"]["overall_unrounded"], abs=1e-6
        )
        for kind, percent in expected["aggregate"]["vqa"]["perAnswerType"].items():
            found = outcome.json["breakdown"]["answer_type"][kind]["score"]
            assert found == pytest.approx(percent, abs=0.0051)  # printed with two decimals


def test_textvqa(
    conformance: Conformance, conformance_cases: Callable[[str], list[str]], score: Any
) -> None:
    for case in conformance_cases("textvqa/*"):
        rows, expected = conformance(case)
        outcome = score("textvqa@validation", textvqa_lines(rows), "--json")
        assert values(outcome.scores) == pytest.approx(expected["samples"], abs=1e-9)
        if case.endswith("llava-1.5-13b"):
            assert round(outcome.json["score"], 3) == 61.254


def test_docvqa(
    conformance: Conformance, conformance_cases: Callable[[str], list[str]], score: Any
) -> None:
    for case in conformance_cases("docvqa/*"):
        rows, expected = conformance(case)
        outcome = score("docvqa", docvqa_lines(rows), "--json")
        verdicts = {id: verdict["docvqa"] for id, verdict in expected["samples"].items()}
        assert values(outcome.scores) == pytest.approx(verdicts, abs=1e-9)
        figure = 100 * expected["aggregate"]["docvqa"]
        assert outcome.json["score"] == pytest.approx(figure, abs=1e-6)


@pytest.mark.parametrize("pattern", ["*_parse_and_eval", "*_eval_only", "differential_*"])
def test_mmmu(
    pattern: str,
    conformance: Conformance,
    conformance_cases: Callable[[str], list[str]],
    score: Any,
) -> None:
    for case in conformance_cases(f"mmmu/{pattern}"):
        rows, expected = conformance(case)
        outcome = score("mmmu@validation", mmmu_lines(rows), "--json")
        choices = {row["id"]: row.get("all_choices", ()) for row in rows}
        for scored in outcome.scores:
            verdict = expected["samples"][scored["id"]]
            if verdict.get("random_fallback"):
                assert scored["parsed"] is None
                assert scored["value"] == pytest.approx(1 / len(choices[scored["id"]]))
            else:
                assert scored["value"] == float(verdict["correct"]), (case, scored)
        if case.endswith("llava1.5_13b_parse_and_eval"):
            # two answers of 900 are drawn at random there
            assert outcome.json["score"] == pytest.approx(36.7, abs=200 / 900)


def test_mathvista(
    conformance: Conformance, conformance_cases: Callable[[str], list[str]], score: Any
) -> None:
    for case in conformance_cases("mathvista/*"):
        rows, expected = conformance(case)
        outcome = score("mathvista@testmini", mathvista_lines(rows), "--json")
        extractions = {str(row.get("id", row["pid"])): row["extraction"] for row in rows}
        for scored in outcome.scores:
            verdict = expected["samples"][str(scored["id"])]
            assert scored["value"] == float(verdict["true_false"]), (case, scored)
            # an empty extraction is credited as the official rules do, but counts as unparsed
            assert scored["parsed"] in (verdict["prediction"], None), (case, scored)
            if scored["parsed"] is None and verdict["prediction"] is not None:
                assert str(extractions[str(scored["id"])]).strip() == "", (case, scored)
        if case.endswith("bard"):
            assert outcome.json["score"] == pytest.approx(34.8)
            for group, figures in expected["aggregate"].items():
                for key, figure in figures.items() if group != "average" else ():
                    found = outcome.json["breakdown"][group][key]
                    assert found["n"] == figure["total"]
                    assert found["score"] == pytest.approx(100 * figure["accuracy"])


def test_mmbench(
    conformance: Conformance, conformance_cases: Callable[[str], list[str]], score: Any
) -> None:
    for case in conformance_cases("mmbench/*"):
        rows, expected = conformance(case)
        outcome = score("mmbench@dev-en-20230712", mmbench_lines(rows), "--json")
        for scored in outcome.scores:
            verdict = expected["samples"][str(scored["id"])]
            assert scored["parsed"] == verdict["inferred"], (case, scored)
            assert scored["vanilla"] == verdict["vanilla_hit"], (case, scored)
            assert scored["value"] == verdict.get("circular_hit"), (case, scored)
        figures = expected["aggregate"]
        vanilla = outcome.json["breakdown"]["vanilla"]
        assert outcome.json["score"] == pytest.approx(100 * figures["circular_acc"])
        main_rows = vanilla["main rows"]["score"]
        assert main_rows == pytest.approx(100 * figures["vanilla_circ0_acc"])
        assert vanilla["all rows"]["score"] == pytest.approx(100 * figures["vanilla_all_acc"])
        if case.endswith("llava-1.5-13b_dev20230712"):
            assert round(outcome.json["score"], 2) == 67.69
