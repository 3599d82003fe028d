"""Tasks are found by name in the built-in folder, in a user's, and in installed packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vlmbench.errors import VlmbenchError
from vlmbench.task import loading

MINE = """
from vlmbench.data import Hub, Split
from vlmbench.schema import Sample, Verdict
from vlmbench.task import Task

def read(row):
    return Sample(id=row.id("id"), image_group=row.id("id"), question=row.text("question"),
                  answers=(row.text("answer"),))

def score(sample, prediction, profile):
    right = prediction.response == sample.answers[0]
    return Verdict(value=float(right), parsed=prediction.response, how="exact")

SPLIT = Split(name="test", sources=(Hub(id="me/mine", files="data/test", revision="main"),),
              size=2, answers="public", columns=("id", "question", "answer"), pictures=())
TASK = Task(name="mine", version=1, title="Mine", metric="accuracy", splits=(SPLIT,), read=read,
            score=score, form="short_answer", profiles=("official",))
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A function: a task file's text and name -> its folder."""

    def written(text: str = MINE, name: str = "mine", folder: str = "mine") -> Path:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.py").write_text(text, encoding="utf-8")
        return tmp_path / folder

    return written


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function: entry points of the group vlmbench.tasks and a module's text, as if installed."""

    def installed(points: str, module: str = MINE) -> None:
        folder = tmp_path / "site"
        (folder / "their_package-1.0.dist-info").mkdir(parents=True)
        (folder / "their_package.py").write_text(module, encoding="utf-8")
        metadata = folder / "their_package-1.0.dist-info"
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1")
        (metadata / "entry_points.txt").write_text(f"[vlmbench.tasks]\n{points}\n")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(__import__("sys").modules, "their_package", raising=False)

    return installed


def test_a_users_folder_adds_to_the_built_in_tasks(write: Callable[..., Path]) -> None:
    folder = write()
    names = [found.name for found in loading.every(folder)]
    assert names == ["docvqa", "mathvista", "mine", "mmbench", "mmmu", "textvqa", "vqav2"]
    assert loading.find("mine", folder).title == "Mine"
    assert loading.find("vqav2", folder) is loading.find("vqav2")


def test_an_installed_package_adds_tasks(install: Callable[..., None]) -> None:
    install("mine = their_package:TASK")
    assert loading.find("mine").title == "Mine"
    assert "mine" in [found.name for found in loading.every()]


def test_a_task_file_may_define_dataclasses(write: Callable[..., Path]) -> None:
    """With postponed annotations these look their own module up."""
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Settings:\n    value: int = 1\n"
    )
    assert loading.find("mine", write(text + MINE)).name == "mine"


def test_a_task_file_runs_once_in_a_process(write: Callable[..., Path]) -> None:
    folder = write()
    assert loading.find("mine", folder) is loading.find("mine", folder)


def test_files_of_one_name_in_two_folders_are_two_modules(write: Callable[..., Path]) -> None:
    other = write(MINE.replace('"Mine"', '"Another"'), folder="other")
    assert loading.find("mine", write()).title == "Mine"
    assert loading.find("mine", other).title == "Another"


