"""The command line: results on stdout, progress and errors on stderr.

Exit codes: 0 done, 1 some samples failed, 2 the user's mistake, 130 interrupted; of `gate`: 0 GO,
1 NO-GO, 3 INCONCLUSIVE.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import keyword
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from vlmbench import __version__
from vlmbench.data.rows import GC_THRESHOLD
from vlmbench.errors import VlmbenchError, nearest, no_such
from vlmbench.terminal import Cleaned, one_line

COMMANDS = {
    "list": "show the tasks and their splits",
    "run": "run a model on tasks and score its answers",
    "sweep": "run a model under several settings, and show what each costs and scores",
    "plan": "foretell what a run asks, how long it takes and what it costs",
    "score": "score a prediction file",
    "import": "make run folders of another harness's results",
    "compare": "compare two runs on the same samples",
    "gate": "decide on a candidate against a baseline: GO, NO-GO or INCONCLUSIVE",
    "board": "show runs beside each other and beside reported results",
    "view": "write a report that shows runs and all their samples",
    "plot": "draw figures of runs",
    "export": "write a run's scores in formats that others read",
    "submit": "make a file for a benchmark's server from a run",
    "fetch": "download a split's data ahead",
    "ask": "ask an Idefics2 checkpoint about pictures",
    "bench": "measure how fast a model answers",
    "train": "train an Idefics2 by a recipe",
}

OPTIONS_OF_LMMS_EVAL = {
    "--model-args": "--model BACKEND:MODEL",
    "--gen-kwargs": "--temperature, --top-p, --max-new-tokens",
    "--num-fewshot": "--shots",
    "--output-path": "--out",
    "--include-path": "--tasks-dir",
    "--log-samples": "every answer is logged, always",
}
"""What they are here, where they are not named alike."""

OLD_SPELLINGS = {"--task": "--tasks"}

HELP_COLUMN = 28
"""First column of a flag's explanation."""


class _Help(argparse.HelpFormatter):
    """argparse's help with paragraphs: filled to the terminal's width, but for indented lines."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=HELP_COLUMN)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(
            part if "\n  " in part else fill(part, width, indent) for part in paragraphs
        )

    def described(self, action: argparse.Action) -> str:
        """An argument with what it takes, as a usage line has it."""
        if not action.option_strings:
            return self._format_args(action, action.dest)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{action.option_strings[0]} {value}"


class _Parser(argparse.ArgumentParser):
    """argparse with one-line errors: what is wrong and where help is."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = self.parse_known_args([self._spelt(word) for word in args], namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._hint(unknown[0])}")
        return found

    def shorten_usage(self) -> None:
        """Let the usage name only what must be given: all flags stand below it."""
        described = _Help(self.prog).described
        words = [described(action) for action in self._actions if not action.option_strings]
        words += [described(one) for one in self._actions if one.option_strings and one.required]
        self.usage = " ".join([self.prog, *words, "[options]"]).replace("%", "%%")

    def _spelt(self, word: str) -> str:
        name, equals, value = word.partition("=")
        known = OLD_SPELLINGS.get(name, name)
        return known + equals + value if known in self._option_string_actions else word

    def _hint(self, unknown: str) -> str:
        name = unknown.partition("=")[0].lower().replace("_", "-")
        own = [option for option in self._option_string_actions if option.startswith("--")]
        near = nearest(name, own, most=1)
        here = OPTIONS_OF_LMMS_EVAL.get(name, near[0] if near else "")
        return f"; here: {here}" if here and name.startswith("--") else ""

    def error(self, message: str) -> NoReturn:
        raise VlmbenchError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    gc.set_threshold(GC_THRESHOLD)
    try:
        with _printing():
            return _run(arguments)
    except VlmbenchError as error:
        print(f"vlmbench: {one_line(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader of our output (head, less) has gone
            _drop(sys.stdout)
            return 0
        if not error.filename:
            raise
        print(f"vlmbench: {one_line(f'{error.filename}: {error.strerror}')}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vlmbench: interrupted", file=sys.stderr)
        return 130


class _Stdout(Cleaned):
    """Standard output, whose failures are told from those of other files."""

    def write(self, text: str) -> int:
        with self._explained():
            return super().write(text)

    def flush(self) -> None:
        with self._explained():
            self.stream.flush()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            _drop(self.stream)
            raise VlmbenchError(f"cannot write to standard output: {error.strerror}") from None


@contextmanager
def _printing() -> Iterator[None]:
    """Lets a command print any text, also to an output that is closed; what it prints is clean."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (open to the end)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    with (
        redirect_stdout(cast(TextIO, _Stdout(sys.stdout))),
        redirect_stderr(cast(TextIO, Cleaned(sys.stderr))),
    ):
        try:
            yield
        finally:
            sys.stdout.flush()


def _drop(stream: TextIO) -> None:
    """Send what the stream still holds nowhere: the interpreter flushes it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run(arguments: list[str]) -> int:
    name = arguments[0] if arguments else None
    if name == "ask":  # the model's own command, which must not need the harness
        return int(_module(name).run(arguments[1:]))
    if name in COMMANDS:
        code: int = _module(name).run(parser_of(name).parse_args(arguments[1:]))
        return code
    if name is not None and not name.startswith("-"):
        raise no_such("command", name, COMMANDS)
    parser = _Parser(
        prog="vlmbench",
        usage="vlmbench COMMAND [options]",
        description="Evaluate vision-language models.",
        formatter_class=_Help,
        epilog="vlmbench COMMAND --help tells more of each.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vlmbench {__version__}")
    commands = parser.add_argument_group("commands")
    for command, does in COMMANDS.items():
        commands.add_argument(command, nargs="?", help=does)
    parser.parse_args(arguments)
    parser.print_help()
    return 0 if arguments else 2


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of one command's arguments; its errors are VlmbenchErrors."""
    module = _module(command)
    parser = _Parser(
        prog=f"vlmbench {command}",
        description=module.__doc__,
        epilog=module.EXAMPLES,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    parser.shorten_usage()
    return parser


def _module(command: str) -> Any:
    """Only the command that runs is imported: --help and list stay quick."""
    name = command + "_" * keyword.iskeyword(command)
    return importlib.import_module(f"vlmbench.cli.commands.{name}")
