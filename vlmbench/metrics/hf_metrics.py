"""The scorers as `evaluate.Metric`, for `add_batch`, `compute` and `evaluate.combine`.

The configuration's name is the profile: `VqaV2Accuracy("strict")`. Results are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from string import ascii_uppercase
from typing import Any, ClassVar, cast

import datasets
import evaluate

from vlmbench.metrics import anls, mathvista, mmbench, mmmu, vqa
from vlmbench.schema import PROFILES, Profile, Verdict

TEXT = datasets.Value("string")
TEXTS = datasets.Sequence(TEXT)


class _VerdictMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """The mean of a scorer's verdicts, and the number of unparsed responses."""

    value_name: ClassVar[str]
    title: ClassVar[str]
    inputs: ClassVar[Mapping[str, object]]

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in (None, "default", *PROFILES):
            raise ValueError(f"no profile {self.config_name!r}; there are: {', '.join(PROFILES)}")
        return evaluate.MetricInfo(
            description=f"{self.title}: {self.value_name} of single responses, averaged.",
            citation="",
            inputs_description=f"One entry a sample in each of: {', '.join(self.inputs)}.",
            features=datasets.Features(dict(self.inputs)),
        )

    def _compute(self, **columns: Any) -> dict[str, float]:
        profile = cast(Profile, "official" if self.config_name == "default" else self.config_name)
        rows = zip(*(columns[name] for name in self.inputs), strict=True)
        verdicts = [self.verdict(*row, profile) for row in rows]
        return {
            self.value_name: sum(verdict.value for verdict in verdicts) / len(verdicts),
            "unparsed": sum(verdict.parsed is None for verdict in verdicts),
        }

    verdict: ClassVar[Callable[..., Verdict]]


class VqaV2Accuracy(_VerdictMetric):
    """VQAv2 accuracy of `predictions` (strings); `references` are ten human answers each."""

    value_name, title = "vqa_accuracy", "VQAv2"
    inputs: ClassVar = {"predictions": TEXT, "references": TEXTS}
    verdict = staticmethod(vqa.vqav2)


class TextVqaAccuracy(_VerdictMetric):
    """TextVQA accuracy of `predictions` (strings); `references` are ten human answers each."""

    value_name, title = "vqa_accuracy", "TextVQA"
    inputs: ClassVar = {"predictions": TEXT, "references": TEXTS}
    verdict = staticmethod(vqa.textvqa)


class Anls(_VerdictMetric):
    """DocVQA's ANLS of `predictions` (strings); `references` are the gold answers of each."""

    value_name, title = "anls", "DocVQA"
    inputs: ClassVar = {"predictions": TEXT, "references": TEXTS}
    verdict = staticmethod(anls.docvqa)


class MmmuAccuracy(_VerdictMetric):
    """MMMU accuracy; `references` are gold letters or answers, `options` empty if open."""

    value_name, title = "accuracy", "MMMU"
    inputs: ClassVar = {"predictions": TEXT, "references": TEXTS, "options": TEXTS}

    @staticmethod
    def verdict(response: str, answers: list[str], options: list[str], profile: Profile) -> Verdict:
        if not options:
            return mmmu.open_question(response, answers, profile)
        lettered = dict(zip(ascii_uppercase, options, strict=False))
        return mmmu.multiple_choice(response, lettered, answers, profile)


class MmbenchAccuracy(_VerdictMetric):
    """MMBench accuracy by row (vanilla); `references` are gold letters, `options` the row's own."""

    value_name, title = "vanilla_accuracy", "MMBench"
    inputs: ClassVar = {"predictions": TEXT, "references": TEXT, "options": TEXTS}

    @staticmethod
    def verdict(response: str, answer: str, options: list[str], profile: Profile) -> Verdict:
        lettered = dict(zip(ascii_uppercase, options, strict=False))
        return mmbench.row(response, lettered, answer, profile)


class MathVistaAccuracy(_VerdictMetric):
    """MathVista accuracy; `references` are gold answers, other inputs the problem's own columns.

    `choices` is empty and `precision` 0 where the problem has none.
    """

    value_name, title = "accuracy", "MathVista"
    inputs: ClassVar = {
        "predictions": TEXT,
        "references": TEXT,
        "question_type": TEXT,
        "answer_type": TEXT,
        "choices": TEXTS,
        "precision": datasets.Value("float64"),
    }

    @staticmethod
    def verdict(
        response: str,
        answer: str,
        question_type: str,
        answer_type: str,
        choices: list[str],
        precision: float,
        profile: Profile,
    ) -> Verdict:
        problem = mathvista.Problem(
            question_type=question_type,
            answer_type=answer_type,
            precision=precision,
            choices=tuple(choices),
            unit=None,
            question="",
            answer=answer,
        )
        return mathvista.verdict(response, problem, profile)
