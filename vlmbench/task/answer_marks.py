"""What a reader of a score must know of the responses behind it: marked, cut off, empty ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vlmbench.schema import FINAL_ANSWERS, FinalAnswer, Profile

NOTABLE = 0.05
"""A larger share of the responses is told beside the score."""

REMARKED = "!"
"""Stands beside a score that cannot be read without the remark below its table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerMarks:
    """How many responses of a task are not plain answers, and what other readings would score."""

    num_responses: int
    num_marked: int
    """With tags, boxes or the like around the answer, or blanks that change its score."""

    num_cut_off: int
    """Stopped at the limit of new tokens."""

    num_empty: int
    scores: Mapping[FinalAnswer, Mapping[Profile, float]]
    """Percent by `--final-answer` and profile; empty where nothing could be scored."""

    @property
    def is_notable(self) -> bool:
        """True where more than 5 % of the responses are marked, cut off or empty."""
        return any(self._is_many(n) for n in (self.num_marked, self.num_cut_off, self.num_empty))

    def _is_many(self, number: int) -> bool:
        return number > NOTABLE * self.num_responses

    def text(self, profile: Profile, used: FinalAnswer) -> str:
        """One line for the row of a headline, with the scores that other readings give.

        Empty where nothing is notable: "12.3 % marked (--final-answer tags: 74.86), 6.0 % cut off".
        """
        return ", ".join(self._parts(profile, used))

    def _parts(self, profile: Profile, used: FinalAnswer) -> Iterator[str]:
        if self._is_many(self.num_marked):
            yield (
                f"{self._percent(self.num_marked)} of the responses have blanks or marks around "
                "the answer"
                f"{self._instead(profile, used, FINAL_ANSWERS)}"
            )
        if self._is_many(self.num_cut_off):
            yield f"{self._percent(self.num_cut_off)} cut off (--max-new-tokens gives more room)"
        if self._is_many(self.num_empty):
            yield f"{self._percent(self.num_empty)} empty"

    def _instead(self, profile: Profile, used: FinalAnswer, ways: Iterable[FinalAnswer]) -> str:
        found = [
            f"--final-answer {way} gives {self.scores[way][profile]:.2f}"
            for way in ways
            if way != used and profile in self.scores.get(way, {})
        ]
        return f" ({', '.join(found)})" if found else ""

    def _percent(self, number: int) -> str:
        return f"{100 * number / max(1, self.num_responses):.1f} %"
