"""Targets of a fuzzer: whatever a stranger writes, a scorer scores it and a reader says what it is.

They run for seconds here, and for long by `scripts/fuzz MINUTES`. `corpus.json` has texts that once
did harm, and pieces of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vlmbench import conditions
from vlmbench.backends import weight_files
from vlmbench.data import predictions
from vlmbench.data.rows import Row
from vlmbench.errors import VlmbenchError
from vlmbench.metrics import anls, mathvista, mmbench, mmmu, vqa
from vlmbench.runs.folder.manifest import read_manifest
from vlmbench.runs.folder.responses import decoded
from vlmbench.runs.folder.scores import read_scores, score_of
from vlmbench.runs.folder.usage import sessions
from vlmbench.schema import PROFILES, Profile, Verdict
from vlmbench.task import loading

CORPUS: list[str] = json.loads(Path(__file__).with_name("corpus.json").read_text("utf-8"))

texts = st.one_of(
    st.sampled_from(CORPUS),
    st.text(max_size=30),
    st.lists(st.sampled_from(CORPUS) | st.text(max_size=5), max_size=6).map("".join),
    st.lists(st.sampled_from(CORPUS), max_size=5).map(" ".join),
)
numbers = st.one_of(
    st.integers(), st.floats(), st.sampled_from([10**400, -(10**400), 2**63, 2**64, 1e308, -0.0])
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
options = st.lists(texts, min_size=1, max_size=5).map(
    lambda found: dict(zip("ABCDE", found, strict=False))
)

Scorer = Callable[[str, Any, Profile], Verdict]


def problem(answer_type: str, precision: float | None = None) -> Callable[..., mathvista.Problem]:
    return lambda gold, choices: mathvista.Problem(
        question_type="multi_choice" if choices else "free_form",
        answer_type=answer_type,
        answer=gold,
        precision=precision,
        choices=tuple(choices),
        question=gold,
    )


def check(verdict: Verdict) -> None:
    assert 0 <= verdict.value <= 1 and not math.isnan(verdict.value)
    json.dumps(verdict.parsed, allow_nan=False)


@given(response=texts, golds=st.lists(texts, min_size=1, max_size=3), choices=options)
@example(response="f\u0131ve", golds=["5"], choices={"A": "5"})
@example(response="(A)", golds=["1"], choices={"A": "1", "B": "2"})
def test_scorers_of_texts(response: str, golds: list[str], choices: Mapping[str, str]) -> None:
    letter = next(iter(choices))
    for profile in PROFILES:
        if profile in vqa.VQAV2_PROFILES:
            check(vqa.vqav2(response, golds, profile))
        check(vqa.textvqa(response, golds, profile))
        check(anls.docvqa(response, golds, profile))
        check(mmmu.multiple_choice(response, choices, letter, profile))
        check(mmmu.open_question(response, golds, profile))
        check(mmbench.row(response, {k: choices[k] for k in choices if k != "E"}, letter, profile))
    check(mmmu.final_answer(response, golds, is_multiple_choice=False))
    check(mmmu.pro_multiple_choice(response, choices, letter))


@pytest.mark.parametrize("kind", mathvista.problem.ANSWER_TYPES)
@given(response=texts, final=values, gold=texts, choices=st.lists(texts, max_size=4))
def test_mathvista(kind: str, response: str, final: Any, gold: str, choices: list[str]) -> None:
    asked = problem(kind, 2.0 if kind == "float" else None)(gold, choices)
    for profile in PROFILES:
        check(mathvista.verdict(response, asked, profile))
        check(mathvista.verdict_of_extraction(final, asked, profile))


TASKS = {task.name: task for task in loading.every()}
COLUMNS = sorted({column for task in TASKS.values() for column in task.splits[0].columns})
rows = st.fixed_dictionaries({}, optional={name: values for name in (*COLUMNS, "hint", "category")})


@pytest.mark.parametrize("name", sorted(TASKS))
@given(values=rows)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_rows(name: str, values: dict[str, Any]) -> None:
    task = TASKS[name]
    try:
        sample = task.read(Row(values, where="row 7", key="1"))
    except VlmbenchError as error:
        assert "cannot read this row" not in str(error), error
        assert str(error).startswith(("row 7", "MathVista", "a multi_choice"))
    else:
        assert sample.id


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "file"


def as_lines(documents: list[Any]) -> bytes:
    return "\n".join(json.dumps(document) for document in documents).encode()


KEYS = ("id", "response", "sample", "error", "extraction", "question_id", "answer", "index")
entries = st.dictionaries(st.sampled_from((*KEYS, "prediction", "doc_id", "doc", "resps")), values)
contents = st.one_of(
    st.binary(max_size=60),
    st.lists(entries, min_size=1, max_size=3).map(as_lines),
    st.lists(entries, min_size=1, max_size=3).map(lambda found: json.dumps(found).encode()),
    st.dictionaries(texts, values, max_size=3).map(lambda found: json.dumps(found).encode()),
    st.lists(st.lists(texts, max_size=4).map("\t".join), max_size=4).map(
        lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")
    ),
)
quiet = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.mark.parametrize("name", sorted(TASKS))
@quiet
@given(content=contents)
def test_prediction_files(name: str, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        for line in predictions.read(file, TASKS[name].conventions).lines:
            assert line.key is not None
    except VlmbenchError as error:
        assert str(file) in str(error)


RECORD = {"task": "t@s", "id": "1", "response": "x", "worker": "0", "started": 1.0}
LOGGED = (
    *("visual_tokens", "prompt_tokens", "generated_tokens", "flops", "timings", "time", "attempt"),
    *("images", "reasoning", "token_limit", "ended", "host_energy_j", "work", "notices", "worker"),
)


@quiet
@given(changes=st.dictionaries(st.sampled_from(LOGGED), values, max_size=4), junk=st.binary())
def test_lines_of_logs(tmp_path_factory: Any, file: Path, changes: Any, junk: bytes) -> None:
    line = json.dumps(RECORD | changes).encode() + b"\n"
    for one in (line, junk, junk + b"\n"):
        decoded(one)
    folder = file.parent / "run"
    folder.mkdir(exist_ok=True)
    (folder / "usage-0.jsonl").write_bytes(line + junk + b"\n" + line)
    sessions(folder)


@quiet
@given(changes=st.dictionaries(texts | st.sampled_from(["value", "profiles"]), values), junk=values)
def test_scores_and_manifests(file: Path, changes: dict[str, Any], junk: Any) -> None:
    score = {"id": "1", "value": 1.0, "profiles": {"official": 1.0}, "unparsed": [], "cluster": "c"}
    file.write_bytes(json.dumps(score | {"breakdown": {}, "how": "x"} | changes).encode())
    try:
        for record in read_scores(file):
            score_of(record, ["official"])
    except ValueError:
        pass
    manifest = {"schema_version": 1, "vlmbench": "0", "packages": {}, "hardware": {}}
    (file.parent / "run.json").write_text(json.dumps(manifest | changes | {"model": junk}))
    try:
        read_manifest(file.parent)
    except VlmbenchError as error:
        assert "run.json" in str(error)


@given(texts)
def test_conditions(text: str) -> None:
    try:
        conditions.parse(text)({})
    except VlmbenchError as error:
        assert "condition" in str(error) or "fact" in str(error)


@quiet
@given(length=st.integers(0, 2**64 - 1) | st.integers(0, 300), header=st.binary() | st.just(b""))
def test_headers_of_weights(file: Path, length: int, header: bytes) -> None:
    path = file.with_name("model.safetensors")
    path.write_bytes(length.to_bytes(8, "little") + header)
    try:
        weight_files.weights_digest(path.parent)
    except VlmbenchError as error:
        assert "model.safetensors" in str(error)
