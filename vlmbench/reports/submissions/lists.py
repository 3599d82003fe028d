"""JSON lists of answers, which EvalAI takes for VQAv2 and TextVQA, and RRC for DocVQA."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vlmbench.errors import VlmbenchError
from vlmbench.reports.submissions.answers import Answer
from vlmbench.reports.submissions.content import Content


def answers(key: str, answered: Sequence[Answer], others: Sequence[str]) -> Content:
    """The list `[{"question_id": 262144000, "answer": "yes"}, ...]`: a whole number and text.

    `key`: the data set's name of the id. `others`: ids that the server counts too, though they are
    not of this phase; answered by "".

    Source: for VQAv2 and TextVQA MMF, docs/source/challenges/vqa_challenge.md and
    textvqa_challenge.md; for DocVQA lmms-eval 0.7.3, tasks/docvqa/utils.py, and
    huggingface/smollm, vision/m4/evaluation.
    """
    entries = [{key: _number(a.sample.id, key), "answer": a.response} for a in answered]
    entries += [{key: _number(id, key), "answer": ""} for id in others]
    return Content(main=json.dumps(entries).encode(), num_entries=len(entries))


def _number(id: str, key: str) -> int:
    if not (id.isascii() and id.isdecimal()):
        raise VlmbenchError(f"the server takes whole numbers as {key}, and a sample's is {id!r}")
    return int(id)
