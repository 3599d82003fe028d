"""A style's wording and its version go together, in the code and in a run's folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vlmbench
from vlmbench.cli.main import main
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.finished import open_run
from vlmbench.runs.folder.manifest import read_manifest
from vlmbench.schema import Request, Sample
from vlmbench.task.binding import PromptSettings, prompt_digest
from vlmbench.task.styles import STYLES, Turn

WORDINGS = {
    ("idefics2", 1): "d7a92d170e077468",
    ("idefics2-m4", 1): "32e34c410ef86888",
    ("idefics2-m4-base", 1): "91e3ed164aa35d93",
    ("lmms", 1): "6a6bd2b0a7033017",
    ("vlmevalkit", 1): "ca5456fe9c046719",
}
"""Style and version to the digest of its prompts. An entry stays as it is: a wording that changes
has a new version, and a line of its own here."""

LETTERED = {"options": {"A": "cat", "B": "a dog"}, "answers": ("B",)}
QUESTIONS: dict[str, list[dict[str, Any]]] = {
    "short_answer": [{"question": "Which Colour?"}],
    "textvqa": [{"question": "What does the NASA sign say?", "ocr_tokens": ("NASA", "No 5")}],
    "docvqa": [{"question": "Who signed?", "images": 2}],
    "choice": [
        {"question": "Who ran?", **LETTERED},
        {"question": "Who ran?", "hint": "A race.", **LETTERED},
    ],
    "mmmu": [
        {"question": "See <image 2>. Find x.", "images": 3, "interleaved": True},
        {
            "question": "Is <image 1> like <image 2>?",
            "images": 2,
            "interleaved": True,
            "options": {"A": "yes", "B": "<image 1>", "C": "no"},
            "answers": ("A",),
        },
    ],
    "mathvista": [
        {"question": "Is (A) so?", **LETTERED, "breakdown": {"answer_type": ("text",)}},
        {"question": "How many?", "breakdown": {"answer_type": ("integer",)}},
        {"question": "When?", "breakdown": {"answer_type": ("list",)}},
        *(
            {
                "question": "How long?",
                "breakdown": {"answer_type": ("float",)},
                "facts": {"precision": places, "unit": unit},
            }
            for places, unit in ((1.0, None), (2.0, "m"))
        ),
    ],
}
"""Questions by form: all that the styles tell apart."""

Make = Callable[..., Sample]
Ask = Callable[..., Request]


def wording(style: str, made: Make, ask: Ask, numbers: Callable[[Request], list[int]]) -> str:
    """A digest of what the style asks, with and without examples, pictures and OCR tokens."""

    def digests() -> Iterator[str]:
        for form in STYLES[style].max_new_tokens:
            for fields in QUESTIONS[form]:
                sample = made(**{"answers": ("one",), **fields})
                variants: list[dict[str, Any]] = [{}, {"blind": True}, {"shots": [sample, sample]}]
                variants += [{"ocr": True}] if form == "textvqa" else []
                for variant in variants:
                    asked = ask(sample, style, form, **variant)
                    yield prompt_digest(asked, [f"picture {n}" for n in numbers(asked)])

    return hashlib.blake2b("".join(digests()).encode(), digest_size=8).hexdigest()


@pytest.mark.parametrize("style", STYLES)
def test_no_wording_changes_without_its_version(
    made: Make, ask: Ask, numbers: Callable[[Request], list[int]], style: str
) -> None:
    found, version = wording(style, made, ask, numbers), STYLES[style].version
    known = WORDINGS.get((style, version))
    assert known is not None, f"add ({style!r}, {version}): {found!r}"
    assert found == known, f"{style!r} asks otherwise than its version {version}: raise the version"


def test_the_digest_sees_a_changed_wording(
    made: Make,
    ask: Ask,
    numbers: Callable[[Request], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = wording("lmms", made, ask, numbers)
    for changed in (
        replace(STYLES["lmms"], write=lambda *given: _with_space(STYLES["idefics2"].write(*given))),
        replace(STYLES["lmms"], stop={"choice": ("ASSISTANT",)}),
        replace(STYLES["lmms"], max_new_tokens={**STYLES["lmms"].max_new_tokens, "mmmu": 127}),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(STYLES, "lmms", changed)
            assert wording("lmms", made, ask, numbers) != before


def _with_space(turn: Turn) -> Turn:
    return replace(turn, content=(*turn.content, " "))


@pytest.fixture
def reworded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function: from now on the style "lmms" has another wording, and the version 2."""

    def reword() -> None:
        style = STYLES["lmms"]
        other = replace(style, version=2, write=lambda *given: _with_space(style.write(*given)))
        monkeypatch.setitem(STYLES, "lmms", other)

    return reword


