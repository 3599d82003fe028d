"""tasks/README.md, followed to the letter."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from vlmbench.cli.main import main
from vlmbench.task import loading

README = (Path(__file__).parents[2] / "tasks" / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return str(text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the README's files, as the working directory."""
    (tmp_path / "my_tasks").mkdir()
    (tmp_path / "my_tasks" / "bills.py").write_text(block("python"), encoding="utf-8")
    (tmp_path / "answers.jsonl").write_text(block("json"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_task_has_ten_lines_of_the_usual_length() -> None:
    lines = [line for line in block("python").splitlines() if line]
    assert len(lines) == 10 and max(map(len, lines)) <= 100


def test_its_commands_list_and_score_the_task(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, scored = [shlex.split(line)[1:] for line in block("bash").splitlines()]
    assert main(listed) == 0
    assert re.search(r"^bills@test +anls +public +you/bills +\?$", *capsys.readouterr()[:1], re.M)
    assert main(scored) == 0
    out = capsys.readouterr().out
    assert "bills" in out and "91.67" in out  # 1 and 5/6


def test_its_task_reads_a_local_copy_of_its_data(folder: Path) -> None:
    import base64
    import json

    from vlmbench.data import splits

    rows = [json.loads(line)["sample"] for line in block("json").splitlines()]
    lines = [json.dumps(row | {"image": base64.b64encode(b"picture").decode()}) for row in rows]
    (folder / "data").mkdir()
    (folder / "data" / "test.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found, split, _ = loading.parse_spec("bills", folder / "my_tasks")
    samples = [found.read(row) for row in splits.load("bills", split, folder / "data")]
    assert [sample.id for sample in samples] == ["1", "2"]
    assert samples[1].images[1].encoded() == b"picture"


def test_its_entry_point_names_the_group_that_is_read() -> None:
    assert f'[project.entry-points."{loading.ENTRY_POINTS}"]' in block("toml")


def test_the_test_splits_that_it_says_can_be_scored_are_those_with_published_answers() -> None:
    published = {
        f"{found.name}@{split.name}"
        for found in loading.every()
        for split in found.splits
        if split.answers == "some sources"
    }
    named = set(re.findall(r"`(\w+@test[\w.-]*)`", README.split("Two test splits")[1]))
    assert named == published
