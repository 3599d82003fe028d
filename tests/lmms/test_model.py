"""`python -m lmms_eval --model vlmbench` on local documents, against our own run of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vlmbench.errors import VlmbenchError
from vlmbench.lmms.conversation import Decoding, messages_of, user_turn, visuals_of


@pytest.fixture(scope="module")
def theirs(
    harness: Any, tiny: Path, tasks_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """Results and samples of lmms-eval with our model in its chat form."""
    return harness.lmms_eval(tmp_path_factory.mktemp("chat"), tiny, "tiny_vqa", tasks_folder)


@pytest.fixture(scope="module")
def ours(
    harness: Any, tiny: Path, tasks_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of our own run of the same task."""
    folder = tmp_path_factory.mktemp("ours") / "run"
    done = harness.run(
        "vlmbench",
        *("run", "--model", f"idefics2:{tiny}", "--device", "cpu", "--tasks", "lmms:tiny_vqa"),
        *("--tasks-dir", tasks_folder, "--out", folder),
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "as lmms-eval sums it up: share" in done.stdout
    return folder


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    texts = [path.read_text(encoding="utf-8") for path in folder.glob(f"{kind}-*.jsonl")]
    lines = [line for text in texts for line in text.splitlines()]
    return sorted(map(json.loads, lines), key=lambda record: int(record["id"]))


def test_lmms_eval_and_our_runner_get_the_same_answers_and_scores(theirs: Any, ours: Path) -> None:
    results, samples = theirs
    responses = records(ours, "responses")
    answers = [sample["filtered_resps"] for sample in samples["tiny_vqa"]]
    assert answers == [record["response"] for record in responses]
    assert len(set(answers)) > 1
    values = [record["value"] for record in records(ours, "scores")]
    assert values == [sample["share"] for sample in samples["tiny_vqa"]]
    figures = json.loads((ours / "run.json").read_text())["tasks"]["lmms:tiny_vqa@validation"]
    for metric in ("share", "longest"):
        assert figures["figures"][metric] == results["tiny_vqa"][f"{metric},none"]
    assert sum(values) / len(values) == pytest.approx(results["tiny_vqa"]["share,none"])
    assert sum(values) > 0


def test_lmms_eval_is_given_token_counts(theirs: Any, ours: Path) -> None:
    counts = [sample["token_counts"][0] for sample in theirs[1]["tiny_vqa"]]
    logged = records(ours, "responses")
    assert [count["input_tokens"] for count in counts] == [r["prompt_tokens"] for r in logged]
    assert [count["output_tokens"] for count in counts] == [r["generated_tokens"] for r in logged]


def test_the_simple_form_gives_the_same_answers_and_ranks_choices(
    harness: Any, tiny: Path, tasks_folder: Path, tmp_path: Path, theirs: Any
) -> None:
    tasks = "tiny_vqa,tiny_choice"
    results, samples = harness.lmms_eval(tmp_path, tiny, tasks, tasks_folder, "--force_simple")
    both = (theirs[1]["tiny_vqa"], samples["tiny_vqa"])
    chat, simple = ([sample["filtered_resps"] for sample in form] for form in both)
    assert chat == simple
    losses = [
        [float(loss) for loss, _ in sample["filtered_resps"]] for sample in samples["tiny_choice"]
    ]
    assert all(0 < loss < 1000 for row in losses for loss in row)
    right = [row.index(min(row)) == n % 3 for n, row in enumerate(losses)]
    assert results["tiny_choice"]["acc,none"] == pytest.approx(sum(right) / len(right))


def test_our_board_labels_the_score_as_theirs(
    harness: Any, ours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vlmbench.cli.main import main

    assert main(["board", str(ours)]) == 0
    board = capsys.readouterr().out.replace("\\_", "_")
    assert "lmms:tiny_vqa/share, official, lmms-eval, v1" in board
    identity = json.loads((ours / "run.json").read_text())["data"]["lmms:tiny_vqa@validation"]
    assert identity["revision"].startswith("lmms-eval 0.")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (1024, (), 0.0, 1.0)),
        ({"max_new_tokens": 16, "until": "\n"}, (16, ("\n",), 0.0, 1.0)),
        ({"temperature": 0.7, "do_sample": False, "top_p": 0.9}, (1024, (), 0.0, 1.0)),
        ({"do_sample": True, "top_p": None, "until": ["a", "", "b"]}, (1024, ("a", "b"), 1.0, 1.0)),
        ({"temperature": 0.5, "top_p": 0.9, "max_gen_toks": 5}, (5, (), 0.5, 0.9)),
        ({"do_sample": True, "top_p": 0, "num_beams": 1}, (1024, (), 0.0, 1.0)),
    ],
)
def test_generation_settings(given: dict[str, Any], expected: tuple[Any, ...]) -> None:
    before = dict(given)
    found = Decoding.of(given)
    assert (found.max_new_tokens, found.stop, found.temperature, found.top_p) == expected
    assert given == before, "a changed request is never found in lmms-eval's cache again"


def test_a_beam_search_is_refused() -> None:
    with pytest.raises(VlmbenchError, match=r"3 beams.*set its num_beams to 1"):
        Decoding.of({"num_beams": 3})


def test_pictures_stand_where_the_conversation_has_them() -> None:
    picture: Any = object()
    other: Any = object()
    image = {"type": "image", "url": "a.png"}
    chat: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Is"}, image, image]},
    ]
    assert visuals_of(chat) == ["a.png", "a.png"]
    system, user = messages_of(chat, [picture, other])
    assert (system.role, system.content) == ("system", ("Be brief.",))
    assert user.content == ("Is", picture, other)
    placed = user_turn("<image>above <image>?", [picture, other])
    assert placed.content == (picture, "above ", other, "?")
    first = user_turn("What is <image>?", [picture, other])
    assert first.content == (picture, other, "What is <image>?")
    with pytest.raises(ValueError, match="no video"):
        visuals_of([{"role": "user", "content": [{"type": "video", "url": "a.mp4"}]}])
