"""Our `lmms` profile against lmms-eval's own scorers, sample by sample, on conformance outputs.

    .venv/bin/pip install --no-deps lmms-eval==0.7.3 loguru
    .venv/bin/python scripts/crosscheck_lmms.py --conformance ../shared/conformance

Each task's `process_results` (or what it is made of, where that asks a language model) and its
aggregation run from lmms-eval's own files; only what they import and do not score with (the rest of
the harness, servers) is left out. Where theirs draws a letter at random it is run once for each
letter, which gives the expected credit, the value that our profile has.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import importlib.util
import io
import json
import math
import random
import statistics
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from vlmbench.metrics import anls, mathvista, mmbench, mmmu, vqa
from vlmbench.metrics.mathvista.verdict import verdict_of_extraction

TOLERANCE = 1e-9
LEFT_OUT = ("sacrebleu", "openai", "dotenv", "lmms_eval.llm_judge", "lmms_eval.verifiers")
"""Imported by the scorers' files, and no part of a rule."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pair:
    """One sample's credit by theirs and by ours."""

    id: str
    theirs: float
    ours: float
    cause: str = ""
    """Of a difference that is known."""
    rows: tuple[Row, ...] = ()
    """What their aggregation takes, where it does not take credits; none if they would draw."""


@dataclass(slots=True)
class Count:
    """A task's figures."""

    compared: int = 0
    equal: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    sums: list[tuple[str, float, float]] = field(default_factory=list)
    """Case, their aggregation, and ours on the same scale."""

    def add(self, case: str, pair: Pair) -> None:
        self.compared += 1
        if math.isclose(pair.theirs, pair.ours, abs_tol=TOLERANCE):
            self.equal += 1
        elif pair.cause:
            self.causes[pair.cause] += 1
        else:
            self.unexplained.append(f"{case} {pair.id}: {pair.theirs} {pair.ours}")


def load(name: str) -> Any:
    """One of lmms-eval's modules, without running its packages' own first lines."""
    root = _root()
    packages = ("lmms_eval", "lmms_eval.api", "lmms_eval.tasks", "lmms_eval.tasks._task_utils")
    for package in packages:
        if package not in sys.modules:
            module = types.ModuleType(package)
            module.__path__ = [str(root.joinpath(*package.split(".")[1:]))]
            sys.modules[package] = module
    for left_out in LEFT_OUT:
        sys.modules.setdefault(left_out, mock.MagicMock())
    sys.modules.setdefault("lmms_eval.verifiers.openai", mock.MagicMock())
    registry = sys.modules.setdefault("lmms_eval.api.registry", mock.MagicMock())
    for register in ("register_aggregation", "register_metric"):
        setattr(registry, register, lambda *_, **__: lambda function: function)
    if "Levenshtein" not in sys.modules and importlib.util.find_spec("Levenshtein") is None:
        from rapidfuzz.distance import Levenshtein

        stand_in = types.ModuleType("Levenshtein")
        stand_in.distance = Levenshtein.distance  # type: ignore[attr-defined]
        sys.modules["Levenshtein"] = stand_in
    return importlib.import_module(name)


@cache
def _root() -> Path:
    spec = importlib.util.find_spec("lmms_eval")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("lmms-eval is not installed; the first lines of this file have the command")
    return Path(next(iter(spec.submodule_search_locations)))


def vqav2(rows: Sequence[Row]) -> Iterator[Pair]:
    score = load("lmms_eval.tasks.vqav2.utils").vqav2_process_results_val
    for row in rows:
        golds = [{"answer": text, "answer_id": i} for i, text in enumerate(row["answers"])]
        doc = {"question_id": row["id"], "answers": golds}
        theirs = score(doc, [row["prediction"].strip()])["exact_match"]
        ours = vqa.vqav2(row["prediction"], row["answers"], "lmms").value
        yield Pair(row["id"], theirs, ours)


def textvqa(rows: Sequence[Row]) -> Iterator[Pair]:
    score = load("lmms_eval.tasks.textvqa.utils").textvqa_process_results
    for row in rows:
        doc = {"question_id": row["question_id"], "answers": list(row["answers"])}
        theirs = score(doc, [row["prediction"].strip()])["exact_match"]
        ours = vqa.textvqa(row["prediction"], row["answers"], "lmms").value
        yield Pair(str(row.get("id", row["question_id"])), theirs, ours)


def docvqa(rows: Sequence[Row]) -> Iterator[Pair]:
    score = load("lmms_eval.api.metrics").anls
    for row in rows:
        golds = row["answers"]
        theirs = score(references=golds, predictions=[row["prediction"].strip()])["anls"]
        ours = anls.docvqa(row["prediction"], golds, "lmms").value
        yield Pair(str(row.get("id", row["question_id"])), theirs, ours)


