"""A language model extracts the answers, where a task lets it; its failures are failed samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from vlmbench.errors import VlmbenchError
from vlmbench.metrics.judge import Failed, Judge, Judged
from vlmbench.schema import Prediction, Sample
from vlmbench.task.task import Task

AT_ONCE = 16
"""Requests that the judge's server is given together."""


def open_judge(spec: str, key_variable: str) -> Judge:
    """The judge of `URL#MODEL`."""
    url, _, model = spec.partition("#")
    if not url or not model:
        raise VlmbenchError(
            f"--judge is {spec!r}; write URL#MODEL, as http://localhost:8000/v1#name"
        )
    return Judge(base_url=url, model=model, key_variable=key_variable)


def judged(
    task: Task, pairs: Iterable[tuple[Sample, Prediction]], judge: Judge
) -> Iterator[tuple[Sample, Prediction]]:
    """The pairs in order, with the judge's extraction as the answer of each prediction.

    Predictions that failed or carry an extraction stay as they are. Where the judge fails, the
    sample has failed: it is neither wrong nor scored by rules instead.

    Raises: VlmbenchError where the task has no judge.
    """
    extract = task.judge
    if extract is None:
        raise VlmbenchError(f"{task.name} is scored by rules alone; leave --judge out")

    def ask(sample: Sample, prediction: Prediction) -> Judged | None:
        if prediction.response is None or prediction.is_final:
            return None
        return extract(judge, sample, prediction.response)

    waiting: deque[tuple[Sample, Prediction, Future[Judged | None]]] = deque()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for sample, prediction in pairs:
                waiting.append((sample, prediction, pool.submit(ask, sample, prediction)))
                if len(waiting) > 2 * AT_ONCE:
                    yield _settled(*waiting.popleft())
            while waiting:
                yield _settled(*waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _settled(
    sample: Sample, prediction: Prediction, answer: Future[Judged | None]
) -> tuple[Sample, Prediction]:
    found = answer.result()
    if found is None:
        return sample, prediction
    if isinstance(found, Failed):
        return sample, replace(prediction, response=None, error=f"judge: {found.reason}")
    return sample, replace(prediction, final=found.value, is_final=True)
