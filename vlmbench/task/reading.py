"""What of a response is scored: the step between a model's answer and a task's rules."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vlmbench import files
from vlmbench.metrics import reasoning
from vlmbench.metrics.final_answer import VERSION, Found, extract, is_plain
from vlmbench.schema import FINAL_ANSWERS, FinalAnswer, Prediction, Profile, Sample, Verdict
from vlmbench.task.task import Task

NO_ANSWER = "no final answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How responses are read before they are scored. It asks nothing of a model anew."""

    final_answer: FinalAnswer = "none"
    version: int = VERSION
    """Of the step that takes the final answer out of a response."""

    split_think: bool = False
    """True: `vlmevalkit` takes what follows the last `</think>`, as its SPLIT_THINK does."""

    @property
    def is_default(self) -> bool:
        """True: every response is scored as the official evaluator reads it."""
        return self == Reading()

    @property
    def name(self) -> str:
        """What a board calls it; empty for the default: "final answer: tags", "SPLIT_THINK"."""
        parts = [] if self.final_answer == "none" else [f"final answer: {self.final_answer}"]
        if parts and self.version > 1:
            parts[0] += f" v{self.version}"
        return ", ".join(parts + ["SPLIT_THINK"] * self.split_think)

    def found(self, sample: Sample, prediction: Prediction) -> Found:
        """The final answer of a prediction that did not fail."""
        return extract(prediction.response or "", self.final_answer, sample.options)

    def verdicts(
        self, task: Task, sample: Sample, prediction: Prediction, found: Found | None = None
    ) -> dict[Profile, Verdict]:
        """The verdict of every profile of a task on a prediction that did not fail.

        An extraction that the prediction brings is scored as it is. Where the step leaves nothing,
        as of an unclosed thought, no option is guessed: the verdict is 0.
        """
        if prediction.is_final:
            return {
                profile: _verdict(task, sample, prediction, profile) for profile in task.profiles
            }
        found = found or self.found(sample, prediction)
        if self.final_answer != "none" and found.is_missing and found.how:
            return dict.fromkeys(task.profiles, Verdict(value=0.0, parsed=None, how=NO_ANSWER))
        verdicts: dict[Profile, Verdict] = {}
        for profile in task.profiles:
            text = self._as_read(task, found.text, profile)
            is_same = text == prediction.response
            read = prediction if is_same else replace(prediction, response=text)
            verdicts[profile] = _verdict(task, sample, read, profile)
        return verdicts

    def _as_read(self, task: Task, text: str, profile: Profile) -> str:
        """The text as a profile's harness hands it to its scorer."""
        if profile == "vlmevalkit" and self.split_think:
            return reasoning.vlmevalkit_split(text)
        if profile == "lmms":
            names = task.conventions.lmms_eval
            tags = names.reasoning_tags if names else None
            return reasoning.lmms_stripped(text, reasoning.LMMS_TAGS if tags is None else tags)
        return text

    def others(
        self, sample: Sample, prediction: Prediction, found: Found
    ) -> dict[FinalAnswer, Found]:
        """What the other ways to read the response find, where that is another text."""
        response = prediction.response or ""
        if is_plain(response, sample.options):
            return {}
        ways = [way for way in FINAL_ANSWERS if way != self.final_answer]
        read = {way: extract(response, way, sample.options) for way in ways}
        return {way: other for way, other in read.items() if other.text != found.text}


def _verdict(task: Task, sample: Sample, prediction: Prediction, profile: Profile) -> Verdict:
    """Raises: whatever the scorer does; ValueError for a verdict that no scores file can hold."""
    verdict = task.score(sample, prediction, profile)
    if not 0 <= verdict.value <= 1:
        raise ValueError(f"the scorer of {task.name} gives {verdict.value}, not a value in [0, 1]")
    if not isinstance(verdict.parsed, str | float | None):
        files.encode(verdict.parsed)
    return verdict
