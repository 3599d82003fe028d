"""The board as Markdown, LaTeX and HTML, which differ in their markup alone."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vlmbench.reports import costs
from vlmbench.reports.board import columns, notes
from vlmbench.reports.board.baselines import Reported
from vlmbench.reports.board.columns import Mean
from vlmbench.reports.board.leaderboard import Board, Cell, Table
from vlmbench.runs.folder.costs import Figure

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>vlmbench board</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; margin: 1em 0 2em; }}
th, td {{ border-bottom: 1px solid #999; padding: .3em .7em; }}
th, td {{ text-align: right; white-space: nowrap; }}
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) {{ text-align: left; }}
th {{ border-bottom: 2px solid #333; vertical-align: bottom; }}
small {{ color: #444; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Markup:
    """The markup of one format; everything else is the same for all."""

    escape: Callable[[str], str]
    raise_up: Callable[[str], str]
    two_lines: Callable[[str, str], str]
    """A main text, and below it a small one, which may be empty."""


def as_markdown(board: Board, command: str = "", wanted: Sequence[str] = ()) -> str:
    """Tables of GitHub's Markdown; the first line names `command`, which made them."""
    markup = Markup(
        escape=_markdown_escape,
        raise_up=lambda text: f"<sup>{text}</sup>",
        two_lines=lambda first, second: f"{first}<br><sub>{second}</sub>" if second else first,
    )
    numbers = notes.numbers(board)
    parts = [f"Made by {_code_span(command)}: do not edit.", ""] if command else []
    for table in board.tables:
        header, rows = _cells(table, wanted, markup, numbers)
        is_left = ["---"] * (1 + (header[1:2] == ["parameters"]))
        lines = [header, [*is_left, *["---:"] * (len(header) - len(is_left))], *rows]
        parts += [f"## {_markdown_escape(table.setting.title)}", ""]
        parts += [f"| {' | '.join(line)} |" for line in lines] + [""]
        below = [*notes.costs(table, _figures(table, wanted))]
        parts += [_markdown_escape("; ".join(below)), ""] if below else []
    for title, sentences in notes.endnotes(board, numbers):
        parts += [f"## {title}", ""]
        parts += [f"- {_markdown_escape(sentence)}" for sentence in sentences] + [""]
    return "\n".join(parts).rstrip() + "\n"


def as_latex(board: Board, wanted: Sequence[str] = ()) -> str:
    r"""Tables for `\usepackage{booktabs}`, with the notes below them."""
    markup = Markup(
        escape=_latex_escape,
        raise_up=lambda text: rf"\textsuperscript{{{text}}}",
        two_lines=lambda first, second: (
            rf"\shortstack[r]{{{first}\\{{\scriptsize {second}}}}}" if second else first
        ),
    )
    numbers = notes.numbers(board)
    parts = [r"% needs \usepackage{booktabs}"]
    for table in board.tables:
        header, rows = _cells(table, wanted, markup, numbers)
        parts += ["", r"\begin{table}", rf"\caption{{{_latex_escape(table.setting.title)}}}"]
        parts += [rf"\begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}", r"\toprule"]
        parts += [rf"{' & '.join(header)} \\", r"\midrule"]
        parts += [rf"{' & '.join(row)} \\" for row in rows]
        parts += [r"\bottomrule", r"\end{tabular}"]
        below = [*notes.costs(table, _figures(table, wanted))]
        parts += [rf"\par {_latex_escape('; '.join(below))}"] if below else []
        parts += [r"\end{table}"]
    for title, sentences in notes.endnotes(board, numbers):
        parts += ["", rf"\paragraph{{{title}}}"]
        parts += [rf"{_latex_escape(sentence)}\par" for sentence in sentences]
    return "\n".join(parts) + "\n"


def as_html(board: Board, wanted: Sequence[str] = ()) -> str:
    """One page that needs no other file."""
    markup = Markup(
        escape=html.escape,
        raise_up=lambda text: f"<sup>{text}</sup>",
        two_lines=lambda first, second: f"{first}<br><small>{second}</small>" if second else first,
    )
    numbers = notes.numbers(board)
    parts = []
    for table in board.tables:
        header, rows = _cells(table, wanted, markup, numbers)
        parts += [f"<h2>{html.escape(table.setting.title)}</h2>", "<table>", "<thead>"]
        parts += [_html_row("th", header), "</thead>", "<tbody>"]
        parts += [_html_row("td", row) for row in rows] + ["</tbody>", "</table>"]
        below = [*notes.costs(table, _figures(table, wanted))]
        parts += [f"<p>{html.escape('; '.join(below))}</p>"] if below else []
    for title, sentences in notes.endnotes(board, numbers):
        parts += [f"<h2>{html.escape(title)}</h2>", "<ul>"]
        parts += [f"<li>{html.escape(sentence)}</li>" for sentence in sentences] + ["</ul>"]
    return PAGE.format(body="\n".join(parts))


