"""One task of a run for the report: every sample from its score, its response and the data set."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import islice, repeat
from typing import Any

from msgspec import UNSET

from vlmbench import files
from vlmbench.reports.viewer.chunks import TaskFiles
from vlmbench.reports.viewer.questions import Question, Questions
from vlmbench.runs.folder.finished import FinishedTask
from vlmbench.runs.folder.responses import ResponseRecord
from vlmbench.runs.folder.scores import ScoreRecord

FAILED, UNPARSED, CUT_OFF, OTHER_PROMPT = 1, 2, 4, 8
"""Bits of a sample's flags; elements.js has the same."""

LOGGED = (
    *("finish_reason", "visual_tokens", "prompt_tokens", "generated_tokens", "timings", "attempt"),
    *("worker", "time", "prompt"),
)
"""Fields of a response record that the page shows unchanged."""

BLOCK = 256


class Samples:
    """Writes the samples of a task, in the order of their ids."""

    def __init__(self, task: FinishedTask, questions: Questions | None, files: TaskFiles) -> None:
        self._task, self._questions, self._files = task, questions, files
        self._categories: dict[tuple[str, str], int] = {}
        self.num_other_prompts = 0

    @property
    def categories(self) -> list[tuple[str, str]]:
        """Dimension and name of every category, by the numbers that the samples have."""
        return list(self._categories)

    def write(self) -> None:
        """Write all samples.

        Raises: VlmbenchError for a run folder that is incomplete or damaged.
        """
        for block in _blocks(self._pairs(), BLOCK):
            responses = [response for _, response in block]
            asked = self._questions.of(responses) if self._questions else repeat(Question())
            for (score, response), question in zip(block, asked, strict=False):
                self._add(score, response, question)

    def _pairs(self) -> Iterator[tuple[ScoreRecord | None, ResponseRecord]]:
        """Score and response of every sample; no score where the answers are not public."""
        if not self._task.summaries:
            return zip(repeat(None), self._task.responses(), strict=False)
        return zip(self._task.scores(), self._task.responses(), strict=True)

    def _add(self, score: ScoreRecord | None, response: ResponseRecord, question: Question) -> None:
        verdicts = _verdicts(score, question) if score else []
        parsed = verdicts[0][2] if verdicts else None
        text = response.response
        flags = (
            FAILED * (text is None)
            | UNPARSED * bool(verdicts and parsed is None)
            | CUT_OFF * (response.finish_reason == "length")
            | OTHER_PROMPT * (not question.is_as_asked)
        )
        self.num_other_prompts += not question.is_as_asked
        breakdown = score.breakdown if score else {}
        index = {
            "id": response.id,
            "score": _own_value(score) if score else None,
            "flags": flags,
            "length": len(text or ""),
            "latency": response.timings.get("total_s"),
            "answer": None if text is None else _fingerprint(parsed if verdicts else text.strip()),
            "categories": [
                self._categories.setdefault((dimension, name), len(self._categories))
                for dimension, names in breakdown.items()
                for name in names
            ],
        }
        is_group = score is not None and score.is_circular and score.value is not None
        detail = {name: getattr(response, name) for name in LOGGED} | {
            "error": (score.error if score and score.error is not UNSET else "") or response.error,
            "verdicts": verdicts,
            "final": _final(score),
            "group": score.profiles if score and is_group else None,
            "breakdown": breakdown,
            "hint": question.hint,
            "options": question.options,
            "pictures": [picture.as_json() for picture in question.pictures],
            "asked": question.prompt,
        }
        self._files.add(index, [question.text, text, question.gold], detail)


def _own_value(score: ScoreRecord) -> float | None:
    """The row's own score, whatever the rotations of its question got."""
    return score.value if score.vanilla is UNSET else score.vanilla


def _verdicts(score: ScoreRecord, question: Question) -> list[list[Any]]:
    """[profile, value, parsed, how] of each profile, the official one first.

    Values are the scores file's. It has one profile's parsed answer and rule; those of the others
    are null where the data set is not at hand.
    """
    verdicts: list[list[Any]] = []
    for profile, value in score.own_values.items():
        again = question.verdicts.get(profile)
        if profile == "official":
            verdicts.insert(0, [profile, value, score.parsed, score.how])
        elif again is not None:
            verdicts.append([profile, value, again.parsed, again.how])
        else:
            verdicts.append([profile, value, None, None])
    return verdicts


def _final(score: ScoreRecord | None) -> list[Any] | None:
    """The text that was scored and how it was found; None: the response as it is."""
    if score is None or score.final_answer is UNSET:
        return None
    return [score.final_answer, [] if score.final_answer_how is UNSET else score.final_answer_how]


def _fingerprint(answer: object) -> int:
    """A checksum of an answer, by which the page compares runs without reading the answers."""
    return zlib.crc32(files.encode({"answer": answer}))


def _blocks(
    pairs: Iterator[tuple[ScoreRecord | None, ResponseRecord]], size: int
) -> Iterator[list[tuple[ScoreRecord | None, ResponseRecord]]]:
    while block := list(islice(pairs, size)):
        yield block
