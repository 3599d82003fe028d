"""Help is short where it begins, and fits the terminal."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

from vlmbench.cli.main import COMMANDS, parser_of

OURS = sorted(COMMANDS.keys() - {"ask"})  # that is the model's own command


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", OURS)
def test_help_fits_the_terminal(
    command: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = parser_of(command).format_help().splitlines()
    assert max(map(len, lines)) <= columns, max(lines, key=len)


@pytest.mark.parametrize("command", OURS)
def test_help_says_what_the_command_does_and_has_examples_that_parse(command: str) -> None:
    parser = parser_of(command)
    usage, does, *_ = parser.format_help().split("\n\n")
    assert usage.startswith(f"usage: vlmbench {command}")
    assert does.strip().endswith((".", ":"))
    text = (parser.epilog or "").replace("\\\n", " ")
    examples = re.findall(r"^  vlmbench (.*)$", text, re.MULTILINE)
    assert len(examples) >= 2
    for example in examples:
        name, *arguments = shlex.split(example)
        assert name == command
        parser.parse_args(arguments)


@pytest.mark.parametrize("command", OURS)
def test_every_argument_is_explained(command: str) -> None:
    for action in parser_of(command)._actions:
        assert action.help, f"{command}: {action.option_strings or action.dest}"


def test_a_run_shows_ten_flags_before_any_heading() -> None:
    first = parser_of("run").format_help().partition("\n\nwhich samples")[0]
    flags = re.findall(r"^  (--[a-z-]+)", first, re.MULTILINE)
    assert len(flags) == 10
    assert {"--model", "--tasks", "--limit", "--out", "--gpus", "--dry-run", "--json"} <= {*flags}


@pytest.mark.parametrize("command", ["", "run", "list", "bench"])
def test_help_imports_no_backend(command: str) -> None:
    code = f"""
import sys
from vlmbench.cli.main import main
try:
    main("{command} --help".split())
except SystemExit:
    pass
heavy = {{"torch", "transformers", "httpx2", "datasets", "matplotlib"}} & sys.modules.keys()
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
