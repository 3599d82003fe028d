"""The board as JSON, with everything in it, and as CSV, with a line per cell."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from vlmbench.reports.board import columns
from vlmbench.reports.board.baselines import Reported
from vlmbench.reports.board.leaderboard import Board, Cell, Column, Row, Table
from vlmbench.runs.folder.costs import FIGURES, Costs
from vlmbench.tables import csv_safe

PLACES = 4
"""Decimal places of scores in percent: far below any interval, and the same on every machine."""

ROW_FIELDS = ("system", "kind", "parameters")
COLUMN_FIELDS = (
    *("task", "split", "mini", "shots", "fine_tuned", "harness", "metric", "version"),
    *("prompt_style", "profile", "reading"),
)
CELL_FIELDS = (
    *("score", "low", "high", "n", "rows", "split_rows", "failed", "missing", "unparsed"),
    *("tokens_per_image", "remark", "delta", "run"),
)
COST_FIELDS = tuple(f"costs.{key}" for key in FIGURES)
"""Medians where there are several figures; in the units of the JSON form."""

REPORT_FIELDS = ("source", "address", "place", "split_is", "trust", "verified", "note")
FIELDS = (*ROW_FIELDS, *COLUMN_FIELDS, *CELL_FIELDS, *COST_FIELDS, *REPORT_FIELDS)


def as_json(board: Board) -> str:
    """Tables with their columns and rows; a row's cells stand in the order of the columns."""
    tables = [
        {
            "title": table.setting.title,
            "columns": [_column(column) for column in table.columns],
            "rows": [
                _row(row)
                | _over_tasks(table, row)
                | {
                    "cells": [
                        _cell(row.cells[column]) if column in row.cells else None
                        for column in table.columns
                    ]
                }
                for row in table.rows
            ],
        }
        for table in board.tables
    ]
    document = {"reference": board.reference, "tables": tables, "notes": list(board.notes)}
    return json.dumps(document, indent=1) + "\n"  # in ASCII, which any output takes


def as_csv(board: Board) -> str:
    """A line per cell, with all that identifies its row and column; empty: unknown."""
    file = io.StringIO()
    writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
    writer.writeheader()
    for table in board.tables:
        for row in table.rows:
            for column in table.columns:
                if column in row.cells:
                    cell = _cell(row.cells[column])
                    report = cell.pop("reported") or dict.fromkeys(REPORT_FIELDS)
                    cell.pop("also")
                    cell |= _cost_fields(row.cells[column].costs)
                    record = _row(row) | _column(column) | cell | report
                    writer.writerow({field: _plain(record[field]) for field in FIELDS})
    return file.getvalue()


def _plain(value: Any) -> Any:
    """A value for CSV: booleans as in JSON, and no text that a spreadsheet would run."""
    return str(value).lower() if isinstance(value, bool) else csv_safe(value)


def _row(row: Row) -> dict[str, Any]:
    return {"system": row.name, "kind": row.kind, "parameters": row.num_parameters}


def _over_tasks(table: Table, row: Row) -> dict[str, Any]:
    """The mean over the table's tasks, null unless every row has them all; and the whole run's."""
    mean = columns.mean(table, row) if columns.has_means(table) else None
    return {
        "mean": mean and {name: _rounded(value) for name, value in asdict(mean).items()},
        "costs": row.costs and asdict(row.costs),
    }


def _cost_fields(costs: Costs | None) -> dict[str, float | None]:
    return {
        f"costs.{key}": None if costs is None else figure.value(costs)
        for key, figure in FIGURES.items()
    }


def _column(column: Column) -> dict[str, Any]:
    setting = column.setting
    return {
        "task": column.task,
        "split": column.split,
        "mini": setting.is_mini,
        "shots": setting.shots,
        "fine_tuned": setting.is_finetuned,
        "harness": setting.harness,
        "metric": column.metric,
        "version": column.version,
        "prompt_style": column.prompt_style,
        "profile": column.profile,
        "reading": column.reading,
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "score": _rounded(cell.score),
        "low": _rounded(cell.low),
        "high": _rounded(cell.high),
        "n": cell.n,
        "rows": cell.num_rows,
        "split_rows": cell.split_rows,
        "failed": cell.failed,
        "missing": cell.missing,
        "unparsed": cell.unparsed,
        "tokens_per_image": _rounded(cell.tokens_per_image),
        "remark": cell.remark,
        "delta": _rounded(cell.delta),
        "costs": cell.costs and asdict(cell.costs),
        "run": cell.folder,
        "reported": _reported(cell.reported) if cell.reported else None,
        "also": [{"score": other.score} | _reported(other) for other in cell.also],
    }


def _reported(result: Reported) -> dict[str, Any]:
    source = result.source
    return {
        "source": source.title if source else None,
        "address": source.address if source else None,
        "place": result.place,
        "split_is": result.split_is,
        "trust": result.trust,
        "verified": result.is_verified,
        "note": result.note,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, PLACES)
