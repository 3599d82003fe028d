"""MMBench's sheet: every row of the circular evaluation, with the letter that was answered."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from vlmbench.reports.submissions.answers import Answer
from vlmbench.reports.submissions.content import Content

COLUMNS = ("index", "question", "A", "B", "C", "D", "prediction", "answer", "split")
LONGEST_CELL = 32_767
"""Characters that a cell of an xlsx file can hold."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f]")
_LOOKS_ESCAPED = re.compile("_(?=x[0-9A-Fa-f]{4}_)")


def sheet(answers: Sequence[Answer]) -> Content:
    """The sheet: columns index, question, A to D, prediction, answer (where public) and split.

    `prediction` is the letter that the official rules find in the response, or the response itself
    where they find none, for the server's judge to read. An absent option is an empty cell. Text is
    text, whatever it looks like: "None", "=1+1" and "1e5" stay these.

    Source: LLaVA, scripts/convert_mmbench_for_submission.py, and its upload file for LLaVA-1.5.
    """
    import openpyxl
    from openpyxl.cell import WriteOnlyCell

    is_public = all(answer.sample.answers for answer in answers)
    columns = [name for name in COLUMNS if is_public or name != "answer"]
    book = openpyxl.Workbook(write_only=True)
    page = book.create_sheet("Sheet1")
    page.append(columns)
    num_cut = 0
    for answer in answers:
        cells = _cells(answer)
        num_cut += len(cells["prediction"]) > LONGEST_CELL
        row: list[object] = [int(answer.sample.id)]
        for name in columns[1:]:
            cell = None
            if cells[name]:
                cell = WriteOnlyCell(page, value=_as_stored(cells[name]))
                cell.data_type = "s"  # openpyxl takes "=1+1" for a formula and "#N/A" for an error
            row.append(cell)
        page.append(row)
    file = io.BytesIO()
    book.save(file)
    notes = [f"{num_cut:,} responses are cut to a cell's {LONGEST_CELL:,} characters"]
    return Content(
        main=file.getvalue(),
        num_entries=len(answers),
        suffix=".xlsx",
        notes=notes if num_cut else (),
    )


def _cells(answer: Answer) -> dict[str, str]:
    sample = answer.sample
    letter = answer.verdict().parsed
    is_letter = isinstance(letter, str) and letter in sample.options
    return {
        "question": sample.question,
        **{name: sample.options.get(name, "") for name in "ABCD"},
        "prediction": str(letter) if is_letter else answer.response,
        "answer": "".join(sample.answers),
        "split": answer.row.cell("split"),
    }


def _as_stored(text: str) -> str:
    """The text with xlsx's escapes for what XML cannot hold: _x0007_ for a control character.

    Source: ECMA-376, part 1, 22.9.2.19 (ST_Xstring).
    """
    whole = text[:LONGEST_CELL].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    escaped = _LOOKS_ESCAPED.sub("_x005F_", whole)
    stored = _CONTROL.sub(lambda match: f"_x{ord(match[0]):04X}_", escaped)
    return re.sub("[\ufffe\uffff]", "\ufffd", stored)
