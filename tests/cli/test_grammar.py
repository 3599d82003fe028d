"""One thing is written alike in every command: tasks, conditions, JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vlmbench.cli.arguments import categories_or_condition, model_settings
from vlmbench.cli.main import main, parser_of
from vlmbench.conditions import parse
from vlmbench.errors import VlmbenchError
from vlmbench.runs.selection import Selection
from vlmbench.schema import Sample

MODEL = ("--model", "constant:A")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([], {}),
        (["subject=Art"], {"subject": "Art"}),
        (["subject=Art", "level=1"], {"subject": "Art", "level": "1"}),
        (["kind=what is the"], {"kind": "what is the"}),
        (["subject=Arts and crafts"], {"subject": "Arts and crafts"}),
        (["age=<5"], {"age": "<5"}),
        (["kind=a=b (c) 'd'"], {"kind": "a=b (c) 'd'"}),
        (["skill=algebra", "skill=sums"], '(skill="algebra") and (skill="sums")'),
        (["subject='Art'"], "subject='Art'"),
        (["subject==Art"], "subject==Art"),
        (["level<3", "subject=Fine Art"], '(level<3) and (subject="Fine Art")'),
        (["level<3"], "level<3"),
        (["subject=Art or level=2"], "subject=Art or level=2"),
        (["not subject=Art"], "not subject=Art"),
        (["(subject=Art)"], "(subject=Art)"),
        (["subject!=Art"], "subject!=Art"),
    ],
)
def test_key_and_value_alone_are_one_exact_category_and_all_else_is_a_condition(
    given: list[str], wanted: Mapping[str, str] | str
) -> None:
    assert categories_or_condition(given) == wanted
    if isinstance(wanted, str):
        parse(wanted)


BREAKDOWNS: list[dict[str, tuple[str, ...]]] = [
    {"subject": ("Art",), "level": ("1",)},
    {"subject": ("art",), "level": ("2",)},
    {"subject": ("Fine Art", "Music"), "level": ("10",)},
    {"level": ("none",)},
]
SAMPLES = [
    Sample(
        id=str(number),
        images={},
        question="?",
        answers=("yes",),
        image_group=str(number),
        breakdown=breakdown,
    )
    for number, breakdown in enumerate(BREAKDOWNS)
]


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        (["subject=Art"], "0"),
        (["subject==Art"], "01"),
        (["subject=Fine Art"], "2"),
        (["subject='*art' and not subject=Music"], "01"),
        (["subject=Music", "subject=Fine Art"], "2"),
        (["level<3"], "01"),
        (["level>=2 or level=none"], "123"),
        (["subject!=Art"], "2"),
        (["not subject=Art"], "23"),
        (["level=1", "subject=Art or subject=Music"], "0"),
    ],
)
def test_categories_are_selected_by_conditions(given: list[str], ids: str) -> None:
    selection = Selection(where=categories_or_condition(given))
    assert "".join(item.id for item in selection.apply("t", SAMPLES, lambda sample: 1.0)) == ids


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["subject=art*"], "no subject named 'art*' in t; did you mean"),
        (["subject==Arrt"], "no subject named 'Arrt' in t; did you mean"),
        (["subjct==Art"], "no category named 'subjct' in t; did you mean subject"),
        (["level=1 and subject=Music"], "no sample of t is left"),
        (["level<3 and subject"], "a category has no truth of its own; write KEY=VALUE"),
        (["subject"], "--where subject: write KEY=VALUE, such as subject=Art"),
        (["level<three"], "a number should follow"),
        (["level<3 and"], "it ends too early"),
    ],
)
def test_a_condition_that_selects_by_nothing_there_is_a_mistake(
    given: list[str], message: str
) -> None:
    with pytest.raises(VlmbenchError, match=r"^[^\n]+$") as raised:
        Selection(where=categories_or_condition(given)).apply("t", SAMPLES, lambda sample: 1.0)
    assert message in str(raised.value)


def test_several_conditions_of_a_board_must_all_hold(runs: Any, printed_json: Any) -> None:
    one = printed_json("board", *runs, "--json", "--where", "kind=run and textvqa<101")
    two = printed_json("board", *runs, "--json", "--where", "kind=run", "--where", "textvqa<101")
    assert one == two
    assert main(["board", *map(str, runs), "--where", "kind=run", "--where", "textvqa>101"]) == 2


COMMANDS_WITH_TASKS = (
    "run",
    "score",
    "compare",
    "gate",
    "board",
    "export",
    "submit",
    "plot",
    "view",
)


@pytest.mark.parametrize("command", COMMANDS_WITH_TASKS)
def test_tasks_are_named_by_one_flag_and_its_old_spelling_is_not_shown(command: str) -> None:
    must = {
        "run": [*MODEL],
        "score": ["--predictions", "x"],
        "compare": ["a", "b"],
        "gate": ["a", "b"],
        "export": ["a", "--to", "model-index"],
        "submit": ["a", "--to", "mmbench"],
        "view": ["a"],
    }.get(command, [])
    parser = parser_of(command)
    for given in (["--tasks", "docvqa"], ["--task", "docvqa"], ["--task=docvqa"]):
        assert parser.parse_args([*must, *given]).tasks == "docvqa"
    assert "--tasks " in parser.format_help()
    assert "--task " not in parser.format_help()


def test_the_tasks_of_a_run_are_chosen_alike(
    runs: tuple[Path, Path], tmp_path: Path, hub_copies: Path, printed_json: Any
) -> None:
    a, b = runs
    chosen = ("--tasks", "textvqa", "--json")
    columns = printed_json("board", a, *chosen, "--baselines", "none")["tables"][0]["columns"]
    assert [column["task"] for column in columns] == ["textvqa"]
    (task,) = printed_json("compare", a, b, *chosen)["tasks"]
    assert task["task"] == "textvqa@validation"
    (model,) = printed_json("export", a, *chosen, "--to", "model-index")["model-index"]
    assert len(model["results"]) == 1
    report = ("--out", tmp_path / "report", "--data-dir", hub_copies, "--no-plots")
    shown = printed_json("view", a, *chosen, *report)
    every = printed_json("view", a, *report, "--json")
    assert 0 < shown["samples"] < every["samples"]
    figures = ("--kind", "categories", "--out", tmp_path / "p", "--format", "svg", "--json")
    drawn = printed_json("plot", a, b, "--tasks", "mmbench", *figures)
    assert drawn["files"] and all("mmbench@dev-en" in Path(file).name for file in drawn["files"])


def test_a_task_that_the_run_lacks_is_named(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["view"], ["plot"], ["export", "--to", "model-index"], ["submit", "--to", "x"]):
        assert main([*command, str(runs[0]), "--tasks", "textvq"]) == 2
        assert "no task named 'textvq' in " in (told := capsys.readouterr().err)
        assert "did you mean textvqa@validation" in told


def test_a_plan_is_printed_as_json_and_as_a_table(
    hub_copies: Path, printed_json: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ("run", *MODEL, "--tasks", "textvqa", "--limit", "4", "--data-dir", hub_copies)
    found = printed_json(*plan, "--dry-run", "--json", "--workers", "2")
    assert found["tasks"][0]["samples"] == 4
    assert found["tasks"][0]["flops"] is None
    assert (found["workers"], sum(found["leases"])) == (2, 4)
    assert main([*map(str, plan), "--dry-run"]) == 0
    assert "textvqa@validation" in capsys.readouterr().out


def test_a_recipe_and_a_submission_are_printed_as_json(
    runs: tuple[Path, Path], hub_copies: Path, tmp_path: Path, printed_json: Any
) -> None:
    assert printed_json("train", "tiny", "--dry-run", "--json")
    found = printed_json(
        *("submit", runs[1], "--to", "mmbench", "--tasks", "mmbench", "--rehearsal", "--json"),
        *("--data-dir", hub_copies, "--out", tmp_path / "up.xlsx"),
    )
    assert found["paths"] == [str(tmp_path / "up.xlsx")]
    assert found["entries"] > 0


def test_json_and_another_format_contradict_each_other(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["board", str(runs[0])], ["compare", *map(str, runs)]):
        assert main([*command, "--json", "--format", "csv"]) == 2
        assert "--json and --format csv contradict each other" in capsys.readouterr().err


def test_settings_are_given_by_flags_or_by_name() -> None:
    parse_args = parser_of("run").parse_args
    must = ["--model", "idefics2:tiny", "--tasks", "x"]
    flags = ["--no-split", "--batch-size", "3", "--deterministic", "--temperature", "0.5"]
    named = ["split_images=false", "batch-size=3", "deterministic=true", "temperature=0.5"]
    by_name = [word for one in named for word in ("--backend-arg", one)]
    settings = model_settings(parse_args([*must, *flags]))
    assert settings == model_settings(parse_args([*must, *by_name]))
    assert settings == {
        "split_images": False,
        "batch_size": 3,
        "deterministic": True,
        "temperature": 0.5,
    }
    assert model_settings(parse_args(must)) == {}
    with pytest.raises(VlmbenchError, match="seed is given twice"):
        model_settings(parse_args([*must, "--seed", "1", "--backend-arg", "seed=2"]))
