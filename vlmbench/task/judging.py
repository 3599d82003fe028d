"""A language model reads the answers out of responses: its requests, and what its replies mean."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vlmbench.data.predictions.line import key_of
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Prediction, Request, Response, Sample, Verdict
from vlmbench.task.reading import Reading
from vlmbench.task.task import Task

DEFAULT = Reading()


@dataclass(slots=True)
class Agreement:
    """How often a judge and the official rules come to the same verdict."""

    num_read: int = 0
    """Answers that the judge has read."""

    num_compared: int = 0
    """Of these, those that the rules read too."""

    num_alike: int = 0

    def add(self, rules: Verdict, judge: Verdict) -> None:
        self.num_read += 1
        if rules.parsed is not None:
            self.num_compared += 1
            self.num_alike += rules.value == judge.value

    @property
    def text(self) -> str:
        """One line: "the judge read 62 answers; it and the rules agree on 48 of 50 (96.0 %)"."""
        read = f"the judge read {self.num_read:,} answer{'s' * (self.num_read != 1)}"
        if not self.num_compared:
            return f"{read}, none of which the rules read too"
        share = 100 * self.num_alike / self.num_compared
        return (
            f"{read}; it and the rules agree on {self.num_alike:,} of {self.num_compared:,} "
            f"({share:.1f} %)"
        )


class Judging:
    """A task's questions to a judge, and the predictions with its answers."""

    def __init__(self, task: Task, reading: Reading = DEFAULT, num_checks: int = 0) -> None:
        """`num_checks`: so many answers that the rules read are shown to the judge too.

        They are scored by the rules; the judge's reading counts in `agreement` alone.

        Raises: VlmbenchError where the task has no judge.
        """
        if task.judge is None:
            raise VlmbenchError(f"{task.name} is scored by rules alone; leave --judge out")
        self._task, self._reading = task, reading
        self._num_checks, self._checked = num_checks, set[str]()
        self._name, self._prompt = task.name, task.judge
        self.agreement = Agreement()

    def settled(self, sample: Sample, prediction: Prediction) -> Prediction | None:
        """The prediction where it needs no judge; None: the judge is to be asked.

        A prediction that failed or carries an extraction stays as it is.
        """
        if prediction.response is None or prediction.is_final:
            return prediction
        if self._prompt.only_unparsed:
            is_read = self._by_rules(sample, prediction).parsed is not None
            return prediction if is_read or not prediction.response.strip() else None
        answer = self._prompt.known(sample, prediction.response)
        return None if answer is None else replace(prediction, final=answer, is_final=True)

    def is_check(self, sample: Sample, settled: Prediction) -> bool:
        """True if the judge is to be asked about an answer that the rules have read."""
        is_read = bool(sample.options and settled.response and settled.response.strip())
        if not self._prompt.only_unparsed or settled.is_final or not is_read:
            return False
        if len(self._checked) < self._num_checks:
            self._checked.add(key_of(settled.id))
        return key_of(settled.id) in self._checked

    def compare(self, sample: Sample, prediction: Prediction, judged: Prediction) -> None:
        """Count a prediction that the judge has read, and whether the rules say the same of it."""
        if judged.is_final:
            rules = self._by_rules(sample, prediction)
            self.agreement.add(rules, self._task.score(sample, judged, "official"))

    def _by_rules(self, sample: Sample, prediction: Prediction) -> Verdict:
        return self._reading.verdicts(self._task, sample, prediction)["official"]

    def request(self, sample: Sample, prediction: Prediction) -> Request:
        """What the judge is asked about a response; the request's id is "TASK/PREDICTION'S ID"."""
        assert prediction.response is not None
        id = f"{self._name}/{key_of(prediction.id)}"
        return Request(
            id=id,
            image_group=id,
            messages=self._prompt.messages(sample, prediction.response),
            max_new_tokens=self._prompt.max_new_tokens,
        )

    def with_reply(self, prediction: Prediction, reply: Response) -> Prediction:
        """The prediction with the judge's answer as its extraction.

        Where the judge gave none, the sample has failed: it is neither wrong nor scored by rules.
        """
        answer, error = "", reply.error
        if reply.text is not None:
            answer, error = self._prompt.read(reply.text), "the answer is empty"
        if reply.finish_reason == "length":
            answer, error = "", f"the answer was cut off after {self._prompt.max_new_tokens} tokens"
        if answer:
            return replace(prediction, final=answer, is_final=True)
        return replace(prediction, response=None, error=f"judge: {error}")