def test_helper_files_are_no_tasks(write: Callable[..., Path]) -> None:
    folder = write("raise RuntimeError", name="_helper")
    assert "_helper" not in [found.name for found in loading.every(folder)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "defines no TASK = Task", id="no TASK"),
        pytest.param("TASK = 'mine'", "defines no TASK = Task", id="a TASK of another type"),
        pytest.param(
            MINE.replace('name="mine"', 'name="other"'),
            "defines the task 'other'; name and file must agree",
            id="another name",
        ),
        pytest.param("def read(row)\n", "does not load: SyntaxError: ", id="no Python"),
        pytest.param("import no_such", "does not load: ModuleNotFoundError: ", id="no such import"),
        pytest.param("1 / 0", "does not load: ZeroDivisionError: division", id="raises"),
        pytest.param("import sys; sys.exit(3)", "does not load: SystemExit: 3", id="exits"),
        pytest.param("\0", "does not load: ", id="no text"),
        pytest.param(
            MINE.replace("short_answer", "short_anwser"),
            "does not load: no prompt form named 'short_anwser'; did you mean short_answer",
            id="no such form",
        ),
        pytest.param(
            MINE.replace("splits=(SPLIT,)", "splits=(SPLIT, SPLIT)"),
            "does not load: task 'mine': no splits, or two of one name",
            id="a split twice",
        ),
        pytest.param(
            MINE.replace("splits=(SPLIT,)", "splits=()"),
            "does not load: task 'mine': no splits, or two of one name",
            id="no splits",
        ),
        pytest.param(
            MINE.replace('name="mine"', 'name="my task"'),
            "does not load: task name 'my task' is not letters, digits and underscores",
            id="a name that is none",
        ),
        pytest.param(
            MINE.replace('profiles=("official",)', 'profiles=("strict",)'),
            "does not load: task 'mine' lacks the profile 'official'",
            id="no official profile",
        ),
    ],
)
def test_a_bad_task_file_is_one_line_that_names_it(
    text: str, message: str, write: Callable[..., Path]
) -> None:
    folder = write(text)
    for _ in range(2):  # a file that failed is not taken for loaded
        with pytest.raises(VlmbenchError) as caught:
            loading.find("mine", folder)
        line = str(caught.value)
        assert line.startswith(f"{folder / 'mine.py'} {message}"), line
        assert "\n" not in line


def test_a_name_that_is_there_twice_is_an_error(
    write: Callable[..., Path], install: Callable[..., None]
) -> None:
    """Which of the two made a number must never be a question."""
    folder = write(MINE.replace('name="mine"', 'name="vqav2"'), name="vqav2")
    with pytest.raises(
        VlmbenchError, match=r"several tasks named 'vqav2': .* and .*; rename yours"
    ):
        loading.find("vqav2", folder)
    assert loading.find("textvqa", folder).name == "textvqa"
    install("textvqa = their_package:TASK")
    with pytest.raises(VlmbenchError, match="entry point their_package:TASK of their-package; ren"):
        loading.find("textvqa")


@pytest.mark.parametrize(
    ("points", "module", "message"),
    [
        ("mine = their_package:TASK", "", "does not load: AttributeError"),
        ("mine = their_package:TASK", "1 / 0", "does not load: ZeroDivisionError"),
        ("mine = their_package:TASK", "TASK = 1", "defines no TASK = Task"),
        ("yours = their_package:TASK", MINE, "defines the task 'mine'; name and file must agree"),
    ],
)
def test_a_bad_package_is_named(
    points: str, module: str, message: str, install: Callable[..., None]
) -> None:
    install(points, module)
    where = "entry point their_package:TASK of their-package"
    with pytest.raises(VlmbenchError, match=f"^{where} {message}"):
        loading.find(points.partition(" ")[0])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vqa2", "no task named 'vqa2'; did you mean vqav2"),
        ("zebra", "no task named 'zebra'; there are: docvqa, mathvista, mmbench, mmmu, textvqa, v"),
        ("../tasks/vqav2", "no task named '../tasks/vqav2'; "),
        ("", "no task named ''; there are: "),
        ("docvqa@", "no split after @ in 'docvqa@'; write docvqa or docvqa@SPLIT"),
        ("docvqa@val", "no split named 'val' of docvqa; did you mean validation"),
        ("docvqa@validation@x", "no split named 'validation@x' of docvqa; did you mean validation"),
        ("mmmu@minimum", "no split named 'minimum' of mmmu; "),
    ],
)
def test_an_unknown_name_gets_the_nearest_ones(spec: str, message: str) -> None:
    with pytest.raises(VlmbenchError) as caught:
        loading.parse_spec(spec)
    assert str(caught.value).startswith(message)


def test_a_task_alone_is_its_first_split_and_the_training_split_has_a_name_too() -> None:
    found, split, is_named = loading.parse_spec("docvqa")
    assert (split.name, is_named) == ("validation", False)
    assert loading.parse_spec("docvqa@train") == (found, found.train, True)


def test_a_tasks_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VlmbenchError, match=r"no folder .*nowhere: --tasks-dir takes a folder of"):
        loading.find("vqav2", tmp_path / "nowhere")


def test_the_built_in_folder_may_be_named(tmp_path: Path) -> None:
    built_in = Path(__file__).parents[2] / "tasks"
    assert loading.find("vqav2", built_in) is loading.find("vqav2")