@pytest.fixture
def run(hub_copies: Path) -> Callable[[Path, int], Any]:
    """A function: a folder and a number of samples -> a run in the style "lmms"."""

    def run(folder: Path, limit: int) -> Any:
        asked: dict[str, Any] = {"prompt_style": "lmms", "data_dir": hub_copies}
        return vlmbench.evaluate("constant:A", "textvqa", out=folder, limit=limit, **asked)

    return run


def test_a_run_does_not_go_on_under_another_wording(
    tmp_path: Path,
    hub_copies: Path,
    capsys: pytest.CaptureFixture[str],
    run: Any,
    reworded: Callable[[], None],
) -> None:
    run(tmp_path, 2)
    assert read_manifest(tmp_path).prompt.style_version == 1
    log = (tmp_path / "responses-0.jsonl").read_bytes()
    reworded()
    command = ["run", "--model", "constant:A", "--tasks", "textvqa", "--prompt-style", "lmms"]
    assert main([*command, "--data-dir", str(hub_copies), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "prompt.style_version was 1, is now 2" in error and error.count("\n") == 1
    assert (tmp_path / "responses-0.jsonl").read_bytes() == log


def test_two_wordings_share_no_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Any, reworded: Callable[[], None]
) -> None:
    run(tmp_path / "first", 2)
    reworded()
    run(tmp_path / "second", 2)
    board = ["board", str(tmp_path / "first"), str(tmp_path / "second")]
    assert main(board) == 2
    assert "prompt style (lmms and lmms v2)" in capsys.readouterr().err
    assert main([*board, "--allow-mixed", "--baselines", "none", "--format", "json"]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    styles = [column["prompt_style"] for table in tables for column in table["columns"]]
    assert sorted(styles) == ["lmms", "lmms v2"]


def test_a_run_from_before_versions_were_recorded_is_of_the_first(
    tmp_path: Path, run: Any, reworded: Callable[[], None]
) -> None:
    run(tmp_path, 2)
    manifest = json.loads((tmp_path / "run.json").read_text("utf-8"))
    del manifest["prompt"]["style_version"]
    (tmp_path / "run.json").write_text(json.dumps(manifest), "utf-8")
    assert open_run(tmp_path).tasks[0].prompt_style == "lmms"
    assert run(tmp_path, 4).num_missing == 0
    (tmp_path / "run.json").write_text(json.dumps(manifest), "utf-8")
    reworded()
    with pytest.raises(VlmbenchError, match=r"prompt\.style_version was 1, is now 2"):
        run(tmp_path, 6)


def test_settings_name_no_version_that_is_not_here() -> None:
    assert PromptSettings(style="lmms").resolved().style_version == 1
    assert PromptSettings(style="lmms", style_version=1).resolved().style_version == 1
    with pytest.raises(VlmbenchError, match="'lmms' has version 1 here, not 2"):
        PromptSettings(style="lmms", style_version=2).resolved()
    with pytest.raises(VlmbenchError, match=r"did you mean lmms\?"):
        PromptSettings(style="lms").resolved()
