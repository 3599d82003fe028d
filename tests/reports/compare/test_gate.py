"""`vlmbench gate`: what it says, with which exit code, and how often it is wrong."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlmbench import files
from vlmbench.cli.main import main
from vlmbench.metrics import noninferiority
from vlmbench.metrics.paired import difference
from vlmbench.runs.folder import single_stream
from vlmbench.runs.folder.costs import Place
from vlmbench.schema import Response

VQA, MMB = "vqav2@validation", "mmbench@dev-en"

WIDE = 50
"""Points of which a few samples of few pictures can tell."""

Answered = Callable[..., Path]


@pytest.fixture
def vqa(made_rows: Callable[..., list[dict[str, Any]]]) -> dict[str, str]:
    """The right answers of VQAv2's rows by id."""
    rows = made_rows("vqav2", "validation")
    return {str(row["question_id"]): row["multiple_choice_answer"] for row in rows}


@pytest.fixture
def mmb(made_rows: Callable[..., list[dict[str, Any]]]) -> dict[str, str]:
    return {str(row["index"]): row["answer"] for row in made_rows("mmbench", "dev-en")}


@pytest.fixture
def gate(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """A function: arguments -> the exit code and what is printed with --json."""

    def run(*arguments: object) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = main(["gate", *map(str, arguments), "--json"])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if code != 2 else {"error": printed.err}

    return run


def test_like_runs_go_where_the_limit_is_wide_and_are_open_where_it_is_narrow(
    gate: Any, answered: Answered, vqa: dict[str, str]
) -> None:
    a, b = (answered(name, {VQA: vqa}) for name in "ab")
    code, found = gate(a, b, "--max-drop", WIDE)
    assert (code, found["answer"]) == (0, "GO")
    code, found = gate(a, b)
    [one] = found["criteria"]
    assert (code, found["answer"], one["limit"], one["left"]) == (3, "INCONCLUSIVE", -1, 0)
    assert one["more"] > 100 and "the split has no more" in one["way_out"]
    limit = one["way_out"].rpartition(" ")[2]
    assert gate(a, b, "--max-drop", limit)[0] == 0
    assert gate(a, b, "--max-drop", float(limit) - 0.02)[0] == 3


def test_a_worse_candidate_is_no_go_and_the_last_line_says_which_task(
    capsys: pytest.CaptureFixture[str],
    answered: Answered,
    vqa: dict[str, str],
    mmb: dict[str, str],
) -> None:
    a = answered("a", {VQA: vqa, MMB: mmb})
    b = answered("b", {VQA: dict.fromkeys(vqa, "zebra"), MMB: mmb})
    assert main(["gate", str(a), str(b), "--max-drop", "20"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"NO-GO: drop of {VQA} -") and MMB not in last
    assert main(["gate", str(a), str(b), "--max-drop", "60", "--tasks", "mmbench"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"GO: no drop of more than 60 points in {MMB}"
    assert main(["gate", str(b), str(a), "--max-drop", "60"]) == 0


def test_a_gain_is_asked_of_the_mean_over_the_tasks(
    gate: Any, answered: Answered, vqa: dict[str, str], mmb: dict[str, str]
) -> None:
    a = answered("a", {VQA: dict.fromkeys(vqa, "zebra"), MMB: mmb})
    b = answered("b", {VQA: vqa, MMB: mmb})
    code, found = gate(a, b, "--max-drop", 90, "--min-gain", 5)
    *_, gain = found["criteria"]
    assert (code, gain["kind"], gain["name"], gain["left"]) == (0, "gain", "mean of 2", None)
    assert 5 < gain["low"] < gain["value"] < gain["high"]
    assert gate(a, b, "--max-drop", 90, "--min-gain", 95)[0] == 1
    assert gate(a, b, "--max-drop", 90, "--min-gain", round(gain["value"]))[0] == 3


def test_failed_samples_are_no_way_to_a_go(
    gate: Any, answered: Answered, vqa: dict[str, str], mmb: dict[str, str]
) -> None:
    """They are counted as wrong where that is the worse, and as right where that is."""
    a = answered("a", {VQA: vqa})
    some = answered("some", {VQA: dict(list(vqa.items())[3:])})
    code, found = gate(a, some, "--max-drop", WIDE)
    [one] = found["criteria"]
    assert (code, one["n"], one["num_failed"], one["value"]) == (3, 9, 3, 0)
    assert "3 samples failed in one run" in one["reason"] and one["more"] is None
    assert gate(some, a, "--max-drop", WIDE)[0] == 0, "right, whatever the baseline had said"
    none = answered("none", {VQA: {}})
    code, found = gate(a, none)
    [one] = found["criteria"]
    assert (code, one["value"], one["reason"]) == (3, None, "no sample is scored in both runs")
    group = [id for id in mmb if int(id) % 1_000_000 == 501]
    whole = answered("whole", {MMB: mmb})
    part = answered("part", {MMB: {id: text for id, text in mmb.items() if id != group[0]}})
    _, found = gate(whole, part)
    [one] = found["criteria"]
    questions = {int(id) % 1_000_000 for id in mmb}
    assert (one["n"], one["num_failed"]) == (len(questions) - 1, 1)


def test_samples_of_one_run_alone_are_left_out_and_counted(
    capsys: pytest.CaptureFixture[str], answered: Answered, vqa: dict[str, str]
) -> None:
    _, *rest = vqa
    a = answered("a", {VQA: {id: vqa[id] for id in rest}})
    b = answered("b", {VQA: {id: vqa[id] for id in rest}}, ids=list(vqa)[:9])
    assert main(["gate", str(a), str(b), "--max-drop", str(WIDE)]) in (0, 3)
    printed = capsys.readouterr().out
    assert f"{VQA}: 4 samples are left out" in printed, "three that B was not asked, one failed"


def test_samples_that_were_not_run_are_no_go_ahead(
    gate: Any, answered: Answered, vqa: dict[str, str]
) -> None:
    a, b = (answered(name, {VQA: vqa}) for name in "ab")
    manifest = json.loads((b / "run.json").read_text())
    manifest["tasks"][VQA] |= {"num_selected": 14, "num_missing": 2}
    (b / "run.json").write_text(json.dumps(manifest))
    code, found = gate(a, b, "--max-drop", WIDE)
    assert code == 3
    assert "2 samples were not run in the candidate" in found["criteria"][0]["reason"]


@pytest.mark.parametrize(
    ("ratio", "limit", "code"), [(1.0, 1.1, 0), (1.0, 0.8, 1), (1.3, 1.1, 1), (1.08, 1.1, 3)]
)
def test_latency_is_that_of_a_single_stream_paired_by_sample(
    gate: Any, answered: Answered, vqa: dict[str, str], ratio: float, limit: float, code: int
) -> None:
    a, b = (answered(name, {VQA: vqa}) for name in "ab")
    flags = ("--max-drop", WIDE, "--max-latency-ratio", limit)
    answer, found = gate(a, b, *flags)
    assert answer == 3 and "timed alone; run it with --latency N" in found["line"]
    for folder, factor in ((a, 1.0), (b, ratio)):
        for index, id in enumerate(vqa):
            jitter = math.exp(0.1 * (-1) ** index * (factor != 1 or folder == b))
            _time(folder, id, (0.2 + index) * factor * jitter)
    answer, found = gate(a, b, *flags)
    one = found["criteria"][-1]
    assert (answer, one["kind"], one["n"]) == (code, "latency", 12)
    assert one["value"] == pytest.approx(ratio) and one["low"] < one["value"] < one["high"]
    if code == 3:
        assert f"(--latency {12 + one['more']})" in one["way_out"]


def _time(folder: Path, id: str, seconds: float, device: str = "cpu") -> None:
    line = single_stream.encoded(
        VQA,
        id,
        Response(id=id, text="yes", finish_reason="stop"),
        latency_s=seconds,
        place=Place(device=device),
        peak_device_memory_bytes=None,
        prompt="",
        worker="0",
        time=1.0,
    )
    single_stream.append(folder, line)


def test_times_of_different_devices_decide_nothing(
    gate: Any, answered: Answered, vqa: dict[str, str]
) -> None:
    a, b = (answered(name, {VQA: vqa}) for name in "ab")
    for id in vqa:
        _time(a, id, 1.0)
        _time(b, id, 0.1, device="H100")
    code, found = gate(a, b, "--max-drop", WIDE, "--max-latency-ratio", 1.1)
    assert code == 3 and "different devices" in found["line"]


def test_mistakes_are_one_line(
    gate: Any, answered: Answered, vqa: dict[str, str], mmb: dict[str, str]
) -> None:
    a, b = answered("a", {VQA: vqa, MMB: mmb}), answered("b", {VQA: vqa})
    other = answered("other", {VQA: vqa})
    manifest = files.decode((other / "run.json").read_bytes())
    assert isinstance(manifest, dict)
    manifest["data"][VQA]["fingerprint"] = "other"
    (other / "run.json").write_text(json.dumps(manifest))
    for arguments, message in (
        ((a, b), f"the candidate has no official scores of the baseline's {MMB}"),
        ((a, a), "are one run"),
        ((b, other), "other rows"),
        ((a, b, "--tasks", "vqa"), "did you mean vqav2"),
        ((a, b, "--max-drop", "-1"), "from 0 to 100"),
        ((a, b, "--max-drop", "nan"), "from 0 to 100"),
        ((a, b, "--max-latency-ratio", "0"), "such as 1.1"),
    ):
        code, found = gate(*arguments)
        assert code == 2 and message in found["error"] and found["error"].count("\n") == 1
    assert gate(a, b, "--tasks", "vqav2", "--max-drop", WIDE)[0] == 0


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"wrong": 0.3, "num_pictures": 500, "per_picture": 1}, id="independent"),
        pytest.param(
            {"wrong": 0.3, "num_pictures": 200, "per_picture": 5, "agreement": 0.4}, id="clustered"
        ),
    ],
)
@pytest.mark.parametrize("is_fractional", [False, True])
def test_a_candidate_at_the_limit_gets_a_wrong_answer_5_times_in_100(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, float], is_fractional: bool
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "scripts"))
    script = importlib.import_module("gate_error_rates")
    case = script.Case(likeness=0.6, is_fractional=is_fractional, **settings)
    go, no_go, _ = script.rates(case, 0.01, 3000)
    assert 0.04 <= go <= 0.06 and 0.04 <= no_go <= 0.06


def test_so_many_samples_decide_in_80_of_100_cases() -> None:
    rng = np.random.default_rng(0)

    def bounds(n: int) -> noninferiority.Bounds:
        found = difference(*_flipping(rng, n), np.arange(n), noninferiority.go_confidence())
        return noninferiority.Bounds(
            value=found.value,
            low=found.low,
            high=found.high,
            standard_error=found.standard_error,
            degrees=found.degrees,
        )

    needed = [noninferiority.samples_needed(bounds(20_000), -0.02, 20_000, 1) for _ in range(9)]
    n = sorted(one for one in needed if one)[4]
    went = sum(bounds(n).low > -0.02 for _ in range(500)) / 500
    assert 0.7 < went < 0.9


def _flipping(rng: np.random.Generator, n: int) -> tuple[Any, Any]:
    """Scores of two models that are right equally often, and differ on one sample in five."""
    drawn = rng.random(n)
    return (drawn < 0.6).astype(float), ((drawn < 0.5) | (drawn > 0.9)).astype(float)
