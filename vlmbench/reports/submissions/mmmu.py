"""MMMU's JSON object: a letter for each multiple-choice question, text for each open one."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

from vlmbench.reports.submissions.answers import Answer
from vlmbench.reports.submissions.content import Content


def by_id(answers: Sequence[Answer]) -> Content:
    """The object `{"test_Art_1": "D", "test_Art_2": "red", ...}`.

    A choice must be a bare letter. Where a response names none, the official parser draws one; so
    does this, by the question's id. The run's own score has the expected value of such a draw.

    Source: MMMU-Benchmark/MMMU bb0b95a, mmmu/README.md and mmmu/utils/eval_utils.py.
    """
    entries: dict[str, str] = {}
    num_drawn = 0
    for answer in answers:
        id, letters = answer.sample.id, tuple(answer.sample.options)
        if not letters:
            entries[id] = answer.response
            continue
        letter = answer.verdict().parsed
        if letter is None:
            num_drawn += 1
            letter = letters[zlib.crc32(id.encode()) % len(letters)]
        entries[id] = str(letter)
    notes = []
    if num_drawn:
        notes.append(
            f"{num_drawn:,} of {len(entries):,} responses name no option; their letters are drawn, "
            "as the official parser does"
        )
    main = json.dumps(entries, indent=1).encode()
    return Content(main=main, num_entries=len(entries), notes=notes)
