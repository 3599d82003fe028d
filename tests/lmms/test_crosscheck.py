"""Our `lmms` profile gives lmms-eval's own verdicts, and its known bugs are still its."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "crosscheck_lmms.py"
EVERY = 40
TASKS = ("vqav2", "textvqa", "docvqa", "mmmu", "mathvista", "mmbench")

ASK = """
import json, runpy, sys
script = runpy.run_path(sys.argv[1])
from loguru import logger
logger.remove()
load = script["load"]
answers = []
for code, document, response in json.loads(sys.argv[2]):
    exec(code)
    answers.append(found)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module", autouse=True)
def needs_their_scorers() -> None:
    for name in ("lmms_eval", "loguru"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install --no-deps lmms-eval==0.7.3 loguru")


@pytest.fixture(scope="module")
def counts() -> Any:
    folder = Path(os.environ.get("VLMBENCH_CONFORMANCE", ROOT.parent / "shared" / "conformance"))
    if not folder.is_dir():
        pytest.skip(f"no conformance folder {folder}")
    command = [
        sys.executable,
        str(SCRIPT),
        "--conformance",
        str(folder),
        "--every",
        str(EVERY),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("task", TASKS)
def test_every_verdict_is_theirs(counts: Any, task: str) -> None:
    found = counts[task]
    assert found["compared"] > 50
    assert found["unexplained"] == []
    assert found["equal"] == found["compared"] - sum(found["causes"].values())


@pytest.mark.parametrize("task", TASKS)
def test_their_sum_of_a_case_is_ours(counts: Any, task: str) -> None:
    for case, theirs, ours in counts[task]["sums"]:
        assert ours == pytest.approx(theirs, abs=1e-9), case


MATHVISTA = """
evaluator = load("lmms_eval.tasks.mathvista.mathvista_evals").MathVistaEvaluator()
found = evaluator.normalize_extracted_answer(response, *document)
"""
MMBENCH = """
evaluator = load("lmms_eval.tasks.mmbench.mmbench_evals").MMBench_Evaluator()
found = evaluator.can_infer(response, document)
"""
MMMU = """
parse = load("lmms_eval.tasks._task_utils.mmmu_mcq_utils").parse_mmmu_multi_choice_response
import random
random.choice = lambda letters: "drawn"
found = parse(response, list(document), document)
"""
MMMU_OPEN = """
utils = load("lmms_eval.tasks.mmmu.utils")
processed = utils.mmmu_process_results(document, [response])["mmmu_acc"]
found = utils.evaluate_mmmu([processed])[1]["acc"]
"""
VQAV2 = """
score = load("lmms_eval.tasks.vqav2.utils").vqav2_process_results_val
score(document, [response])
found = [answer["answer"] for answer in document["answers"]]
"""
UNWRAP = """
found = load("lmms_eval.api.instance").unwrap_generation_output((response, document))[0]
"""
QUESTION = """
ask = load("lmms_eval.tasks.textvqa.utils").textvqa_doc_to_text
found = ask(document, {"pre_prompt": "", "post_prompt": "", "ocr": False})
"""
COLOURS = {"A": "red", "B": "green", "C": "blue", "D": "yellow"}
FRUIT = {"A": "apple", "B": "grape", "C": "pear", "D": "nan"}


BUGS = [
    pytest.param(
        *(MATHVISTA, [None, "free_form", "float", 2.0], "1.45", None),
        id="MathVista rounds to 2.0 places, so no float answer is ever right",
    ),
    pytest.param(
        *(MATHVISTA, [["elephant", "cat"], "multi_choice", "text", None], "", "cat"),
        id="MathVista credits an empty answer with the shortest choice",
    ),
    pytest.param(
        *(MMBENCH, FRUIT, "It is a banana", "D"),
        id="MMBench finds the option that is missing, nan, in banana",
    ),
    pytest.param(
        *(UNWRAP, False, 1.5, "(1.5, False)"),
        id="log-likelihoods become texts, which no task scores",
    ),
    pytest.param(*(MMBENCH, COLOURS, "E", "E"), id="MMBench reads E where four options are"),
    pytest.param(
        *(MMMU, COLOURS, "NASA logo", "A"), id="MMMU takes a word's last letter for an option"
    ),
    pytest.param(*(MMMU, COLOURS, "**B**", "drawn"), id="MMMU draws for a bold letter"),
    pytest.param(
        MMMU_OPEN,
        {
            "id": "validation_Math_15",
            "question_type": "open",
            "options": "[]",
            "answer": "['24/7', '3.429']",
        },
        "3.429",
        0.0,
        id="MMMU takes a list of gold answers for one text",
    ),
    pytest.param(
        VQAV2,
        {
            "question_id": 1,
            "answers": [{"answer": "Two dogs.", "answer_id": n} for n in range(10)],
        },
        "x",
        ["2 dogs"] * 10,
        id="VQAv2 changes the document that it scores",
    ),
    pytest.param(
        *(QUESTION, {"question": "What does the NASA sign say?"}, ""),
        "What does the nasa sign say?",
        id="TextVQA's prompt loses the capitals of a question",
    ),
]


@pytest.fixture(scope="module")
def their_answers() -> list[Any]:
    """What lmms-eval's own code makes of each, in a process that has its modules to itself."""
    given = json.dumps([bug.values[:3] for bug in BUGS])
    command = [sys.executable, "-c", ASK, str(SCRIPT), given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.mark.parametrize(("code", "document", "response", "found"), BUGS)
def test_known_bugs_of_theirs(
    code: str, document: Any, response: Any, found: Any, their_answers: list[Any]
) -> None:
    asked = [bug.values[:3] for bug in BUGS].index((code, document, response))
    assert their_answers[asked] == found
