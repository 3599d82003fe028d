"""Text of strangers on a terminal."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmbench.cli.main import main
from vlmbench.runs.folder.finished import open_run
from vlmbench.terminal import UNSAFE, Cleaned, clean, one_line, raw

EVIL = "\x1b]0;pwned\x07\x1b[2J\x9b31m\u202e\u2066\u2028\ufeff\r\x7f\x00\U000e0041"


@given(st.text())
def test_clean_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    assert not UNSAFE.search(clean(text)) and clean(clean(text)) == clean(text)
    assert "\n" not in one_line(text) and not UNSAFE.search(one_line(text))
    if not UNSAFE.search(text):
        assert clean(text) == text


@given(st.text())
def test_cleaned_json_is_the_same_json(text: str) -> None:
    assert json.loads(clean(json.dumps(text, ensure_ascii=False))) == text


def test_letters_of_all_scripts_and_joined_signs_stay() -> None:
    text = "äß 數學 שלום \u0645\u06cc\u200c\u062e 👨\u200d👩\u200d👧 \tx\n"
    assert clean(text) == text


def test_progress_bars_work_and_no_line_is_overwritten() -> None:
    inner = io.StringIO()
    stream = Cleaned(inner)
    for text in ("\r 10 %", "\r 20 %", "\n", "id ", "\rforged", "\n", "\r 30 %", "\x1b[K"):
        stream.write(text)
    assert inner.getvalue() == "\r 10 %\r 20 %\nid \\u000dforged\n\r 30 %\\u001b[K"
    assert raw(stream) is inner  # type: ignore[arg-type]  # it stands for a text stream


@pytest.fixture(scope="module")
def evil_run(tmp_path_factory: pytest.TempPathFactory, hub_copies: Path) -> Path:
    """A run in which every text that a stranger chooses holds control characters."""
    folder = tmp_path_factory.mktemp("evil") / "run"
    command = ["run", "--model", "constant:yes", "--tasks", "textvqa,mmbench"]
    assert (
        main([*command, "--workers", "1", "--data-dir", str(hub_copies), "--out", str(folder)]) == 0
    )
    manifest = json.loads((folder / "run.json").read_text())
    manifest["model"]["spec"] = f"constant:{EVIL}"
    (folder / "run.json").write_text(json.dumps(manifest))
    for path in folder.glob("scores-*"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        for record in records:
            record["id"] = f"{record['id']}{EVIL}"
            record["breakdown"] = {f"kind{EVIL}": [f"a{EVIL}"]}
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert EVIL in open_run(folder).title
    return folder


@pytest.mark.parametrize(
    "command",
    [
        *(
            ["board"],
            ["board", "--json"],
            ["board", "--format", "csv"],
            ["board", "--format", "html"],
        ),
        *(
            ["compare", "TWICE"],
            ["compare", "TWICE", "--json"],
            ["compare", "TWICE", "--format", "csv"],
        ),
        *(["export"], ["submit", "--to", EVIL], ["view", "--no-plots", "--out", "OUT"]),
        *(
            ["board", EVIL],
            ["compare", "--tasks", EVIL, "TWICE"],
            [f"list{EVIL}"],
            ["list", f"--x{EVIL}"],
        ),
        ["score", "--tasks", "textvqa", "--predictions", EVIL],
    ],
    ids=" ".join,
)
def test_no_command_prints_a_control_character(
    evil_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    given = [str(evil_run) if word == "TWICE" else word for word in command]
    given = [str(tmp_path / "report") if word == "OUT" else word for word in given]
    takes_run = command[0] in ("board", "compare", "export", "submit", "view")
    main([given[0], *([str(evil_run)] if takes_run else []), *given[1:]])
    printed = capsys.readouterr()
    assert printed.out + printed.err
    assert not UNSAFE.search(printed.out + printed.err)
    assert isinstance(sys.stderr, Cleaned) is False
