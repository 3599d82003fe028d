"""What `vlmbench score` prints and writes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlmbench.data import splits
from vlmbench.task.loading import parse_spec

EXAMPLES = Path(__file__).parents[3] / "results" / "examples"
TASKS = ("vqav2", "textvqa", "docvqa", "mmmu", "mathvista", "mmbench")


def example(task: str) -> list[dict[str, Any]]:
    text = (EXAMPLES / f"{task}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("task", TASKS)
def test_the_order_of_lines_changes_nothing(task: str, score: Any) -> None:
    lines = example(task)
    first = score(task, lines, "--json")
    assert first.code == 0
    shuffled = lines[:]
    random.Random(3).shuffle(shuffled)
    second = score(task, shuffled, "--json")
    assert second.json == first.json
    assert sorted(second.scores, key=lambda s: str(s["id"])) == sorted(
        first.scores, key=lambda s: str(s["id"])
    )


@pytest.mark.parametrize("task", TASKS)
def test_scores_in_shards_are_the_scores_of_the_whole(task: str, score: Any) -> None:
    lines = example(task)
    whole = {str(scored["id"]): scored for scored in score(task, lines).scores}
    groups: dict[object, list[dict[str, Any]]] = {}
    for line in lines:  # a shard has whole circular groups
        groups.setdefault(line["id"] % 1_000_000 if task == "mmbench" else line["id"], []).append(
            line
        )
    for shard in groups.values():
        for scored in score(task, shard).scores:
            assert scored == whole[str(scored["id"])]


@pytest.mark.parametrize("id", [1, -5, "1", "a b", 1.5, 2**70, "\u00e4"])
def test_an_id_comes_back_as_it_was_given(id: object, score: Any) -> None:
    line = example("vqav2")[0] | {"id": id}
    found = score("vqav2", [line]).scores[0]["id"]
    assert (type(found), found) == (type(id), id)


@pytest.mark.parametrize(
    "response", ["", " ", "None", "nan", "NA", "\u2028", "\ud800", "=1+1", "x" * 10**6, "\x00"]
)
@pytest.mark.parametrize("task", TASKS)
def test_no_response_stops_a_score(task: str, response: str, score: Any) -> None:
    line = example(task)[0] | {"response": response}
    outcome = score(task, [line], *(["--vanilla"] if task == "mmbench" else []))
    assert outcome.code == 0
    assert 0 <= outcome.scores[0]["value"] <= 1


def test_failed_samples_are_counted_and_not_scored(score: Any) -> None:
    lines = example("textvqa")[:7]
    lines[0] = {k: v for k, v in lines[0].items() if k != "response"} | {
        "response": None,
        "error": "ValueError: broken picture",
    }
    outcome = score("textvqa", lines, "--json")
    assert outcome.code == 1
    assert "1 of 7 samples failed" in outcome.err
    assert (outcome.json["failed"], outcome.json["n"], outcome.json["samples"]) == (1, 6, 7)
    assert outcome.scores[0]["value"] is None
    assert outcome.scores[0]["error"] == "ValueError: broken picture"


def test_a_circular_group_counts_once_and_only_if_all_rotations_are_right(score: Any) -> None:
    outcome = score("mmbench", example("mmbench"))
    by_group: dict[int, list[dict[str, Any]]] = {}
    for scored in outcome.scores:
        by_group.setdefault(scored["id"] % 1_000_000, []).append(scored)
    for group in by_group.values():
        values = [scored["value"] for scored in group if scored["value"] is not None]
        assert values == [float(all(scored["vanilla"] for scored in group))]
        assert next(s for s in group if s["id"] < 1_000_000)["value"] is not None


def test_a_group_with_a_failed_rotation_has_no_value_unless_another_is_wrong(score: Any) -> None:
    lines = [line for line in example("mmbench") if line["id"] % 1_000_000 == 501]
    failed = {"response": None, "error": "timeout"}
    right = [line | failed if n == 2 else line for n, line in enumerate(lines)]
    assert score("mmbench", right).scores[0]["value"] is None
    wrong = [right[0], right[1] | {"response": "(A)"}, *right[2:]]
    assert score("mmbench", wrong).scores[0]["value"] == 0


def test_all_profiles_stand_side_by_side(score: Any) -> None:
    """A letter in lower case: the official MMMU parser guesses, so it is worth a quarter."""
    line = next(line for line in example("mmmu") if line["response"] == "b")
    scored = score("mmmu", [line]).scores[0]
    assert scored["profiles"]["official"] == 0.25
    assert scored["profiles"]["strict"] == 0
    assert (scored["parsed"], scored["how"]) == (None, "guess")
    strict = score("mmmu", [line], "--profile", "strict").scores[0]
    assert strict["value"] == 0


def test_the_table_names_task_version_n_and_unparsed(score: Any) -> None:
    lines = example("mmmu")
    outcome = score("mmmu@validation", lines)
    assert outcome.out.startswith("mmmu@validation  accuracy, version 1")
    assert f"{len(lines)} of 900 samples" in outcome.out
    headline = next(line for line in outcome.out.splitlines() if line.startswith("official *"))
    mean = sum(scored["value"] for scored in outcome.scores) / len(lines)
    assert headline.split()[2] == f"{100 * mean:.2f}"
    assert f" 1 ({100 / len(lines):.1f} %)" in headline
    assert "--final-answer full gives" in headline


def test_predictions_are_matched_with_a_local_data_set(
    hub_copy: Callable[..., Path], score: Any
) -> None:
    folder = hub_copy("textvqa", "validation")
    given = score("textvqa@validation", [{"id": "?", "response": ""}], "--data-dir", str(folder))
    assert given.code == 2
    assert "1 id (?) not in textvqa@validation" in given.err
    task, split, _ = parse_spec("textvqa@validation")
    samples = [task.read(row) for row in splits.load(task.name, split, folder)]
    lines = [{"id": int(s.id), "response": s.answers[0]} for s in samples]
    complete = score("textvqa@validation", lines[::-1], "--data-dir", str(folder))
    assert complete.code == 0
    assert [scored["id"] for scored in complete.scores] == [int(s.id) for s in samples]
    some = score("textvqa@validation", lines[1:], "--data-dir", str(folder))
    assert some.code == 2
    assert f"no prediction for 1 id ({samples[0].id}) of {len(samples)}" in some.err
    flags = ("--data-dir", str(folder), "--allow-missing")
    allowed = score("textvqa@validation", lines[1:], *flags)
    assert allowed.code == 0
    assert f"{len(samples) - 1} of {len(samples)} samples" in allowed.out


def test_intervals_are_the_same_in_every_process() -> None:
    """Python salts the hashes of texts, a sum's last digit depends on the order of its terms."""
    program = """
import random
from vlmbench.schema import Verdict
from vlmbench.task.scoring import Score, Tally
draw = random.Random(0)
for _ in range(50):
    tally = Tally(["official"])
    for id in range(200):
        verdict = Verdict(value=draw.random(), parsed=None, how="made")
        cluster = f"image {draw.randrange(97)}"
        tally.add(Score(id=id, cluster=cluster, verdicts={"official": verdict}, breakdown={}))
    print(repr(tally.summary("official").estimate))
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(4)
    }
    assert len(found) == 1, found