def mmmu_doc(row: Row) -> Row:
    """The hub's row: options and several answers are the text of a list."""
    answer = row["answer"]
    return {
        "id": "validation_Math_1",  # only its form matters
        "question_type": "multiple-choice" if row["question_type"] == "multiple-choice" else "open",
        "options": repr([row["index2ans"][letter] for letter in row.get("all_choices") or ()]),
        "answer": answer if isinstance(answer, str) else repr(answer),
    }


def mmmu_validation(rows: Sequence[Row]) -> Iterator[Pair]:
    utils = load("lmms_eval.tasks.mmmu.utils")
    for row in rows:
        doc = mmmu_doc(row)
        draws: list[str] = []

        def values(choose: Callable[[Sequence[str]], str], doc: Row = doc, row: Row = row) -> float:
            with mock.patch.object(random, "choice", choose):
                found = utils.mmmu_process_results(doc, [row["response"].strip()])["mmmu_acc"]
            return float(utils.evaluate_mmmu([found])[1]["acc"])

        def first(letters: Sequence[str], draws: list[str] = draws) -> str:
            draws[:] = letters
            return letters[0]

        theirs = values(first)
        found = () if draws else (utils.mmmu_process_results(doc, [row["response"].strip()]),)
        if draws:
            theirs = statistics.mean(values(lambda _, x=x: x) for x in draws)  # type: ignore[misc]
        response, golds = row["response"], row["answer"]
        golds = (golds,) if isinstance(golds, str) else tuple(golds)
        if doc["question_type"] == "multiple-choice":
            options = {letter: row["index2ans"][letter] for letter in row["all_choices"]}
            ours = mmmu.multiple_choice(response, options, golds, "lmms").value
        else:
            ours = mmmu.open_question(response, golds, "lmms").value
        yield Pair(row["id"], theirs, ours, rows=tuple(each["mmmu_acc"] for each in found))


def mathvista_testmini(rows: Sequence[Row]) -> Iterator[Pair]:
    """From the extraction on: before it, lmms-eval asks a language model."""
    theirs = load("lmms_eval.tasks.mathvista.mathvista_evals").MathVistaEvaluator()
    for row in rows:
        precision = None if row["precision"] is None else float(row["precision"])  # as on the hub
        arguments = (row["choices"], row["question_type"], row["answer_type"], precision)
        problem = mathvista.Problem(
            **{name: row[name] for name in ("question_type", "answer_type", "answer")},
            choices=tuple(row["choices"] or ()),
            precision=precision,
        )
        ours = verdict_of_extraction(row["extraction"], problem, "lmms").value
        prediction = theirs.normalize_extracted_answer(row["extraction"], *arguments)
        is_right = theirs.safe_equal(prediction, row["answer"])
        yield Pair(str(row.get("id", row["pid"])), float(is_right), ours)


def mmbench_dev(rows: Sequence[Row]) -> Iterator[Pair]:
    """A question with all its rotations; a row that no rule decides is worth the draw, 1 in 5."""
    import pandas as pd

    evaluator = load("lmms_eval.tasks.mmbench.mmbench_evals").MMBench_Evaluator()
    groups: dict[int, list[Row]] = {}
    for row in rows:
        texts = {letter: "nan" if row[letter] is None else row[letter] for letter in "ABCD"}
        prediction = str(row["prediction"]).strip()
        groups.setdefault(int(row["index"]) % 1_000_000, []).append(
            row | texts | {"prediction": prediction}
        )
    for index, group in groups.items():
        answers = {row["index"]: row["answer"] for row in group}
        undecided = [row for row in group if not evaluator.prefetch_answer(pd.Series(row))]
        right = iter([row["answer"] for row in undecided])  # what the judge would have to say
        evaluator.extract_answer_from_item = lambda item, right=right: (next(right), "")
        is_right = evaluator.eval_sub_data(pd.DataFrame(group), answers)
        ours = mmbench.circular(
            mmbench.row(
                row["prediction"],
                {letter: row[letter] for letter in "ABCD" if row[letter] != "nan"},
                row["answer"],
                "lmms",
            ).value
            for row in group
        )
        credit = is_right / 5 ** len(undecided)
        yield Pair(str(index), credit, ours, rows=() if undecided else tuple(group))