def _figures(table: Table, wanted: Sequence[str]) -> list[Figure]:
    return [costs.figure(name) for name in columns.of_table(table, wanted) if name in costs.KEYS]


def _html_row(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _cells(
    table: Table, wanted: Sequence[str], markup: Markup, numbers: dict[str, int]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows, marked up."""
    chosen = columns.of_table(table, wanted)
    header = ["system"]
    rows = [[markup.escape(notes.title_of(row))] for row in table.rows]
    for name in chosen if wanted else dict.fromkeys((columns.PARAMS, *chosen)):
        if name == columns.SCORES:
            header += [
                markup.two_lines(markup.escape(column.name), markup.escape(column.how))
                for column in table.columns
            ]
            for row, cells in zip(table.rows, rows, strict=True):
                cells += [_cell(row.cells.get(column), markup, numbers) for column in table.columns]
            continue
        head, texts = _column(table, name, markup)
        header.append(head)
        for text, cells in zip(texts, rows, strict=True):
            cells.append(text)
    return header, rows


def _column(table: Table, name: str, markup: Markup) -> tuple[str, list[str]]:
    """Head and cells of a column that is no task's."""
    if name == columns.PARAMS:
        return "parameters", [notes.parameters(row) for row in table.rows]
    if name == columns.MEAN:
        return "mean", [markup.escape(_mean(columns.mean(table, row))) for row in table.rows]
    figure = costs.figure(name)
    how = ", ".join(part for part in (figure.shown_unit, costs.scenario(figure)) if part)
    values = [columns.cost(table, row, figure) for row in table.rows]
    cells = [
        "" if row.costs is None and value is None else costs.shown(figure, value)
        for row, value in zip(table.rows, values, strict=True)
    ]
    return markup.two_lines(markup.escape(figure.symbol), markup.escape(how)), cells


def _mean(found: Mean) -> str:
    if found.low is None or found.high is None:
        return f"{found.score:.2f}"
    return f"{found.score:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _cell(cell: Cell | None, markup: Markup, numbers: dict[str, int]) -> str:
    if cell is None:
        return ""
    if cell.reported:
        return _reported_cell(cell, cell.reported, markup, numbers)
    parts = ["-" if cell.score is None else f"{cell.score:.2f}"]
    if cell.delta is not None:
        parts.append(f"({cell.delta:+.2f})")
    if cell.low is not None and cell.high is not None:
        parts.append(f"[{cell.low:.2f}, {cell.high:.2f}]")
    return markup.two_lines(
        markup.escape(" ".join(parts)), markup.escape(", ".join(_evidence(cell)))
    )


def _evidence(cell: Cell) -> list[str]:
    """Size and gaps of the samples behind a score made here."""
    part = f" ({cell.num_rows:,} of {cell.split_rows:,} rows)" if cell.is_part else ""
    shown = [f"n {cell.n:,}{part}"] if cell.n is not None else []
    if cell.failed is not None:
        shown.append(f"{cell.failed:,} failed")
    if cell.missing:
        shown.append(f"{cell.missing:,} not run")
    if cell.unparsed is not None:
        shown.append(f"{cell.unparsed:,} unparsed")
    if cell.tokens_per_image is not None:
        shown.append(f"{cell.tokens_per_image:.4g} tokens/image")
    if cell.remark:
        shown.append(cell.remark)
    return shown


def _reported_cell(cell: Cell, best: Reported, markup: Markup, numbers: dict[str, int]) -> str:
    text = notes.as_printed(best.score)
    if cell.delta is not None:
        text += f" ({cell.delta:+.1f})"
    if not best.is_verified:
        text += f" ({notes.UNVERIFIED})"
    mark = notes.source_mark(cell, numbers)
    tokens = best.tokens_per_tile
    if best.tokens_per_image is not None:
        tokens = f"{best.tokens_per_image:,} tokens/image"
    shown = markup.escape(text) + (markup.raise_up(mark) if mark else "")
    return markup.two_lines(shown, markup.escape(tokens))


def _markdown_escape(text: str) -> str:
    """Text as text: no markup, no table cell, no line ends in it. Addresses stay links."""
    text = html.escape(" ".join(text.split()), quote=False)
    parts = re.split(r"(https://\S+)", text)
    return "".join(
        re.sub(r"([|])" if part.startswith("https://") else r"([\\`*_\[\]|~#])", r"\\\1", part)
        for part in parts
    )


def _code_span(text: str) -> str:
    text = " ".join(text.split())
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{fence}{text}{fence}"


LATEX: dict[str, str] = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _latex_escape(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in " ".join(text.split()))
