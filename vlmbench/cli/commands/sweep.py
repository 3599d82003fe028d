"""Run a model under several settings, on the same samples, and show what each costs and scores.

Every combination of the values of --over is a run with a folder of its own below --out, as
`vlmbench run` would make it. The same command goes on where it was stopped, and with more values it
adds runs. All other flags are those of `vlmbench run`, and hold for every run.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from vlmbench.cli.arguments import model_settings, names
from vlmbench.cli.commands import run as run_command
from vlmbench.errors import VlmbenchError, no_such
from vlmbench.files import slug
from vlmbench.runs.folder.sweep import Axis, Sweep, read_sweep, with_runs, write_sweep
from vlmbench.tables import takes_colours
from vlmbench.terminal import raw

EXAMPLES = """examples:
  vlmbench sweep --model idefics2:tiny --tasks docvqa@mini \\
    --over split=on,off --over max_side=48,96
  vlmbench sweep --model transformers:Qwen/Qwen2-VL-2B-Instruct --tasks docvqa \\
    --over max_pixels=200704,401408,802816

--over takes any setting of the model, by the name of its flag (split, max_side, dtype,
keep_visual_tokens, max_new_tokens, prompt_style, shots, ...), and for transformers: any of the
checkpoint's image processor (size.longest_edge, max_pixels, do_image_splitting, max_crops, ...).
Flags that take no value are on or off; the value "default" leaves the flag out.

Controls at equal cost, which a way to save visual tokens has to beat: --over max_side (pictures
scaled down beforehand) and --over keep_visual_tokens (dropped at random, idefics2).

Exit codes are those of `vlmbench run`.
"""

PROMPT = (*("prompt_style", "shots", "shots_seed", "blind", "pictures", "ocr", "max_new_tokens"),)
"""Settings of the prompt, beside those of the model, that a sweep may turn."""

DEFAULT = "default"

ON_OFF = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    run_command.add_arguments(parser)
    parser.add_argument(
        "--over",
        action="append",
        default=[],
        metavar="NAME=VALUE,...",
        help="a setting and its values; several --over give all combinations",
    )
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace) -> int:
    from vlmbench.backends import registry
    from vlmbench.runs import ranks

    if ranks.rank() is not None:
        raise VlmbenchError(
            "a sweep starts each run itself: give it --gpus or --workers, without a launcher"
        )
    if not args.over:
        raise VlmbenchError("no setting is turned; give --over NAME=VALUE,... such as split=on,off")
    axes = _axes(args.over)
    parent: Path = args.out or Path("runs") / f"sweep-{slug(args.model)}"
    settings = {_folder(values): values for values in _combinations(axes)}
    points = {folder: _point(args, parent / folder, values) for folder, values in settings.items()}
    for point in points.values():
        registry.check(point.model, model_settings(point))
    if not args.dry_run:
        write_sweep(parent, _extended(parent, args, axes, settings))
    worst = 0
    for number, (folder, point) in enumerate(points.items(), start=1):
        print(
            f"vlmbench: run {number} of {len(points)}: {_said(settings[folder])}", file=sys.stderr
        )
        with redirect_stdout(sys.stderr):
            code = run_command.run(point)
        if code not in (0, 1):
            return code
        worst = max(worst, code)
    if not args.dry_run:
        _show(parent, args)
    return worst


def _axes(given: Sequence[str]) -> tuple[Axis, ...]:
    """Raises: VlmbenchError for what is no NAME=VALUE,... and for what is named twice."""
    axes: dict[str, Axis] = {}
    for text in given:
        name, equals, rest = text.partition("=")
        name = name.removeprefix("--").replace("-", "_")
        values = tuple(names(rest)) if rest else ()
        if not (name and equals and all(values) and values):
            raise VlmbenchError(f"--over {text}: write NAME=VALUE,VALUE, such as max_side=378,756")
        if name in axes:
            raise VlmbenchError(f"--over {text}: {name} is given twice")
        if len(set(values)) < len(values):
            raise VlmbenchError(f"--over {text}: a value is given twice")
        axes[name] = Axis(name=name, values=values)
    return tuple(axes.values())


def _combinations(axes: Sequence[Axis]) -> list[dict[str, str]]:
    names = [axis.name for axis in axes]
    every = itertools.product(*(axis.values for axis in axes))
    return [dict(zip(names, values, strict=True)) for values in every]


def _said(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _folder(values: Mapping[str, str]) -> str:
    return ",".join(f"{slug(name)}={slug(value)}" for name, value in values.items())


def _point(args: argparse.Namespace, folder: Path, values: Mapping[str, str]) -> argparse.Namespace:
    """The arguments of `vlmbench run` for one combination.

    Raises: VlmbenchError for a setting that there is not, or a value that it does not take.
    """
    point = copy.copy(args)
    point.out, point.json = folder, args.json and args.dry_run
    for name in ("processor_arg", "backend_arg"):
        setattr(point, name, list(getattr(args, name) or []) or None)
    point.backend_arg = point.backend_arg or []
    for name, value in values.items():
        _set(point, name, value)
    return point


def _set(point: argparse.Namespace, name: str, value: str) -> None:
    from vlmbench.backends import registry

    action = _turnable(point.parser).get(name)
    if action is not None:
        setattr(point, action.dest, _value(action, name, value))
    elif registry.uses(point.model, "processor_arg"):
        given = [one for one in point.processor_arg or [] if not one.startswith(f"{name}=")]
        point.processor_arg = given + ([] if value == DEFAULT else [f"{name}={value}"])
    elif registry.uses(point.model, name):  # of a backend that another package brings
        given = [one for one in point.backend_arg if not one.startswith(f"{name}=")]
        point.backend_arg = given + ([] if value == DEFAULT else [f"{name}={value}"])
    else:
        raise no_such("setting", name, _turnable(point.parser), "to sweep --over")


def _turnable(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Flags of `vlmbench run` that a sweep may turn, by name of flag and of setting."""
    from vlmbench.cli.arguments import setting_names

    allowed = {*setting_names(), *PROMPT} - {"processor_arg"}
    found: dict[str, argparse.Action] = {}
    for action in parser._actions:
        if action.dest in allowed:
            flags = [one[2:].replace("-", "_") for one in action.option_strings]
            found |= dict.fromkeys([action.dest, *(f for f in flags if f[:3] != "no_")], action)
    return found


