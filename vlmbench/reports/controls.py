"""Blind controls: chance, the majority answer, and the majority answer to the same question.

They are scored like a model's answers, with the same intervals. A model that does not beat them has
not been shown to use the pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vlmbench.data.mini import scene
from vlmbench.data.rows import Row
from vlmbench.schema import Prediction, Profile, Sample, Verdict
from vlmbench.task.scoring import Score, Summary, Tally, score
from vlmbench.task.task import Task

CONTROLS = ("chance", "majority", "question only")
NUM_SCENES = 500
"""Training scenes whose answers are counted."""

Form = tuple[str, ...]


@dataclass(slots=True)
class Prior:
    """Counts of gold answers in training samples, by form of question and by question text."""

    letters_or_answers: dict[Form, Counter[str]] = field(default_factory=dict)
    """Counts by form of question; a multiple-choice answer is counted by its letter."""

    answers: dict[str, Counter[str]] = field(default_factory=dict)
    """Counts by exact question text; a multiple-choice answer is counted by its option."""

    def add(self, sample: Sample) -> None:
        """Count one training sample.

        Raises: ValueError for a sample without a public answer.
        """
        if not sample.answers:
            raise ValueError(f"training sample {sample.id} has no answer")
        gold = _most_common(Counter(sample.answers))
        self.letters_or_answers.setdefault(form(sample), Counter())[_letter(sample, gold)] += 1
        text = sample.options.get(gold, gold)
        self.answers.setdefault(sample.question, Counter())[text] += 1

    def majority(self, sample: Sample) -> str:
        """The most common letter or answer for the sample's form; empty for an unseen form."""
        return _most_common(self.letters_or_answers.get(form(sample), Counter()))

    def question_only(self, sample: Sample) -> str:
        """The most common answer to the same question, of its options if any; else `majority`.

        Options are compared by text, so that the answer turns with them where they are rotated.
        """
        seen = self.answers.get(sample.question, Counter())
        if not sample.options:
            return _most_common(seen) or self.majority(sample)
        offered = Counter({letter: seen[text] for letter, text in sample.options.items()})
        return _most_common(+offered) or self.majority(sample)


def prior(training: Iterable[Sample]) -> Prior:
    """The prior of these training samples.

    Raises: ValueError where a sample has no answer.
    """
    found = Prior()
    for sample in training:
        found.add(sample)
    return found


def form(sample: Sample) -> Form:
    """The form of a question: its option letters, or else its answer type.

    So `majority` is the "per Q-type prior" of VQA (Antol et al., 2015, arXiv:1505.00468), by the
    answer type that VQAv2 and MathVista state.
    """
    return tuple(sample.options) or sample.breakdown.get("answer_type", ())


def training_samples(task: Task, num_scenes: int = NUM_SCENES) -> list[Sample]:
    """The samples of the first scenes of the task's mini training part, without their pictures.

    Raises: VlmbenchError where the scenes cannot be drawn.
    """
    return [
        task.read(Row(row, where=f"{task.name} mini train scene {number}"))
        for number in range(num_scenes)
        for row in scene(task.name, "train", number)
    ]


def majority(prior: Prior, samples: Iterable[Sample]) -> Iterator[Prediction]:
    for sample in samples:
        yield Prediction(id=sample.id, response=prior.majority(sample))


def question_only(prior: Prior, samples: Iterable[Sample]) -> Iterator[Prediction]:
    for sample in samples:
        yield Prediction(id=sample.id, response=prior.question_only(sample))


def chance(task: Task, samples: Iterable[Sample]) -> Iterator[Score]:
    """The expected value of a uniform guess among the options; 0 for an open question.

    Of n options in n rotations each is guessed by itself: all are right with probability n^-n. A
    guesser who keeps to one option's text is right in all of them with probability 1 / n: that is
    `question_only` where the words of the question tell nothing.
    """
    guessing = replace(task, score=_guess)
    return score(guessing, ((sample, Prediction(id=sample.id, response="")) for sample in samples))


def _guess(sample: Sample, prediction: Prediction, profile: Profile) -> Verdict:
    value = 1 / len(sample.options) if sample.options else 0.0
    return Verdict(value=value, parsed="", how="chance")


def scores(
    task: Task, samples: Sequence[Sample], training: Iterable[Sample]
) -> dict[str, list[Score]]:
    """The scores of each of CONTROLS on these samples.

    Raises: ValueError where a sample has no public answer.
    """
    hidden = next((sample.id for sample in samples if not sample.answers), None)
    if hidden is not None:
        raise ValueError(f"sample {hidden} has no public answer to score against")
    known = prior(training)
    blind = {"majority": majority, "question only": question_only}
    return {"chance": list(chance(task, samples))} | {
        name: list(score(task, zip(samples, answer(known, samples), strict=True)))
        for name, answer in blind.items()
    }


def summaries(
    task: Task, samples: Sequence[Sample], training: Iterable[Sample]
) -> dict[str, Mapping[Profile, Summary]]:
    """The summary of each of CONTROLS under each profile, as a model's run has them."""
    found: dict[str, Mapping[Profile, Summary]] = {}
    for name, scored in scores(task, samples, training).items():
        tally = Tally(task.profiles)
        for one in scored:
            tally.add(one)
        found[name] = {profile: tally.summary(profile) for profile in task.profiles}
    return found


def _most_common(counted: Counter[str]) -> str:
    """The most common text, of equals the first in the alphabet; empty if nothing was counted."""
    return min(counted, key=lambda text: (-counted[text], text), default="")


def _letter(sample: Sample, gold: str) -> str:
    """The letter of a gold answer that may be given as its option's text (MathVista)."""
    letters = [letter for letter, text in sample.options.items() if gold in (letter, text)]
    return letters[0] if letters else gold
