"""README's commands do what they say: each is run where that can be without hub, server and GPU."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vlmbench.cli.main import COMMANDS, main, parser_of
from vlmbench.files import slug

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "model/README.md")  # that of tasks/ is followed in tests/tasks
README = (ROOT / "README.md").read_text("utf-8")

NOT_RUN_AS_WRITTEN = {
    r"^scripts/(demo|test|setup_venv)\b": "sets up .venv from a package index",
    r"^pip install\b": "needs a package index",
    r"^git clone\b": "needs the network",
    r"^(sbatch|accelerate|torchrun)\b|--gpus\b": "needs GPUs",
    r"^scripts/(launch|reproduce)_": "needs GPUs; tests/scripts runs it with stand-ins",
    r"--ray\b": "needs a Ray cluster; tests/runs/ray has one",
    r"^scripts/bench\w*|^python scripts/": "measures for minutes",
    r"(idefics2|transformers):[\w.-]+/[\w.-]+": "needs the hub",
    r"openai:http": "needs a server",
    r"^vlmbench fetch (?!\S*@mini)": "needs the hub",
    r"^vlmbench sweep .*--no-latency": "all the stand-ins for minutes; a shorter sweep is run",
    r"^vlmbench train (?!.*--dry-run)": "trains for minutes; tests/model/train trains",
    r"^python -m idefics2 ask|^vlmbench ask": "needs a checkpoint; tests/model/idefics2 asks one",
    r"^vlmbench import\b": "needs another harness's results; tests/runs/importing makes some",
}
"""Why a command that fits is not run as it is written. What it says is parsed all the same, and of
`vlmbench run` the plan is made: with the constant model, on made-up rows."""

GIVEN = {"answers.jsonl": "results/examples/textvqa.jsonl"}
"""Files that a reader is supposed to have."""

LIMIT = "4"


def blocks(path: str, language: str) -> list[str]:
    text = (ROOT / path).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def command_lines(path: str) -> list[str]:
    joined = "".join(blocks(path, "bash")).replace("\\\n", " ")
    lines = (re.sub(r"\s#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


COMMAND_LINES = [line for path in READMES for line in command_lines(path)]


def reason(line: str) -> str | None:
    """Why the line is not run; None: it is."""
    found = (why for pattern, why in NOT_RUN_AS_WRITTEN.items() if re.search(pattern, line))
    return next(found, None)


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_command_is_one_that_there_is(line: str) -> None:
    program, *arguments = shlex.split(line)
    if program == "vlmbench" and arguments[0] != "ask":
        parser_of(arguments[0]).parse_args(arguments[1:])  # a wrong flag raises
    elif program.startswith("scripts/"):
        assert (ROOT / program).stat().st_mode & 0o100, f"{program} is not executable"
    else:
        assert reason(line), f"{line!r} is neither run nor listed"


@pytest.mark.parametrize("path", READMES)
def test_the_commands_work_in_the_order_in_which_they_stand(
    path: str,
    tmp_path: Path,
    hub_copies: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("results", "tasks", "model", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name, source in GIVEN.items():
        shutil.copy(ROOT / source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    lines = command_lines(path)
    for number, line in enumerate(lines):
        program, *arguments = shlex.split(line)
        if program != "vlmbench":
            continue
        if reason(line) is None:
            assert main(limited(arguments)) == 0, f"{line}\n{capsys.readouterr().err}"
        elif arguments[0] == "run":
            stand_in = plan_of(arguments, hub_copies, is_needed_by=lines[number + 1 :])
            assert main(stand_in) == 0, f"{line}\n{capsys.readouterr().err}"


def limited(arguments: Sequence[str]) -> list[str]:
    """As it is written; a run, which would take long, with few samples."""
    is_long = arguments[0] in ("run", "sweep") and not {"--limit", "--ids"} & set(arguments)
    return [*arguments, *(["--limit", LIMIT] if is_long else [])]


def plan_of(arguments: Sequence[str], data: Path, is_needed_by: Sequence[str]) -> list[str]:
    """The same tasks, asked in the same way, of a model that needs nothing.

    Only planned, unless a later command reads the run's folder.
    """
    given = parser_of("run").parse_args(arguments[1:])
    folder = str(given.out or f"runs/{slug(given.model)}")
    command = ["run", "--model", "constant:yes", "--tasks", given.tasks, "--out", folder]
    command += ["--data-dir", str(data), "--limit", LIMIT, "--prompt-style", given.prompt_style]
    is_read = any(re.search(rf"{re.escape(folder)}(\s|$)", line) for line in is_needed_by)
    return command if is_read else [*command, "--dry-run"]


@pytest.mark.parametrize("code", blocks("README.md", "python"))
def test_a_python_example_runs(
    code: str,
    tmp_path: Path,
    hub_copies: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vlmbench.runs import evaluate as module

    evaluate: Callable[..., object] = module.evaluate
    monkeypatch.setattr(
        module, "evaluate", lambda *a, **k: evaluate(*a, **{"data_dir": hub_copies} | k)
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


def test_every_command_of_the_cli_is_named() -> None:
    for command in COMMANDS:
        assert f"vlmbench {command}" in README


@pytest.mark.parametrize("part", ["vlmbench score .*results/examples", "vlmbench gate"])
def test_the_example_prints_what_it_says(
    part: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    line = next(line for line in COMMAND_LINES if re.match(part, line))
    assert main(shlex.split(line)[1:]) == 0
    assert capsys.readouterr().out in README
