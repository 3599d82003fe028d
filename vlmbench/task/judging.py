"""A language model reads the answers out of responses: its requests, and what its replies mean."""

from __future__ import annotations

from dataclasses import replace

from vlmbench.data.predictions.line import key_of
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Prediction, Request, Response, Sample
from vlmbench.task.task import Task


class Judging:
    """A task's questions to a judge, and the predictions with its answers."""

    def __init__(self, task: Task) -> None:
        """Raises: VlmbenchError where the task has no judge."""
        if task.judge is None:
            raise VlmbenchError(f"{task.name} is scored by rules alone; leave --judge out")
        self._name, self._prompt = task.name, task.judge

    def settled(self, sample: Sample, prediction: Prediction) -> Prediction | None:
        """The prediction where it needs no judge; None: the judge is to be asked.

        A prediction that failed or carries an extraction stays as it is.
        """
        if prediction.response is None or prediction.is_final:
            return prediction
        answer = self._prompt.known(sample, prediction.response)
        return None if answer is None else replace(prediction, final=answer, is_final=True)

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
