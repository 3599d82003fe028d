"""`findings.md` and its figures, from the files of finished arms alone."""

from __future__ import annotations

from pathlib import Path

from . import figures, text
from .analysis import Laboratory, compared
from .comparisons import FINDINGS

REPORT = "findings.md"


def write_report(folder: Path, size: str) -> Path:
    """Writes the report and its figures beside the arms; gives its path.

    Raises: ValueError where no arm is finished.
    """
    laboratory = Laboratory.open(folder, size)
    found = {
        finding.number: [
            one for each in finding.comparisons if (one := compared(laboratory, each)) is not None
        ]
        for finding in FINDINGS
    }
    drawn = figures.write(laboratory, found, folder)
    path = folder / REPORT
    path.write_text(text.report(laboratory, found, drawn, size), "utf-8")
    return path
