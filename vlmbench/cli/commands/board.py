"""Show runs beside each other and beside results that others report.

A column is one task and split, asked and scored in one way; what is asked otherwise stands in a
table of its own. Nothing is run: all is read from the run folders and results/baselines.yaml.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING

from vlmbench.cli.arguments import (
    format_of,
    joined,
    json_argument,
    names,
    path,
    profile_argument,
    result_path,
    tasks_argument,
    where_argument,
)
from vlmbench.errors import VlmbenchError
from vlmbench.files import put
from vlmbench.reports.board.columns import NAMES as COLUMNS
from vlmbench.reports.board.columns import checked
from vlmbench.tables import takes_colours
from vlmbench.terminal import raw

if TYPE_CHECKING:
    from vlmbench.reports.board.leaderboard import Board

EXAMPLES = """examples:
  vlmbench board runs/one-crop runs/five-crops --controls
  vlmbench board --tasks docvqa,mmmu --where "params<10e9 and verified"

Conditions ask for params, tokens (of an image), system, kind (run, control, open, proprietary),
source, trust, verified, or a task (its score): "kind=run or source=*2405*". They are joined by and,
or, not and parentheses; * and ? are wildcards; text of several words stands in quotes.
"""

FORMATS = {
    "text": ".txt",
    "markdown": ".md",
    "json": ".json",
    "csv": ".csv",
    "latex": ".tex",
    "html": ".html",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="*", type=path, metavar="RUN", help="folders of runs or sweeps"
    )
    parser.add_argument(
        "--baselines",
        metavar="all|none|NAME,...",
        help="reported results (default: those that share a column with a run; all without runs)",
    )
    parser.add_argument(
        "--controls", action="store_true", help="for mini tasks: chance, majority, question only"
    )
    tasks_argument(parser, help="these columns only (default: all)")
    where_argument(parser, help="these cells only, see below; several must all hold")
    parser.add_argument(
        "--sort", metavar="KEY", help="a task (best first), or name, params, tokens (least first)"
    )
    parser.add_argument("--reference", metavar="ROW", help="show distances to this row's scores")
    profile_argument(parser)
    parser.add_argument(
        "--allow-mixed",
        action="store_true",
        help="give prompt styles, shots and task versions columns of their own",
    )
    parser.add_argument(
        "--columns",
        metavar="NAME,...",
        help=f"of {', '.join(COLUMNS)} (default: params, scores, mean, and what is known of costs)",
    )
    json_argument(parser, help="the same as --format json")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="default: as --out ends, else text, which fits the terminal",
    )
    parser.add_argument(
        "--out", type=result_path, metavar="FILE", help="write there, not to stdout"
    )


def run(args: argparse.Namespace) -> int:
    board = _board(args)
    if args.tasks is not None:
        board = board.only(names(args.tasks))
    if args.reference is not None:
        board = board.against(args.reference)
    checked(names(args.columns))
    if args.where:
        from vlmbench import conditions

        board = board.where(conditions.parse(joined(args.where), board.fact_names()))
    if args.sort is not None:
        board = board.sorted_by(args.sort)
    if not board.rows:
        raise VlmbenchError("no cell is left on the board; leave out --where or --tasks")
    form = _format(args)
    rendered = _rendered(board, form, args)
    if form == "text" and args.out is None:
        raw(sys.stdout).write(rendered)  # its cells are printable, and its colours ours
    else:
        put(rendered, args.out)
    return 0


def _board(args: argparse.Namespace) -> Board:
    from vlmbench.reports.board import baselines
    from vlmbench.reports.board import rows as board_rows
    from vlmbench.runs.folder.finished import open_run
    from vlmbench.runs.folder.sweep import with_runs

    given: str | None = args.baselines
    if given == "none" and not args.runs:
        raise VlmbenchError("there is nothing to show: give run folders, or --baselines all")
    systems = () if given == "none" else baselines.load()
    if given not in (None, "all", "none"):
        systems = baselines.choose(systems, names(given))
    board = board_rows.board_of(
        [open_run(folder) for folder in with_runs(args.runs)],
        systems,
        profile=args.profile,
        allow_mixed=args.allow_mixed,
        with_controls=args.controls,
    )
    return board_rows.matching(board) if given is None and args.runs else board


def _format(args: argparse.Namespace) -> str:
    if args.format or args.json or args.out is None:
        return format_of(args, "text")
    for name, ending in FORMATS.items():
        if args.out.suffix == ending:
            return name
    raise VlmbenchError(
        f"--out {args.out} ends in none of {', '.join(FORMATS.values())}; give --format"
    )


def _rendered(board: Board, form: str, args: argparse.Namespace) -> str:
    from vlmbench.reports.board import exports, markup
    from vlmbench.reports.board.text import as_text

    wanted = names(args.columns)
    match form:
        case "text":
            is_coloured = args.out is None and takes_colours(sys.stdout)
            return as_text(board, wanted=wanted, is_coloured=is_coloured)
        case "markdown":
            return markup.as_markdown(board, _command(args), wanted)
        case "latex":
            return markup.as_latex(board, wanted)
        case "html":
            return markup.as_html(board, wanted)
        case "csv":
            return exports.as_csv(board)
    return exports.as_json(board)


def _command(args: argparse.Namespace) -> str:
    """What prints this board as Markdown again."""
    words = ["vlmbench", "board", *(folder.as_posix() for folder in args.runs)]
    for name in ("baselines", "tasks", "sort", "reference", "columns"):
        if getattr(args, name) is not None:
            words += [f"--{name}", getattr(args, name)]
    for condition in args.where:
        words += ["--where", condition]
    words += ["--controls"] if args.controls else []
    words += ["--profile", args.profile] if args.profile != "official" else []
    words += ["--allow-mixed"] if args.allow_mixed else []
    return shlex.join([*words, "--format", "markdown"])