TASKS: Mapping[str, tuple[tuple[str, ...], Callable[[Sequence[Row]], Iterator[Pair]]]] = {
    "vqav2": (("vqa/*",), vqav2),
    "textvqa": (("textvqa/*", "vqa/differential"), textvqa),
    "docvqa": (("docvqa/*",), docvqa),
    "mmmu": (("mmmu/*_parse_and_eval", "mmmu/differential_*"), mmmu_validation),
    "mathvista": (("mathvista/*",), mathvista_testmini),
    "mmbench": (("mmbench/*",), mmbench_dev),
}
SHARED = ("gold.jsonl", "problems.jsonl")
KEYS = ("question_id", "pid")


def cases(folder: Path, patterns: Sequence[str], every: int) -> Iterator[tuple[str, list[Row]]]:
    """Cases by name, with every n-th row; what rows of several models share is put together."""
    for pattern in patterns:
        for expected in sorted(folder.glob(f"{pattern}/expected.json")):
            case = expected.parent
            shared: dict[Any, Row] = {}
            for name in SHARED:
                if (case.parent / name).is_file():
                    shared |= {_key(row): row for row in _lines(case.parent / name)}
            rows = [shared.get(_key(row), {}) | row for row in _lines(case / "input.jsonl")]
            if "circular" not in case.name and case.parent.name != "mmbench":
                rows = rows[::every]
            elif every > 1:
                rows = [row for row in rows if int(row["index"]) % 1_000_000 % every == 0]
            yield case.relative_to(folder).as_posix(), rows


def _key(row: Row) -> Any:
    return next((row[key] for key in KEYS if key in row), None)


def _lines(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def aggregated(task: str, rows: Sequence[Row], pairs: Sequence[Pair]) -> tuple[float, float]:
    """Their aggregation of their values, and our mean, on the same scale."""
    ours = statistics.fmean(pair.ours for pair in pairs)
    theirs = [pair.theirs for pair in pairs]
    if task == "mathvista":
        found = [
            {"question_id": pair.id, "true_false": bool(pair.theirs), "metadata": METADATA}
            | dict.fromkeys(("question_type", "answer_type"), "x")
            for pair in pairs
        ]
        utils = load("lmms_eval.tasks.mathvista.utils")
        figure = utils.mathvista_aggregate_results(copy.deepcopy(found), None)
        return figure or 0.0, round(100 * ours, 2)
    decided = [pair for pair in pairs if pair.rows]
    if decided:
        ours = statistics.fmean(pair.ours for pair in decided)
        found = [row | {"category": "x"} for pair in decided for row in pair.rows]
        if task == "mmmu":
            utils = load("lmms_eval.tasks.mmmu.utils")
            return utils.mmmu_aggregate_results(found), round(ours, 5)
        evaluator = load("lmms_eval.tasks.mmbench.mmbench_evals").MMBench_Evaluator()
        return float(evaluator.eval_result(found, "static")[0]), ours
    return load("lmms_eval.api.metrics").mean(theirs), ours


METADATA = {
    **dict.fromkeys(("language", "source", "category", "task", "context", "grade"), "x"),
    **{"skills": ["x"], "split": "testmini"},
}


def check(folder: Path, task: str, every: int = 1) -> Count:
    patterns, pairs_of = TASKS[task]
    count = Count()
    for case, rows in cases(folder, patterns, every):
        with contextlib.redirect_stdout(io.StringIO()):
            pairs = list(pairs_of(rows))
            count.sums.append((case, *aggregated(task, rows, pairs)))
        for pair in pairs:
            count.add(case, pair)
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--conformance", type=Path, required=True, metavar="DIR")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th sample")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with contextlib.suppress(ImportError):
        from loguru import logger

        logger.remove()
    counts = {task: check(args.conformance, task, args.every) for task in TASKS}
    if args.json:
        print(json.dumps({task: _as_json(count) for task, count in counts.items()}, indent=1))
        return 0
    for task, count in counts.items():
        off = max((abs(a - b) for _, a, b in count.sums), default=0.0)
        print(
            f"{task:10} compared {count.compared:6,}  equal {count.equal:6,}  "
            f"different {count.compared - count.equal:4,}  sums of {len(count.sums)} cases "
            f"within {off:.1e}"
        )
        for cause, number in count.causes.items():
            print(f"           {number} {cause}")
        for line in count.unexplained[:5]:
            print(f"           not explained: {line}")
    return int(any(count.unexplained for count in counts.values()))


def _as_json(count: Count) -> dict[str, Any]:
    return {
        "compared": count.compared,
        "equal": count.equal,
        "causes": dict(count.causes),
        "unexplained": count.unexplained,
        "sums": count.sums,
    }


if __name__ == "__main__":
    sys.exit(main())