def _value(action: argparse.Action, name: str, text: str) -> Any:
    """The value as argparse would read it.

    Raises: VlmbenchError where the flag does not take it.
    """
    if text == DEFAULT:
        return action.default
    if action.nargs == 0:
        if text.lower() not in ON_OFF:
            raise VlmbenchError(f"--over {name}: it is on or off, not {text!r}")
        is_on = ON_OFF[text.lower()]
        return is_on if isinstance(action, argparse.BooleanOptionalAction) or is_on else None
    if action.choices and text not in action.choices:
        raise no_such(name, text, [str(choice) for choice in action.choices], "to sweep --over")
    if not callable(action.type):
        return text
    try:
        return action.type(text)
    except argparse.ArgumentTypeError as error:
        raise VlmbenchError(f"--over {name}: {error}") from None
    except ValueError:
        raise VlmbenchError(f"--over {name}: {text!r} is no value of it") from None


def _extended(
    parent: Path,
    args: argparse.Namespace,
    axes: Sequence[Axis],
    runs: Mapping[str, Mapping[str, str]],
) -> Sweep:
    """The sweep with the runs that the folder has already.

    Raises: VlmbenchError where these are of another model or of other settings.
    """
    tasks = tuple(names(args.tasks))
    before = read_sweep(parent)
    if before is not None:
        turned = [axis.name for axis in before.over]
        if (before.model, turned) != (args.model, [axis.name for axis in axes]):
            raise VlmbenchError(
                f"{parent} holds another sweep, of {before.model} over {', '.join(turned)}; "
                "give this one another --out"
            )
        tasks = tuple(dict.fromkeys([*before.tasks, *tasks]))
        axes = [
            Axis(name=new.name, values=tuple(dict.fromkeys([*old.values, *new.values])))
            for old, new in zip(before.over, axes, strict=True)
        ]
        runs = {**before.runs, **runs}
    return Sweep(
        model=args.model,
        tasks=tasks,
        over=tuple(axes),
        runs=runs,
        command=("vlmbench", *sys.argv[1:]),
    )


def _show(parent: Path, args: argparse.Namespace) -> None:
    """One table, on stdout, and the plots, below the folder."""
    from vlmbench.reports import plots
    from vlmbench.reports.board import exports, rows, text
    from vlmbench.runs.folder.finished import open_run

    found = [open_run(folder) for folder in with_runs([parent])]
    board = rows.board_of(found, (), profile=args.profile, allow_mixed=True)
    if args.json:
        document = json.loads(exports.as_json(board))
        print(json.dumps({"sweep": str(parent), **document}, indent=1))
    else:
        raw(sys.stdout).write(text.as_text(board, is_coloured=takes_colours(sys.stdout)))
    try:
        for drawing in plots.figures(found, ("tradeoff",), profile=args.profile):
            if isinstance(drawing, plots.Skipped):
                print(f"vlmbench: left out: {drawing.reason}", file=sys.stderr)
                continue
            for path in plots.write(drawing, parent / "plots", ("png",)):
                print(f"vlmbench: plot: {path}", file=sys.stderr)
    except VlmbenchError as error:  # no matplotlib: the table stands all the same
        print(f"vlmbench: no plots: {error}", file=sys.stderr)
