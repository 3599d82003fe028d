"""Scores on the mini tasks during training, which are only watched: nothing is chosen by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, count, islice

from idefics2.chat import Message
from idefics2.generate import Sampling, generate
from idefics2.model import Idefics2
from idefics2.processor import Processor
from vlmbench.data import mini
from vlmbench.schema import Prediction, Sample
from vlmbench.task import prompts

from .conversations import STYLE, divided
from .scenes import samples, task_of

NUM_SAMPLES = 40
"""Samples of each mini task that are scored."""


def evaluate(model: Idefics2, processor: Processor, step: int) -> Mapping[str, float]:
    """Scores of the first samples of each mini task, in percent."""
    scores = {}
    for name in mini.TASKS:
        found = chain.from_iterable(samples(name, "test", n) for n in count())
        first = islice(found, NUM_SAMPLES)
        scores[f"{name}@mini"] = mean_score(model, processor, name, first)
    return scores


def mean_score(
    model: Idefics2, processor: Processor, name: str, samples: Iterable[Sample]
) -> float:
    """The mean score of a task's samples in percent, by the official rules."""
    task = task_of(name)
    sampling = Sampling(max_new_tokens=40, stop_ids=processor.stop_ids)
    values = []
    for sample in samples:
        request = prompts.request(sample, form=task.form, style=STYLE, max_new_tokens=None)
        before, text = divided(request)
        prompt = processor.chat([Message("user", (*before, text))])
        answer = generate(model, [prompt], sampling, processor.decode)[0]
        prediction = Prediction(id=sample.id, response=answer.text)
        values.append(task.score(sample, prediction, "official").value)
    return 100 * sum(values) / len(values)
