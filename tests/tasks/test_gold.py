"""Scoring through tasks: gold is right in every form, and neither order nor threads matter."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from vlmbench.runs.folder.scores import ScoreRecord, record_of
from vlmbench.schema import Prediction, Sample
from vlmbench.task import loading
from vlmbench.task.scoring import Score, score
from vlmbench.task.task import Task

TASKS = ("vqav2", "textvqa", "docvqa", "mmmu", "mathvista", "mmbench")
Pairs = list[tuple[Sample, Prediction]]


def gold_responses(name: str, sample: Sample) -> Iterator[str]:
    """Every form in which the right answer may come."""
    if name in ("vqav2", "textvqa"):
        yield Counter(sample.answers).most_common(1)[0][0]
        return
    for answer in sample.answers:
        yield answer
        letters = {text: letter for letter, text in sample.options.items()}
        letter = letters.get(answer, answer)
        if sample.options:
            yield f"({letter})"
            yield f"The answer is {letter}."
        if name == "mathvista":
            yield f"The answer is {answer}."
            yield f"So we get \\boxed{{{answer}}}."


@pytest.mark.parametrize("name", TASKS)
def test_the_gold_answer_is_right(name: str, samples: Callable[[str], list[Sample]]) -> None:
    found = loading.find(name)
    for sample in samples(name):
        for response in gold_responses(name, sample):
            prediction = Prediction(id=sample.id, response=response)
            verdict = found.score(sample, prediction, "official")
            assert verdict.value == 1, (sample, response, verdict)
            assert verdict.parsed is not None


@pytest.mark.parametrize("name", ["mmmu", "mathvista"])
def test_the_gold_answer_is_right_when_it_was_extracted_before(
    name: str, samples: Callable[[str], list[Sample]]
) -> None:
    found = loading.find(name)
    for sample in samples(name):
        for answer in sample.answers:
            prediction = Prediction(id=sample.id, response="?", final=answer, is_final=True)
            assert found.score(sample, prediction, "official").value == 1, sample


@pytest.mark.parametrize("name", TASKS)
def test_a_wrong_answer_is_wrong(name: str, samples: Callable[[str], list[Sample]]) -> None:
    found = loading.find(name)
    for sample in samples(name):
        wrong = [letter for letter in sample.options if letter not in sample.answers]
        if name == "mathvista":
            wrong = [f"({k})" for k, text in sample.options.items() if text not in sample.answers]
        for response in wrong or ["zebra 987"]:
            prediction = Prediction(id=sample.id, response=response)
            verdict = found.score(sample, prediction, "official")
            assert verdict.value == 0, (sample, response, verdict)


def mixed(name: str, samples: list[Sample]) -> Pairs:
    """Right, wrong, empty and unparseable answers, and a failure."""
    pairs = []
    for number, sample in enumerate(samples * 5):
        answer = random.Random(number).choice([*gold_responses(name, sample), "A", "", "no idea"])
        failed = number % 13 == 7
        prediction = Prediction(
            id=f"{sample.id} {number}", response=None if failed else answer, error="x" * failed
        )
        pairs.append((sample, prediction))
    return pairs


def records(found: Task, pairs: Pairs) -> dict[object, ScoreRecord]:
    return {scored.id: record_of(scored, "official") for scored in score(found, pairs)}


@pytest.mark.parametrize("name", TASKS)
def test_order_and_shards_and_threads_change_nothing(
    name: str, samples: Callable[[str], list[Sample]]
) -> None:
    """Shards keep the rotations of a question together, as runs do."""
    found = loading.find(name)
    pairs = mixed(name, samples(name))
    if found.splits[0].name == "dev-en":
        pairs = pairs[: len(samples(name))]  # a row of a circular group comes once
    expected = records(found, pairs)
    assert len(expected) == len(pairs)

    shuffled = random.Random(1).sample(pairs, len(pairs))
    assert records(found, shuffled) == expected

    shards: list[Pairs] = [[], [], []]
    for sample, prediction in shuffled:
        shards[zlib.crc32((sample.circular_group or sample.id).encode()) % 3].append(
            (sample, prediction)
        )
    joined: dict[object, ScoreRecord] = {}
    for shard in shards:
        joined |= records(found, shard)
    assert joined == expected

    def verdicts(pairs: Pairs) -> list[Score]:
        return list(score(found, pairs))

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(verdicts, [pairs] * 8)
    assert all(other == first for other in others)


@pytest.mark.parametrize("name", TASKS)
def test_scoring_leaves_the_sample_as_it_was(
    name: str, samples: Callable[[str], list[Sample]]
) -> None:
    found = loading.find(name)
    before, after = samples(name), samples(name)
    state = random.getstate()
    for sample in after:
        for profile in found.profiles:
            found.score(sample, Prediction(id=sample.id, response="(B) or 7"), profile)
    assert random.getstate() == state
    for one, other in zip(before, after, strict=True):
        for name_of in ("answers", "options", "breakdown", "facts", "question"):
            assert getattr(one, name_of) == getattr(other, name_of)
