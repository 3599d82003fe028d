"""Command-line arguments that several commands share."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from vlmbench.backends import settings
from vlmbench.data.policy import Policy
from vlmbench.errors import VlmbenchError
from vlmbench.image_files import MAX_PIXELS
from vlmbench.runs.folder.layout import is_of_a_run
from vlmbench.schema import FINAL_ANSWERS, PROFILES, Json

MAX_DIGITS = 18
"""Digits of a count that 64 bits hold."""

MAX_SHOWN = 40
"""Characters of a wrong value that a message repeats."""

PROCESSES_A_CORE = 4
MIN_PROCESSES = 64
"""So many are allowed on any machine: the cores that a container shows are not always its own."""

TASKS_DIR = "your own task files, or lmms-eval's yaml"

KEY_VALUE = re.compile(r"""(?!not\s)([^=<>!()"']+)=(?!=)(.+)""", re.DOTALL)
"""`--where KEY=VALUE`: all after the sign is one category, spaces and signs included."""

CONDITION = re.compile(r"""(["']).*|.*\s(and|or)\s.*[=<>].*""", re.DOTALL)
"""What of KEY=VALUE is no single category, but the rest of a condition."""


def path(text: str) -> Path:
    """A file or folder, as argparse's type; ~ is the home folder, also where a shell leaves it."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    try:
        os.lstat(text)
        return Path(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a name has no null character") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise argparse.ArgumentTypeError(f"{cut(text)} is too long for a name") from None
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(
            f"{text}: there is no such home folder; if it is a name, write ./{text}"
        ) from None


def result_path(text: str) -> Path:
    """A file to write a result to, as argparse's type."""
    found = path(text)
    if is_of_a_run(found):
        raise argparse.ArgumentTypeError(f"{text} is a run's own file; name another")
    return found


def count(least: int) -> Callable[[str], int]:
    """A whole number that is not below `least`, as argparse's type."""

    def counted(text: str) -> int:
        is_number = text.isascii() and text.isdigit()
        if is_number and len(text) > MAX_DIGITS:
            raise argparse.ArgumentTypeError(f"{cut(text)} has too many digits")
        if not is_number or int(text) < least:
            raise argparse.ArgumentTypeError(f"{cut(text)!r} is no whole number from {least}")
        return int(text)

    return counted


def processes(text: str) -> int:
    """A number of processes that this machine can hold, as argparse's type."""
    number = count(1)(text)
    try:
        check_processes(number)
    except VlmbenchError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return number


def check_processes(number: int) -> None:
    """Raises: VlmbenchError for more processes than this machine can hold."""
    cores = os.cpu_count() or 1
    most = max(MIN_PROCESSES, PROCESSES_A_CORE * cores)
    if number > most:
        raise VlmbenchError(
            f"{number} processes are too many for {cores} CPU cores; give at most {most}"
        )


def cut(text: str) -> str:
    """The text as a message shows it."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def names(text: str | None) -> list[str]:
    """The parts of a list with commas; none where nothing is given."""
    return [] if text is None else [name.strip() for name in text.split(",")]


def data_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--data-dir", type=path, metavar="DIR", help="a local copy of the data set")
    parser.add_argument("--tasks-dir", type=path, metavar="DIR", help=TASKS_DIR)


def policy_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--allow-outside",
        action="store_true",
        help="read pictures whose paths lead out of the data folder",
    )
    parser.add_argument(
        "--max-pixels",
        type=count(1),
        default=MAX_PIXELS,
        metavar="N",
        help=f"a larger picture fails its sample (default: {MAX_PIXELS:,})",
    )


def policy_of(args: argparse.Namespace) -> Policy:
    return Policy(allow_outside=args.allow_outside, max_pixels=args.max_pixels)


def tasks_argument(
    parser: argparse._ActionsContainer,
    *,
    help: str = "these tasks only (default: all)",
    metavar: str = "TASK[@SPLIT],...",
    is_required: bool = False,
) -> None:
    parser.add_argument("--tasks", metavar=metavar, help=help, required=is_required)


def profile_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--profile", default="official", choices=PROFILES, help="scoring rules (default: official)"
    )


def reading_arguments(parser: argparse._ActionsContainer, default: str = "default: none") -> None:
    parser.add_argument(
        "--final-answer",
        choices=FINAL_ANSWERS,
        help="what of a response is scored: none (all of it, as the official evaluators do), tags "
        "(without thought, answer tags, special tokens), full (also from boxes, JSON, answer "
        f"lines, bold; an option's letter) ({default})",
    )
    parser.add_argument(
        "--split-think",
        action="store_true",
        help="the profile vlmevalkit scores what follows </think>, as with its SPLIT_THINK",
    )


def json_argument(parser: argparse._ActionsContainer, help: str = "print JSON") -> None:
    parser.add_argument("--json", action="store_true", help=help)


def format_of(args: argparse.Namespace, default: str) -> str:
    """Raises: VlmbenchError for `--json` beside another `--format`."""
    if args.json and args.format not in (None, "json"):
        raise VlmbenchError(f"--json and --format {args.format} contradict each other; give one")
    return "json" if args.json else args.format or default


def where_argument(parser: argparse._ActionsContainer, help: str) -> None:
    parser.add_argument("--where", action="append", default=[], metavar="CONDITION", help=help)


def joined(conditions: Sequence[str]) -> str:
    """One condition that holds where all of them hold."""
    return conditions[0] if len(conditions) == 1 else " and ".join(f"({one})" for one in conditions)


def categories_or_condition(given: Sequence[str]) -> Mapping[str, str] | str:
    """What `--where` of a run selects by: exact categories, where each is KEY=VALUE.

    Raises: VlmbenchError for KEY=VALUE without the one or the other.
    """
    pairs: list[tuple[str, str]] = []
    conditions: list[str] = []
    for text in given:
        found = KEY_VALUE.fullmatch(text)
        is_pair = found is not None and not CONDITION.fullmatch(found[2])
        if not is_pair and not set("=<>") & set(text):
            raise VlmbenchError(f"--where {text}: write KEY=VALUE, such as subject=Art")
        if found and is_pair:
            pairs.append((found[1], found[2]))
            quote = "'" if '"' in found[2] else '"'
            text = f"{found[1]}={quote}{found[2]}{quote}"
        conditions.append(text)
    if len(dict(pairs)) == len(given):
        return dict(pairs)
    return joined(conditions)


def model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        required=True,
        metavar="BACKEND:MODEL",
        help="idefics2:PATH_OR_HUB_ID, transformers:PATH_OR_HUB_ID, openai:URL[,URL...]#MODEL, "
        "replay:FILE_OR_RUN or constant:TEXT",
    )


def settings_arguments(parser: argparse.ArgumentParser) -> None:
    """A flag for each setting of a built-in backend; one that is not given stays None."""
    group = parser.add_argument_group("settings of the model (each where its backend has it)")
    for one in _settings().values():
        _add_setting(group, one)
    group.add_argument(
        "--backend-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any setting, also of a backend that another package brings",
    )


def model_settings(args: argparse.Namespace) -> Mapping[str, Json]:
    """The settings that were given.

    Raises: VlmbenchError for a `--backend-arg` that the model's backend does not have, or that a
    flag has given already.
    """
    given = {name: _given(name, one, getattr(args, name)) for name, one in _settings().items()}
    found: dict[str, Json] = {name: value for name, value in given.items() if value is not None}
    texts: dict[str, str] = {}
    for pair in args.backend_arg:
        name, equals, text = pair.partition("=")
        name = name.replace("-", "_")
        if not (name and equals and text):
            raise VlmbenchError(f"--backend-arg {pair}: write NAME=VALUE, such as batch_size=8")
        if name in found or name in texts:
            raise VlmbenchError(f"--backend-arg {pair}: {name} is given twice")
        texts[name] = text
    if texts:
        from vlmbench.backends import registry

        found |= registry.read(args.model, texts)
    return found


def setting_names() -> list[str]:
    """Names of all settings that have a flag."""
    return list(_settings())


def _settings() -> dict[str, Field[Any]]:
    return {one.name: one for kind in settings.BUILT_IN for one in fields(kind)}


def _given(name: str, one: Field[Any], value: Any) -> Json:
    """A flag's value; of one that is given once for each NAME=VALUE, all of them together.

    Raises: VlmbenchError for one that is no NAME=VALUE, or a name that is given twice.
    """
    found: dict[str, Json] = {}
    if one.metadata["kind"] is not settings.ASSIGNMENTS or value is None:
        same: Json = value
        return same
    flag = f"--{name.replace('_', '-')}"
    for pair in value:
        key, equals, text = pair.partition("=")
        if not (key and equals and text):
            raise VlmbenchError(f"{flag} {pair}: write NAME=VALUE")
        if key in found:
            raise VlmbenchError(f"{flag} {pair}: {key} is given twice")
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found


def _add_setting(group: argparse._ArgumentGroup, one: Field[Any]) -> None:
    kind: settings.Kind = one.metadata["kind"]
    flag = "--" + (one.metadata["flag"] or one.name).replace("_", "-")
    common = {"dest": one.name, "default": None, "help": one.metadata["help"]}
    if kind is settings.ASSIGNMENTS:
        metavar = {"metavar": one.metadata["metavar"]}
        group.add_argument(flag, action="append", **common, **metavar)
    elif kind is not settings.YES_OR_NO:
        kinds = {"choices": kind.choices} if kind.choices else {"type": _reader(kind)}
        metavar = {"metavar": one.metadata["metavar"]} if one.metadata["metavar"] else {}
        group.add_argument(flag, **common, **kinds, **metavar)
    elif one.default is None:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
    else:
        group.add_argument(flag, action="store_true", **common)


def _reader(kind: settings.Kind) -> Callable[[str], Json]:
    def read(text: str) -> Json:
        try:
            return kind.read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"it is {cut(text)!r}, must be {kind.must_be}"
            ) from None

    return read


def track_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--track",
        metavar="TRACKER[:PROJECT]",
        help="send figures to trackio, wandb or tensorboard (default: nothing is sent anywhere)",
    )
